"""How many clicks a second the learner takes with each tower, beside the default.

    python -m benchmarks.towers [--rounds 5] [--batch-rows 512 …] [--processor]

The stream and the model of `benchmarks.train`, everything learns. The towers take turns within one
run; each round takes the same clicks. Printed: the median over the rounds, the lowest and highest,
and the ratio to the default. With --processor a second is one of the processor, for a machine
that others use too: what waits for a core is not counted.
"""

from benchmarks.train import compare
from twintide.features.sparse import Sparse
from twintide.modelspec import ModelSpec
from twintide.towers import Dat, Dcn, Dnn, Senet, SharedBottom, Tower

TOWERS: dict[str, Tower] = {
    "dnn": Dnn(),
    "dnn, gelu": Dnn(activation="gelu"),
    "dnn, batch norm": Dnn(batch_norm=True),
    "dnn, dropout 0.1": Dnn(dropout=0.1),
    "dnn, senet": Dnn(feature_weights=Senet(kind="senet")),
    "dcn, parallel": Dcn(kind="dcn"),
    "dcn, parallel, rank 32": Dcn(kind="dcn", rank=32),
    "dcn, stacked": Dcn(kind="dcn", structure="stacked"),
    "shared bottom": SharedBottom(),
}


def variants(spec: ModelSpec) -> dict[str, ModelSpec]:
    """The model with each tower, and with products in place of cosines."""
    specs = {name: spec.model_copy(update={"tower": each}) for name, each in TOWERS.items()}
    return specs | {
        "dat": augmented(spec, Dat()),
        "dat, 50 categories aligned": augmented(spec, Dat(category="category")),
        "dnn, dot product": spec.model_copy(update={"similarity": "dot", "temperature": 1.0}),
    }


def augmented(spec: ModelSpec, tower: Dat) -> ModelSpec:
    """With an augmented vector on each side, and a category of the items."""
    ids = {"query": "user", "candidate": "item"}
    vectors = {side: _sparse("augmented", of, f"{of}_augmented") for side, of in ids.items()}
    return spec.model_copy(
        update={
            "query": (*spec.query, vectors["query"]),
            "candidate": (
                *spec.candidate,
                vectors["candidate"],
                *([_sparse("category", "category", "category")] if tower.category else []),
            ),
            "tower": tower,
        }
    )


def _sparse(name: str, column: str, table: str) -> Sparse:
    return Sparse(kind="sparse", name=name, column=column, table=table)


if __name__ == "__main__":
    compare(variants, beside="dnn")

"""How many clicks a second the learner takes with each source of negatives, beside the default.

    python -m benchmarks.negatives [--rounds 5] [--batch-rows 512 …] [--processor]

The stream and the model of `benchmarks.train`, everything learns, 50,000 items to draw from. The
sources take turns within one run; each round takes the same clicks. Printed: the median over the
rounds, the lowest and highest, and the ratio to in-batch negatives alone. What a run makes once for
its rows (sums over the catalogue, the pool) is counted.
"""

from benchmarks.train import HARD, compare
from twintide.modelspec import ModelSpec
from twintide.negatives import AnySource, Hard, InBatch, Pool, Popularity, Uniform

UNIFORM = Uniform(kind="uniform", count=256)
POPULARITY = Popularity(kind="popularity", count=256)
POOL = Pool(kind="pool", count=256, clicks=8192)

SOURCES: dict[str, tuple[AnySource, ...]] = {
    "in-batch": (InBatch(),),
    "and 256 uniform": (InBatch(), UNIFORM),
    "and 256 by popularity": (InBatch(), POPULARITY),
    "and 256 of a pool": (InBatch(), POOL),
    "and 10 hard ones a click": (
        InBatch(),
        Hard(kind="hard", from_columns=("dropped",), at_most=HARD),
    ),
    "all of these": (InBatch(), UNIFORM, POPULARITY, POOL),
    "512 uniform alone": (Uniform(kind="uniform", count=512),),
}


def variants(spec: ModelSpec) -> dict[str, ModelSpec]:
    """The model with each of them."""
    return {
        name: spec.model_copy(update={"negatives": sources}) for name, sources in SOURCES.items()
    }


if __name__ == "__main__":
    compare(variants, beside="in-batch")

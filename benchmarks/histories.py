"""How many clicks a second the learner takes where attention pools a history, beside its mean.

    python -m benchmarks.histories [--rounds 5] [--batch-rows 512 …] [--processor]

The stream and the model of `benchmarks.train`, everything learns; options as of
`benchmarks.towers`.
"""

from benchmarks.train import HISTORY, compare
from twintide.features.attention_history import AttentionHistory
from twintide.modelspec import ModelSpec


def variants(spec: ModelSpec) -> dict[str, ModelSpec]:
    """The model with its history pooled in each way."""
    return {
        "mean": spec,
        "attention": with_attention(spec, layers=1, heads=1),
        "attention, 4 heads": with_attention(spec, layers=1, heads=4),
        "attention, 2 layers": with_attention(spec, layers=2, heads=1),
    }


def with_attention(spec: ModelSpec, *, layers: int, heads: int) -> ModelSpec:
    """With an encoder in place of the mean."""
    attention = AttentionHistory(
        kind="attention_history",
        name="history",
        table="item",
        length=HISTORY,
        layers=layers,
        heads=heads,
    )
    others = tuple(feature for feature in spec.query if feature.name != "history")
    return spec.model_copy(update={"query": (*others, attention)})


if __name__ == "__main__":
    compare(variants, beside="mean")

"""How many clicks a second the learner takes with several objectives, beside one.

    python -m benchmarks.objectives [--rounds 5] [--batch-rows 512 …] [--processor]

As `benchmarks.losses`: a like is one click in ten, and each click is watched for some seconds.
"""

from benchmarks.train import compare
from twintide.events import Condition
from twintide.losses import LogMse
from twintide.modelspec import ModelSpec
from twintide.objectives import Objective

CLICK = Objective()
LIKE = Objective(positive=Condition(column="liked"))
WATCH = Objective(loss=LogMse(kind="log_mse", column="watch_seconds"))
OBJECTIVES: dict[str, dict[str, Objective]] = {
    "clicks": {},
    "clicks and likes": {"click": CLICK, "like": LIKE},
    "clicks and seconds": {"click": CLICK, "watch": WATCH},
    "clicks, likes, seconds": {"click": CLICK, "like": LIKE, "watch": WATCH},
}


def variants(spec: ModelSpec) -> dict[str, ModelSpec]:
    """The model with each set of objectives."""
    return {
        name: spec.model_copy(update={"objectives": objectives})
        for name, objectives in OBJECTIVES.items()
    }


if __name__ == "__main__":
    compare(variants, beside="clicks")

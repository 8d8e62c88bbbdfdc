"""How many clicks a second the learner takes with each loss, beside the default.

    python -m benchmarks.losses [--rounds 5] [--batch-rows 512 …] [--processor]

The stream and the model of `benchmarks.train`, everything learns. The losses take turns within one
run; each round takes the same clicks. Printed: the median over the rounds, the lowest and highest,
and the ratio to the softmax. With --processor a second is one of the processor, for a machine
that others use too: what waits for a core is not counted.
"""

from benchmarks.train import compare
from twintide.losses import Bce, Bpr, Hinge, Logistic, Loss, Softmax
from twintide.modelspec import ModelSpec

LOSSES: dict[str, Loss] = {
    "softmax": Softmax(),
    "softmax, 100 drawn": Softmax(negatives=100),
    "bce, 3 drawn": Bce(kind="bce"),
    "hinge": Hinge(kind="hinge"),
    "hinge, 8 drawn": Hinge(kind="hinge", negatives=8),
    "logistic": Logistic(kind="logistic"),
    "bpr": Bpr(kind="bpr"),
}


def variants(spec: ModelSpec) -> dict[str, ModelSpec]:
    """The model with each loss."""
    return {name: spec.model_copy(update={"loss": loss}) for name, loss in LOSSES.items()}


if __name__ == "__main__":
    compare(variants, beside="softmax")

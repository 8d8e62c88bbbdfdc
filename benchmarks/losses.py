"""How many clicks a second the learner takes with each loss, beside the default.

    python -m benchmarks.losses [--rounds 5] [--batch-rows 512 …] [--processor]

The stream and the model of `benchmarks.train`, everything learns. The losses take turns within one
run; each round takes the same clicks. Printed: the median over the rounds, the lowest and highest,
and the ratio to the softmax. With --processor a second is one of the processor, for a machine
that others use too: what waits for a core is not counted.
"""

import argparse
import time

import torch

from benchmarks.train import Stream, in_turns, learner_run, show, small_spec
from trainer.epoch import in_order
from trainer.rates import Rates
from twintide.clock import monotonic_seconds
from twintide.losses import Bce, Bpr, Hinge, Logistic, Loss, Softmax

LOSSES: dict[str, Loss] = {
    "softmax": Softmax(),
    "softmax, 100 drawn": Softmax(negatives=100),
    "bce, 3 drawn": Bce(kind="bce"),
    "hinge": Hinge(kind="hinge"),
    "hinge, 8 drawn": Hinge(kind="hinge", negatives=8),
    "logistic": Logistic(kind="logistic"),
    "bpr": Bpr(kind="bpr"),
}


def main() -> None:
    """Measure each batch size; print a table for each."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--batch-rows", type=int, action="append")
    arguments.add_argument("--processor", action="store_true")
    chosen = arguments.parse_args()
    seconds = time.process_time if chosen.processor else monotonic_seconds
    torch.set_num_threads(2)
    spec, rows = small_spec(), Stream(users=200_000, items=50_000).rows()
    rates = Rates(("user", "item"), 0.1, 1e-3)
    for batch_rows in chosen.batch_rows or [512, 2048]:
        order = list(in_order(len(rows), batch_rows=batch_rows))
        contestants = {
            name: learner_run(
                spec.model_copy(update={"loss": loss}), rows, order, rates, epoch=True
            )
            for name, loss in LOSSES.items()
        }
        times = in_turns(contestants, rounds=chosen.rounds, seconds=seconds)
        show(f"batches of {batch_rows} clicks", times, beside="softmax")


if __name__ == "__main__":
    main()

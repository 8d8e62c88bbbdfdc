"""How much of a step of ours are the products of matrices that any program of this model makes.

    python -m benchmarks.peers.products [--rounds 5]

In turns within one process: the learner, and the matrix products of its step alone, forward and
backward, into memory that is there already. Processor time of a step, median [lowest..highest].
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.peers.__main__ import MODES, clicks_of
from benchmarks.peers.answering import WIDTH, Task
from benchmarks.peers.ours import Ours
from benchmarks.train import Stream

LAYERS = (256, 128, WIDTH)


def main() -> None:
    """Print a line for each batch size and mode."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    clicks = clicks_of(Stream(users=200_000, items=50_000))
    for batch_rows in (512, 1024, 4096):
        for mode in MODES:
            task = Task(clicks, batch_rows, mode == "nightly")
            ours, multiply = Ours(task), products(task)
            multiply()  # both warm
            ours.learn()
            steps = len(clicks.user) // batch_rows
            alone, whole = [], []
            for _ in range(chosen.rounds):
                alone.append(_ms(multiply, times=steps) / steps)
                whole.append(_ms(ours.learn) / steps)
            print(f"{batch_rows:,} {mode}: products {_of(alone)} ms, a step {_of(whole)} ms")


def products(task: Task) -> Callable[[], None]:
    """All products of one step; U candidates, the mean number of distinct items of a batch."""
    batches = list(task.clicks.batches(task.batch_rows))
    candidates = int(np.mean([len(np.unique(each.item)) for each in batches]))
    statistics_of_item = task.clicks.statistics.shape[1]
    layers = [
        (rows, before, after)
        for rows, inputs in (
            (task.batch_rows, 2 * WIDTH),
            (candidates, WIDTH + statistics_of_item),
        )
        for before, after in zip((inputs, *LAYERS), LAYERS, strict=False)
    ]
    shapes = [*layers, (task.batch_rows, WIDTH, candidates)]
    made = [[torch.randn(r, i), torch.randn(i, k), torch.randn(r, k)] for r, i, k in shapes]
    into = [[torch.empty_like(each) for each in (own[2], own[0], own[1])] for own in made]

    def run() -> None:
        for number, ((left, right, grad), (out, of_left, of_right)) in enumerate(
            zip(made, into, strict=True)
        ):
            torch.mm(left, right, out=out)
            torch.mm(grad, right.T, out=of_left)
            if task.is_nightly or number == len(layers):  # frozen weights need no gradient
                torch.mm(left.T, grad, out=of_right)

    return run


def _ms(run: Callable[[], object], *, times: int = 1) -> float:
    began = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - began) * 1e3


def _of(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} [{min(values):.1f}..{max(values):.1f}]"


if __name__ == "__main__":
    main()

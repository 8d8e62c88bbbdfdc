"""How many clicks a second the learner takes with each tower, beside the default.

    python -m benchmarks.towers [--rounds 5] [--batch-rows 512 …] [--processor]

The stream and the model of `benchmarks.train`, everything learns. The towers take turns within one
run; each round takes the same clicks. Printed: the median over the rounds, the lowest and highest,
and the ratio to the default. With --processor a second is one of the processor, for a machine
that others use too: what waits for a core is not counted.
"""

import argparse
import time

import torch

from benchmarks.train import Stream, in_turns, learner_run, show, small_spec
from trainer.epoch import in_order
from trainer.rates import Rates
from twintide.clock import monotonic_seconds
from twintide.modelspec import ModelSpec
from twintide.towers import Dcn, Dnn, Senet, Tower

TOWERS: dict[str, Tower] = {
    "dnn": Dnn(),
    "dnn, gelu": Dnn(activation="gelu"),
    "dnn, batch norm": Dnn(batch_norm=True),
    "dnn, dropout 0.1": Dnn(dropout=0.1),
    "dnn, senet": Dnn(feature_weights=Senet(kind="senet")),
    "dcn, parallel": Dcn(kind="dcn"),
    "dcn, parallel, rank 32": Dcn(kind="dcn", rank=32),
    "dcn, stacked": Dcn(kind="dcn", structure="stacked"),
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
    specs = _specs(spec)
    rates = Rates(("user", "item"), 0.1, 1e-3)
    for batch_rows in chosen.batch_rows or [512, 2048]:
        order = list(in_order(len(rows), batch_rows=batch_rows))
        contestants = {
            name: learner_run(each, rows, order, rates, epoch=True) for name, each in specs.items()
        }
        times = in_turns(contestants, rounds=chosen.rounds, seconds=seconds)
        show(f"batches of {batch_rows} clicks", times, beside="dnn")


def _specs(spec: ModelSpec) -> dict[str, ModelSpec]:
    specs = {name: spec.model_copy(update={"tower": each}) for name, each in TOWERS.items()}
    return specs | {
        "dnn, dot product": spec.model_copy(update={"similarity": "dot", "temperature": 1.0})
    }


if __name__ == "__main__":
    main()

"""What a refresh costs beside the pass and the publish of an hour.

    python -m benchmarks.refreshing [--items 60000] [--moved 0.02] [--minutes 10] [--rounds 3]

The line of `benchmarks.publishing`, whose last hour is published: in each hour after the night so
many of the items are clicked, once each. Then clicks of some minutes come at the same pace, are
counted, and what is live is refreshed with them; so many rounds. Printed of each step: seconds of
the clock and of the processor, how much memory grew at its peak, and new bytes on the disk.
"""

import argparse
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.hourly import BEGIN
from benchmarks.publishing import clicks_on, declared, make
from benchmarks.swap import measured
from publisher.publish import publish
from publisher.refresh import refresh
from streaming.offline import write_shards
from trainer.counting import count
from trainer.hourly import hourly
from twintide.checkpoints import checkpoint_names
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.telemetry import configure_logging


def main() -> None:
    """Make the line, then a row for each step."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, default=60_000)
    arguments.add_argument("--moved", type=float, default=0.02)
    arguments.add_argument("--minutes", type=int, default=10)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--no-statistics", action="store_true")
    chosen = arguments.parse_args()
    configure_logging(level=40)
    with tempfile.TemporaryDirectory() as folder:
        chosen.hours = 1
        make(chosen, Path(folder) / "line")
        run(chosen, declared(chosen, Path(folder) / "line"))


def run(chosen: argparse.Namespace, deployment: Deployment) -> None:
    """The night is published, then an hour, and then the rounds between it and the next."""
    night = min(checkpoint_names(deployment.checkpoints_dir), key=lambda one: one[-6:])
    publish(deployment, checkpoint=night, clock=HeldClock(BEGIN), judge=False)
    now = BEGIN + timedelta(minutes=61)
    step("publish of an hour", deployment, partial(publish, deployment, clock=HeldClock(now)))
    for turn in range(chosen.rounds):
        begin = BEGIN + timedelta(hours=1, minutes=turn * chosen.minutes)
        clock = HeldClock(arrive(chosen, deployment, begin))
        for name, work in (("count of what came", count), ("refresh", refresh)):
            step(name, deployment, partial(work, deployment, clock=clock))
    for name, learn in (("pass of all of that", hourly), ("publish of it", publish)):
        step(name, deployment, partial(learn, deployment, clock=clock))


def arrive(chosen: argparse.Namespace, deployment: Deployment, begin: datetime) -> datetime:
    """Clicks of the next minutes are in shards."""
    several = round(chosen.moved * chosen.items * chosen.minutes / 60)
    rng = np.random.default_rng(begin.minute + 1)
    items = rng.choice(chosen.items, several, replace=False)
    events = clicks_on(
        deployment, items, begin=begin, hours=chosen.minutes / 60, seed=begin.minute + 1
    )
    end = begin + timedelta(minutes=chosen.minutes)
    write_shards(deployment, events, complete_until=end)
    return end


def step(name: str, deployment: Deployment, work: Callable[[], object]) -> None:
    """One row."""
    told = measured(work, deployment.versions_dir)
    said = [f"{told[key]:9.3f} {key}" for key in ("s", "cpu s", "peak MB", "new MB")]
    print(f"{name:22}", *said, flush=True)


if __name__ == "__main__":
    main()

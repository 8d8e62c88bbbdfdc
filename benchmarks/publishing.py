"""What the version of an hour costs beside that of its night, by how many of the items moved.

    python -m benchmarks.publishing [--items 1000000] [--moved 0.02] [--hours 3] [--rounds 3]
        [--no-statistics] [--at FOLDER] [--profile] [--tree TREE]...

The quickstart's model, which learns a day of clicks on so many items by users who like one topic
each; in each hour after it so many of the items are clicked. `--no-statistics` leaves the item
statistics out, which change with time for every item, and the layer that reads them. Each tree of
the program publishes each checkpoint in a process of its own, with the gate, in turns. Printed of
each: seconds of the clock and of the processor, how much memory grew at its peak, new bytes on the
disk, and time and bytes beside those of the night.
"""

import argparse
import cProfile
import functools
import json
import pstats
import shutil
import statistics
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.hourly import BEGIN, REGIONS, in_a_process
from benchmarks.swap import in_a_process_of, measured
from publisher.publish import publish
from streaming.offline import write_shards
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.checkpoints import checkpoint_names
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.telemetry import configure_logging

ROOT = Path(__file__).parents[1]
USERS_OF_A_TOPIC, CATEGORIES, TOPICS = 50, 100, 1_000
Numbers = npt.NDArray[np.int64]


def main() -> None:
    """Make the line, let the trees take turns, print a row for each version."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, default=1_000_000)
    arguments.add_argument("--moved", type=float, default=0.02)
    arguments.add_argument("--hours", type=int, default=3)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--no-statistics", action="store_true")
    arguments.add_argument("--at", type=Path, help="Keep the line here, and use it again.")
    arguments.add_argument("--profile", action="store_true")
    arguments.add_argument("--tree", type=Path, action="append")
    arguments.add_argument("--step", nargs=2, metavar=("FOLDER", "CHECKPOINT"))
    chosen = arguments.parse_args()
    if chosen.step:
        print(json.dumps(step(chosen, *chosen.step)))
        return
    with tempfile.TemporaryDirectory() as folder:
        line = chosen.at or Path(folder) / "line"
        if not line.exists():
            make(chosen, line)
        compare(chosen, line, Path(folder) / "data")


def declared(chosen: argparse.Namespace, folder: Path) -> Deployment:
    """The quickstart below that folder, with or without item statistics."""
    deployment = config.load(ROOT / "configs" / "quickstart.yaml")
    if chosen.no_statistics:
        said = deployment.model.model_dump(mode="json")
        kept = [each for each in said["candidate"] if each["kind"] != "item_statistics"]
        without = {"candidate": kept, "popularity_layer": 0}
        deployment = config.fill_in(deployment, {"model": without})
    hours = {"training": {"threads": 2, "hourly": {"holdback_minutes": 0}}}
    return config.fill_in(deployment, {"data_dir": str(folder)} | hours)


def compare(chosen: argparse.Namespace, line: Path, data: Path) -> None:
    """Medians of the rounds, with the lowest and the highest."""
    names = sorted(checkpoint_names(line / "checkpoints"), key=lambda one: one[-6:])
    found: dict[tuple[str, Path], list[dict[str, float]]] = {}
    trees = chosen.tree or [ROOT]
    for _ in range(chosen.rounds):
        for tree in trees:
            # Hard links would be one file for all trees; a copy is each one's own.
            shutil.copytree(line, data)
            night: dict[str, float] = {}
            for name in names:
                told = in_a_process_of(tree, _command(chosen, data, name))
                night = night or told
                told |= {f"of {key}": told[key] / night[key] for key in ("cpu s", "new MB")}
                found.setdefault((name, tree), []).append(told)
            shutil.rmtree(data)
    for (name, tree), rounds in sorted(found.items(), key=lambda one: one[0][0][-6:]):
        said = [f"{key} {_spread([one[key] for one in rounds])}" for key in rounds[0]]
        print(f"{tree.name:10} {name:15}", *said, sep="  ", flush=True)


def _command(chosen: argparse.Namespace, data: Path, name: str) -> list[str]:
    options = ["--no-statistics"] * chosen.no_statistics + ["--profile"] * chosen.profile
    return [str(Path(__file__)), *options, "--step", str(data), name]


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}..{max(values):.3g})"


def step(chosen: argparse.Namespace, folder: str, checkpoint: str) -> dict[str, float]:
    """Publish one checkpoint here."""
    configure_logging(level=40)
    deployment = declared(chosen, Path(folder))
    clock = HeldClock(BEGIN + timedelta(days=1))
    profiler = cProfile.Profile(time.process_time)

    def published() -> None:
        found = publish(deployment, checkpoint=checkpoint, clock=clock)
        print(found.why, found.gate.reasons, file=sys.stderr)

    if chosen.profile:
        profiler.enable()
    told = measured(published, deployment.versions_dir)
    if chosen.profile:
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("cumulative").print_stats(70)
    return {name: told[name] for name in ("s", "cpu s", "peak MB", "new MB")}


def make(chosen: argparse.Namespace, folder: Path) -> None:
    """A night that learns a day, and hours in which some of the items are clicked, once each."""
    folder.mkdir(parents=True)
    deployment = declared(chosen, folder)
    in_a_process(lambda: _learnt_day(deployment, chosen.items))
    for hour in range(1, chosen.hours + 1):
        count = round(chosen.moved * chosen.items)
        in_a_process(functools.partial(_learnt_hour, deployment, hour, count, chosen.items))


def _learnt_day(deployment: Deployment, items: int) -> None:
    """Every item is clicked, some of them more."""
    rng = np.random.default_rng(1)
    more = (items * rng.random(items // 2) ** 3).astype(np.int64)
    clicked = rng.permutation(np.concatenate((np.arange(items), more)))
    events = clicks_on(deployment, clicked, begin=BEGIN - timedelta(hours=26), hours=20, seed=1)
    write_shards(deployment, events, complete_until=BEGIN)
    nightly(deployment, clock=HeldClock(BEGIN))


def _learnt_hour(deployment: Deployment, hour: int, count: int, items: int) -> None:
    clicked = np.random.default_rng(100 + hour).choice(items, count, replace=False)
    begin = BEGIN + timedelta(hours=hour - 1)
    events = clicks_on(deployment, clicked, begin=begin, hours=1, seed=hour)
    end = begin + timedelta(minutes=61)
    write_shards(deployment, events, complete_until=end)
    hourly(deployment, clock=HeldClock(end))


def clicks_on(
    deployment: Deployment, items: Numbers, *, begin: datetime, hours: float, seed: int
) -> pa.Table:
    """Clicks on these items in this order, each by a user who likes their topic."""
    rng = np.random.default_rng(seed)
    topics = items % TOPICS
    users = topics + TOPICS * rng.integers(0, USERS_OF_A_TOPIC, len(items))
    at_ms = to_unix_ms(begin) + np.arange(len(items)) * round(hours * 3_600_000) // len(items)
    columns = {
        "event_id": np.arange(len(items)),
        "user_id": users,
        "item_id": items,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": np.ones(len(items), np.bool_),
        "watch_seconds": rng.random(len(items)),
        "liked": np.zeros(len(items), np.bool_),
        "category": topics % CATEGORIES,
        "topics": pa.array(np.stack([topics, (topics + 1) % TOPICS], axis=1).tolist()),
        "region": users % REGIONS,
    }
    table = pa.table(columns).select(list(deployment.events.columns))
    return table.cast(deployment.events.arrow_schema())


if __name__ == "__main__":
    main()

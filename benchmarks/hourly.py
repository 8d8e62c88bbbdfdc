"""What an hourly run costs end to end, from shards on the disk to a checkpoint on the disk.

    python -m benchmarks.hourly [--users 1000000 10000000] [--items 200000] [--clicks 20000]
        [--hours 3] [--profile]

The quickstart's model, 64 numbers a row. A nightly checkpoint of so many users and items, each user
with 1 to 20 clicks, is made without learning; then come hours of new clicks, Zipf over users and
items, one in ten of somebody new, and each is learnt by a process of its own. For each hour:
seconds of the clock and of processor time, start-up of the process apart; of these what beginning,
learning with slicing, and publishing took; bytes written; the most memory of the process, and what
the tables weigh. `--profile` prints where the last hour's time went.
"""

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.state import said_of
from streaming.offline import write_shards
from tests.publisher.checkpoint_fixture import plain_manifest
from trainer import hourly
from trainer.learner import Learner
from twintide import config
from twintide.checkpoints import (
    publish_checkpoint,
    read_manifest,
)
from twintide.clock import HeldClock, monotonic_seconds, to_unix_ms
from twintide.config import Deployment
from twintide.derived.state import DerivedState, stateless
from twintide.features.columns import to_columns
from twintide.keys import keys_of

ROOT = Path(__file__).parents[1]
BEGIN = datetime(2026, 3, 2, 8, tzinfo=UTC)
LENGTH = 20
REGIONS, CATEGORIES = 20, 100
STEPS = ("begin", "learn_in_order", "publish")
COLUMNS = ("users", "hour", "clock s", "processor s", *STEPS, "written MB", "peak MB", "tables MB")


def main() -> None:
    """Measure each number of users; print a row for each hour."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--users", type=int, nargs="+", default=[1_000_000])
    arguments.add_argument("--items", type=int, default=200_000)
    arguments.add_argument("--clicks", type=int, default=20_000)
    arguments.add_argument("--hours", type=int, default=3)
    arguments.add_argument("--profile", action="store_true")
    arguments.add_argument("--run", nargs=2, metavar=("FOLDER", "HOUR"))
    chosen = arguments.parse_args()
    if chosen.run:
        run(Path(chosen.run[0]), int(chosen.run[1]), profile=chosen.profile)
        return
    table = Table(*COLUMNS)
    for users in chosen.users:
        with tempfile.TemporaryDirectory() as folder:
            for told in hours(Path(folder), users, chosen):
                table.add_row(*told)
    Console(width=140).print(table)


def hours(folder: Path, users: int, chosen: argparse.Namespace) -> list[list[str]]:
    """What each hour cost."""
    deployment = declared(folder)
    in_a_process(lambda: make_night(deployment, users=users, items=chosen.items))
    found = []
    for hour in range(1, chosen.hours + 1):
        events = clicks_of(deployment, hour, users=users, items=chosen.items, count=chosen.clicks)
        write_shards(deployment, events, complete_until=BEGIN + timedelta(hours=hour, minutes=1))
        is_last = chosen.profile and hour == chosen.hours
        command = [sys.executable, "-m", "benchmarks.hourly", "--run", str(folder), str(hour)]
        if is_last:
            command.append("--profile")
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        *profiled, said = done.stdout.strip().split("\n")
        told = json.loads(said)
        found.append([f"{users:,}", f"{hour}", *(f"{told[name]:.2f}" for name in COLUMNS[2:])])
        Console(width=200).print("\n".join(profiled), *found[-1])
    return found


def in_a_process(run: Any) -> None:
    """So that what it takes is given back."""
    import multiprocessing  # noqa: PLC0415

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)


def declared(folder: Path) -> Deployment:
    """The quickstart, below that folder; the newest minutes are learnt too."""
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    hourly_config = {"holdback_minutes": 0}
    changes = {"data_dir": str(folder), "training": {"threads": 2, "hourly": hourly_config}}
    return config.fill_in(quickstart, changes)


def make_night(deployment: Deployment, *, users: int, items: int) -> None:
    """A nightly checkpoint that has learnt nothing, of so many users and items."""
    rng = np.random.default_rng(1)
    user, item = keys_of(pa.array(np.arange(users))), keys_of(pa.array(np.arange(items)))
    learner = Learner.untrained(deployment.model, seed=1)
    of_tables = {"user": user, "item": item, "region": keys_of(pa.array(np.arange(REGIONS)))}
    for name, keys in of_tables.items():
        for begin in range(0, len(keys), 1_000_000):
            learner.model.tables[name].grow(keys[begin : begin + 1_000_000])
    lengths = np.minimum(rng.geometric(0.25, users), LENGTH)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    before_ms = to_unix_ms(BEGIN - timedelta(days=2))
    features = stateless(deployment.model.candidate)
    columns = to_columns(said_of(item), features, "candidate")
    first_seen = pa.array(np.full(items, before_ms)).cast(pa.timestamp("ms", tz="UTC"))
    state = DerivedState.from_arrays(
        deployment.model,
        DerivedState.empty(deployment).arrays()
        | {
            "state.history.users": user,
            "state.history.offsets": offsets,
            "state.history.items": item[rng.integers(0, items, int(offsets[-1]))],
            "state.history.at_ms": np.full(int(offsets[-1]), before_ms),
        },
        pa.table({"item_id": pa.array(np.arange(items)), "first_seen_at": first_seen, **columns}),
    )
    manifest = plain_manifest(
        deployment,
        "nightly-000001",
        base="nightly-000001",
        day=(BEGIN - timedelta(days=1)).date(),
        as_of=BEGIN - timedelta(days=1),
        threads=2,
        learning_hash=deployment.learning_hash(),
        topic=deployment.kafka.topic,
    )
    parts = learner.parts().and_also(state.parts())
    publish_checkpoint(deployment.checkpoints_dir, manifest, parts)


def clicks_of(deployment: Deployment, hour: int, *, users: int, items: int, count: int) -> pa.Table:
    """Clicks of one hour."""
    rng = np.random.default_rng(hour)
    at_ms = to_unix_ms(BEGIN + timedelta(hours=hour - 1)) + np.sort(
        rng.integers(0, 3_600_000, count)
    )
    user = rng.zipf(1.1, count) % (users * 10 // 9)
    item = rng.zipf(1.2, count) % items
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": np.ones(count, np.bool_),
        "watch_seconds": rng.random(count),
        "liked": np.zeros(count, np.bool_),
        "category": item % CATEGORIES,
        "topics": pa.array(np.stack([item, item + 1], axis=1).tolist()),
        "region": user % REGIONS,
    }
    table = pa.table(columns).select(list(deployment.events.columns))
    return table.cast(deployment.events.arrow_schema())


def run(folder: Path, hour: int, *, profile: bool) -> None:
    """One hourly run; prints what it took as JSON."""
    deployment, spent = declared(folder), dict.fromkeys(STEPS, 0.0)
    for step in STEPS:
        setattr(hourly, step, _timed(getattr(hourly, step), step, spent))
    torch.set_num_threads(2)
    clock = HeldClock(BEGIN + timedelta(hours=hour, minutes=2))
    profiler = cProfile.Profile(time.process_time)
    before = _bytes_below(deployment.slices_dir)
    began, processor = monotonic_seconds(), time.process_time()
    if profile:
        profiler.enable()
    outcome = hourly.hourly(deployment, clock=clock)
    if profile:
        profiler.disable()
    seconds, of_processor = monotonic_seconds() - began, time.process_time() - processor
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    made = outcome.checkpoint
    if made is None or made.parent is None:
        raise SystemExit(outcome.why)
    old = read_manifest(deployment.checkpoints_dir, made.parent).files
    written = sum(e.bytes for name, e in made.files.items() if old.get(name) != e)
    written += _bytes_below(deployment.slices_dir) - before
    tables = sum(e.bytes for name, e in made.files.items() if name.startswith("table."))
    told = {
        "clock s": seconds,
        "processor s": of_processor,
        **spent,
        "written MB": written / 1e6,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "tables MB": tables / 1e6,
    }
    print(json.dumps(told))


def _timed(call: Any, name: str, spent: dict[str, float]) -> Any:
    def timed(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return call(*args, **options)
        finally:
            spent[name] += time.process_time() - began

    return timed


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()

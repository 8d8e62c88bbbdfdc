"""What a night costs that is larger than its memory, beside one pass over the same rows in order.

    python -m benchmarks.nightly [--rows 1000000 10000000] [--memory-rows 500000] [--plain]

The quickstart's model, or with `--plain` the same without item statistics; Zipf users and items, a
day in 24 hours of slices, batches of 512. Each case runs in a process of its own, twice: shuffled,
as a night learns, and first row to last at the same rates. Printed for each: the most memory that
the process ever had (resource.getrusage) and clicks for each second of processor time; for the
shuffled one also their ratio. `--reading` leaves the steps out, and shows what reading alone costs.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from trainer import labels
from trainer.epoch import Rows, in_order
from trainer.gathered import Gathered
from trainer.labels import Labels
from trainer.largeday import in_files
from trainer.passes import learn_shuffled
from trainer.rates import nightly_rates
from trainer.run import Begun, begin
from trainer.slicing import Taken
from twintide import config
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.features.columns import to_columns
from twintide.features.refreshed import Refreshed
from twintide.keys import keys_of
from twintide.ragged import Encoded, Ids, Numbers, one_id_each
from twintide.slices import (
    EVENT_TIME,
    IS_CLICK,
    ITEM_ID,
    ITEM_KEY,
    OFFSET,
    PARTITION,
    UNIT,
    USER_KEY,
    Contents,
    SliceFooter,
    chain_dir,
    publish_slice,
    read_chain,
)

ROOT = Path(__file__).parents[1]
DAY = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS, HISTORY = 100_000, 20_000, 10
AT_ONCE = 250_000
"""Rows of one slice at most."""

SEED = 3


def main() -> None:
    """Measure each number of rows; print two lines for each."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    arguments.add_argument("--memory-rows", type=int, default=500_000)
    arguments.add_argument("--plain", action="store_true")
    arguments.add_argument("--reading", action="store_true")
    arguments.add_argument("--here", choices=["shuffled", "in order"], help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.here:
        deployment = declared(chosen.folder, chosen.memory_rows, plain=chosen.plain)
        print(json.dumps(measured(deployment, chosen.here, learns=not chosen.reading)))
        return
    table = Table(title="a day, by how it is learnt")
    for column in ("rows", "how", "peak memory [MB]", "clicks/s of processor time", "ratio"):
        table.add_column(column, justify="right")
    for rows in chosen.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_day(declared(Path(folder), chosen.memory_rows, plain=chosen.plain), rows)
            found = {how: in_child(chosen, how, Path(folder)) for how in ("in order", "shuffled")}
        for how, (peak, rate) in found.items():
            ratio = f"{rate / found['in order'][1]:.2f}"
            table.add_row(f"{rows:,}", how, f"{peak / 1e6:,.0f}", f"{rate:,.0f}", ratio)
    Console().print(table)


def in_child(chosen: argparse.Namespace, how: str, folder: Path) -> tuple[float, float]:
    """Peak memory in bytes, and clicks a second."""
    command = [sys.executable, "-m", "benchmarks.nightly", "--here", how, "--folder", str(folder)]
    command += ["--memory-rows", str(chosen.memory_rows)]
    command += ["--plain"] * chosen.plain + ["--reading"] * chosen.reading
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)  # noqa: S603
    found: tuple[float, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def declared(folder: Path, memory_rows: int, *, plain: bool) -> Deployment:
    """The quickstart with its data below `folder`."""
    nightly = {"batch_rows": 512, "min_steps": 0, "memory_rows": memory_rows}
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    changes: dict[str, Any] = {"data_dir": str(folder), "training": {"nightly": nightly}}
    if plain:
        candidate = [each.model_dump(mode="json") for each in quickstart.model.candidate]
        kept = [each for each in candidate if each["kind"] != "item_statistics"]
        changes["model"] = {"candidate": kept}
    return config.fill_in(quickstart, changes)


def write_day(deployment: Deployment, rows: int) -> None:
    """A chain of slices as the trainer makes them, of one day."""
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    rng, first, sequence = np.random.default_rng(SEED), 0, 0
    weights = 1.0 / np.arange(1, ITEMS + 1)
    for hour in range(24):
        of_hour = rows // 24 + (hour < rows % 24)
        for part in np.array_split(np.arange(of_hour), -(-of_hour // AT_ONCE)):
            sequence += 1
            unit = DAY + timedelta(hours=hour, minutes=int(part[-1] * 59 // of_hour))
            table = slice_of(deployment, rng, weights, len(part), unit=unit, first=first)
            footer = SliceFooter(
                sequence=sequence,
                day=DAY.date(),
                hour_at=DAY + timedelta(hours=hour),
                until=unit + timedelta(minutes=1),
                ranges={0: (first, first + len(part))},
                units={0: unit},
                events=len(part),
                rows=len(part),
                newest_event_at=unit,
                fingerprint=root.name,
            )
            publish_slice(root, footer, table)
            first += len(part)


def slice_of(
    deployment: Deployment,
    rng: np.random.Generator,
    weights: np.ndarray,
    count: int,
    *,
    unit: datetime,
    first: int,
) -> pa.Table:
    """Clicks of one minute."""
    model, schema = deployment.model, deployment.events.arrow_schema()
    is_click = np.ones(count, np.bool_)
    item = rng.choice(ITEMS, count, p=weights / weights.sum())
    users = keys_of(pa.array(rng.zipf(1.1, count) % USERS))
    keys = keys_of(pa.array(np.arange(ITEMS)))
    at = pa.array(np.full(count, to_unix_ms(unit))).cast(pa.timestamp("ms", tz="UTC"))
    lists = Ids(rng.choice(keys, count * HISTORY), np.arange(count + 1) * HISTORY)
    encoded: dict[str, Encoded] = {"query": {}, "candidate": {}}
    for side, features in (("query", model.query), ("candidate", model.candidate)):
        for feature in features:
            if feature.kind == "history":
                encoded[side][feature.name] = lists
            elif isinstance(feature, Refreshed):
                numbers = rng.random((count, feature.count)).astype(np.float32)
                encoded[side][feature.name] = Numbers(numbers)
            else:
                own = users if feature.name == "user" else keys[item]
                encoded[side][feature.name] = one_id_each(own)
    return pa.table(
        {
            PARTITION: pa.array(np.zeros(count, np.int32)),
            OFFSET: pa.array(np.arange(first, first + count)),
            UNIT: at,
            EVENT_TIME: at,
            USER_KEY: users,
            ITEM_KEY: keys[item],
            ITEM_ID: pa.array(item).cast(schema.field(deployment.events.item).type),
            IS_CLICK: is_click,
            **labels.to_columns(dict.fromkeys(model.every_objective(), Labels(is_click))),
            **to_columns(encoded["query"], model.query, "query"),
            **to_columns(encoded["candidate"], model.candidate, "candidate"),
        }
    )


def measured(deployment: Deployment, how: str, *, learns: bool) -> tuple[float, float]:
    """Peak memory in bytes and clicks a second, of one pass in this process."""
    begun = begin(deployment, None, {}, None, HeldClock(DAY + timedelta(days=2)))
    count = sum(each.footer.rows for each in _chain(deployment))
    began = time.process_time()
    pass_over = {"shuffled": shuffled, "in order": first_to_last}[how]
    pass_over(deployment, begun, learns=learns)
    seconds = time.process_time() - began
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, count / seconds


def shuffled(deployment: Deployment, begun: Begun, *, learns: bool) -> None:
    """As a night does it."""
    gathered = Gathered(begun, deployment.training.nightly.memory_rows)
    for taken in _taken(deployment, begun):
        gathered.add(taken)
    folder = deployment.data_dir / "scratch"
    if learns:
        learn_shuffled(
            deployment,
            begun,
            gathered,
            day=DAY.date(),
            seed=1,
            folder=folder,
            saves=None,
            on_step=None,
        )
        return
    rates = nightly_rates(deployment, gathered.rows)
    for _ in in_files(begun, gathered, rates, folder, name="day", seed=1):
        pass


def first_to_last(deployment: Deployment, begun: Begun, *, learns: bool) -> None:
    """Slice by slice, with the same rates; nothing else is done with them."""
    rates, learner = nightly_rates(deployment, AT_ONCE), begun.learner
    for taken in _taken(deployment, begun):
        rows: Rows = begun.rows_of(taken.rows, name=taken.slice_.name)
        learner.observe(rows)
        learner.begin()
        learner.grow(rows, rates)
        if learns:
            order = list(in_order(len(rows), batch_rows=rates.batch_rows))
            for _ in learner.learn(rows, order, rates, seed=1):
                pass


def _taken(deployment: Deployment, begun: Begun) -> Iterator[Taken]:
    for each in _chain(deployment):
        before, rows = begun.state.item_clicks.copy(), each.read()
        begun.state.fold(Contents(rows))
        yield Taken(each, rows, before, {})


def _chain(deployment: Deployment) -> list[Any]:
    return read_chain(chain_dir(deployment.slices_dir, deployment.events, deployment.model))


if __name__ == "__main__":
    main()

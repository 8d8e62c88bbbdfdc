"""What it takes to make shards of files that never were in Kafka.

    python -m benchmarks.history [--rows 1000000 4000000] [--days 30] [--minutes 60]

A Parquet file of the quickstart's events, in order of time or in none, spread evenly over the days;
`--minutes` is the window of a shard. Printed of each, in a process of its own: processor time of
taking it, time by the clock, and by how much memory grew at its peak.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from streaming.history import take_history
from twintide import config
from twintide.clock import SystemClock, to_unix_ms
from twintide.config import Deployment

START_MS = to_unix_ms(datetime(2026, 1, 1, tzinfo=UTC))
MS_OF_DAY = 86_400_000
ROWS_AT_ONCE = 500_000
QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"


def main() -> None:
    """A row for each number of rows, in order and in none."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000])
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--minutes", type=int, default=60)
    arguments.add_argument("--here", type=Path, help="take the history of this folder")
    chosen = arguments.parse_args()
    if chosen.here:
        print(json.dumps(measured(chosen.here, chosen.minutes)))
        return
    names = ("rows", "order", "shards", "processor s", "clock s", "MiB")
    table = Table(
        *names, title=f"a history of {chosen.days} days, {chosen.minutes} minutes a shard"
    )
    for rows in chosen.rows:
        for order in ("of time", "none"):
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder) / "events.parquet", rows, chosen.days, is_sorted=order != "none")
                command = [sys.executable, "-m", "benchmarks.history", "--here", folder]
                command += ["--minutes", str(chosen.minutes)]
                done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
                found = json.loads(done.stdout)
            table.add_row(f"{rows:,}", order, *(f"{each:,.0f}" for each in found.values()))
    Console().print(table)


def measured(folder: Path, minutes: int) -> dict[str, float]:
    """What taking the history of a folder's file takes."""
    deployment = declared(folder, minutes)
    before = _peak_mib()
    clock, processor = time.monotonic(), time.process_time()
    take_history(deployment, folder / "events.parquet", until=None, clock=SystemClock())
    return {
        "shards": sum(1 for _ in deployment.shards_dir.rglob("*.parquet")),
        "processor": time.process_time() - processor,
        "clock": time.monotonic() - clock,
        "mib": _peak_mib() - before,
    }


def declared(folder: Path, minutes: int) -> Deployment:
    """The quickstart, with shards of so many minutes."""
    own: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "shards": {"minutes": minutes},
        "training": {"hourly": {"holdback_minutes": minutes}},
    }
    return config.fill_in(config.load(QUICKSTART), own)


def write(path: Path, rows: int, days: int, *, is_sorted: bool) -> None:
    """Events of the quickstart: with no order, each row group has those of all days."""
    schema = declared(path.parent, 60).events.arrow_schema()
    rng, span = np.random.default_rng(1), days * MS_OF_DAY
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, rows - first)
            at = rng.integers(0, span, count)
            if is_sorted:
                at = np.sort(first * span // rows + at * count // rows)
            item = rng.zipf(1.4, count) % 20_000
            columns = {
                "event_id": np.arange(first, first + count),
                "user_id": rng.integers(0, 100_000, count),
                "item_id": item,
                "event_at": pa.array(START_MS + at).cast(pa.timestamp("ms", tz="UTC")),
                "clicked": rng.integers(0, 2, count) == 1,
                "watch_seconds": rng.random(count),
                "liked": rng.integers(0, 10, count) == 0,
                "category": item % 20,
                "topics": pa.array(np.stack([item % 7, item % 11], axis=1).tolist()),
                "region": rng.integers(0, 4, count),
            }
            writer.write_table(pa.table(columns).select(schema.names).cast(schema))


def _peak_mib() -> int:
    """Of this program alone: what `getrusage` says was the parent's at first."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()

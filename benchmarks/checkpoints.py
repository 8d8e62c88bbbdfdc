"""What a checkpoint costs, whole and as what an hour touched.

    python -m benchmarks.checkpoints [--rows 5000000] [--touched 0.01] [--rounds 3]

One table of 64 numbers a row and its vocabulary, of which each hour touches a share at random.
Bytes written, seconds of processor time and of the clock to write, and to open and use that share
again.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table as Printed

from twintide.arrays import Files
from twintide.clock import monotonic_seconds
from twintide.keys import mixed
from twintide.model.table import Table
from twintide.rowstore import RowStore
from twintide.storefile import StoreEntry, open_store, write_touched, write_whole

WIDTH = 64


@dataclass(frozen=True)
class Saved:
    """One checkpoint of the table."""

    folder: Path
    entries: dict[str, StoreEntry]
    files: Files


def main() -> None:
    """Measure, print a table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=5_000_000)
    arguments.add_argument("--touched", type=float, default=0.01)
    arguments.add_argument("--rounds", type=int, default=3)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), chosen)


def measure(root: Path, chosen: argparse.Namespace) -> None:
    """Write one whole checkpoint and an hour's for each round; open the last one."""
    count, rng = int(chosen.rows * chosen.touched), np.random.default_rng(1)
    table = Table.empty(WIDTH, device=torch.device("cpu"))
    for begin in range(0, chosen.rows, 1_000_000):
        table.grow(
            mixed(np.arange(begin + 1, min(chosen.rows, begin + 1_000_000) + 1, dtype=np.uint64))
        )
    whole, *spent = _timed(lambda: _save(root / "0", table, None, 0))
    printed = Printed("", "bytes", "processor s", "clock s", title=f"{chosen.rows:,} rows")
    printed.add_row("whole", f"{_bytes(whole, None):,}", *(f"{each:.3f}" for each in spent))

    hours, before = [], whole
    for number in range(1, chosen.rounds + 1):
        rows = np.unique(rng.integers(1, len(table), count))
        weights, _ = table.touch(rows)
        weights[torch.from_numpy(rows)] += 1
        saved, *spent = _timed(lambda: _save(root / f"{number}", table, before, number))  # noqa: B023
        hours.append((_bytes(saved, before), *spent))
        before = saved
    printed.add_row("an hour's", *_medians(hours))

    starts = []
    for _ in range(chosen.rounds):
        keys = table.keys[rng.integers(1, len(table), count)]
        _, *spent = _timed(lambda: _use(before, keys))  # noqa: B023
        starts.append((0, *spent))
    printed.add_row("opened, that share used", *_medians(starts))
    Console().print(printed)


def _save(folder: Path, table: Table, before: Saved | None, number: int) -> Saved:
    folder.mkdir()
    entries, files = dict[str, StoreEntry](), Files()
    for name, store in table.stores().items():
        entries[name], written = _write(folder, f"table{name}", store, before, number)
        files |= written
        store.saved()
    return Saved(folder, entries, files)


def _write(
    folder: Path, name: str, store: RowStore, before: Saved | None, number: int
) -> tuple[StoreEntry, Files]:
    if before is None:
        return write_whole(folder, name, store)
    parent = (before.folder, before.files)
    return write_touched(
        folder, name, store, before=before.entries[name[5:]], parent=parent, number=number
    )


def _use(saved: Saved, keys: Any) -> None:
    stores = {
        name: open_store(saved.folder, f"table{name}", entry, saved.files)
        for name, entry in saved.entries.items()
    }
    table = Table(stores, device=torch.device("cpu"))
    table.touch(table.rows_of(keys))


def _bytes(saved: Saved, before: Saved | None) -> int:
    old = before.files if before else {}
    return sum(entry.bytes for name, entry in saved.files.items() if old.get(name) != entry)


def _timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    processor, clock = time.process_time(), monotonic_seconds()
    found = run()
    return found, time.process_time() - processor, monotonic_seconds() - clock


def _medians(rounds: list[tuple[float, ...]]) -> list[str]:
    size, *spent = (statistics.median(each) for each in zip(*rounds, strict=True))
    return [f"{int(size):,}", *(f"{each:.3f}" for each in spent)]


if __name__ == "__main__":
    main()

"""How large the tables of a model have become, and when those that have a limit will be full.

A pure function of manifests: a checkpoint says how many rows each of its tables has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twintide.checkpoints import CheckpointManifest

SOONEST = timedelta(hours=6)
"""Two checkpoints that are nearer to each other say nothing of a day's growth."""

FARTHEST = timedelta(days=3660)


@dataclass(frozen=True)
class TableRow:
    """One table, as the newest checkpoint has it."""

    name: str
    rows: int
    """Rows that ids had at once, at most."""

    max_rows: int | None
    rows_a_day: float | None
    """By how many it grew; None where there is no older checkpoint to compare with."""

    full_at: datetime | None
    """When it reaches its limit if it goes on so; None without a limit, or without growth."""


def table_rows(
    made: Sequence[CheckpointManifest], limits: Mapping[str, int | None]
) -> list[TableRow]:
    """Of checkpoints in their order; `limits` has what is declared, by table."""
    dated = [(each.as_of, each) for each in made if each.as_of is not None and each.stores]
    if not dated:
        return []
    now, newest = dated[-1]
    older = next(((at, each) for at, each in dated if now - at >= SOONEST), None)
    found = []
    for name, limit in sorted(limits.items()):
        if (rows := _rows(newest, name)) is None:
            continue
        before = _rows(older[1], name) if older else None
        rate = None
        if older and before is not None:
            rate = max(0.0, (rows - before) / ((now - older[0]) / timedelta(days=1)))
        found.append(TableRow(name, rows, limit, rate, _full_at(now, rows, limit, rate)))
    return found


def _rows(manifest: CheckpointManifest, table: str) -> int | None:
    entry = manifest.stores.get(f"table.{table}")
    return entry.length - 1 if entry else None


def _full_at(now: datetime, rows: int, limit: int | None, rate: float | None) -> datetime | None:
    if limit is None:
        return None
    if rows >= limit:
        return now
    if not rate:
        return None
    left = timedelta(days=min((limit - rows) / rate, FARTHEST / timedelta(days=1)))
    return now + left if left < FARTHEST else None

"""How large the tables of a model have become, and when those that have a limit will be full; and
how many users and items are remembered.

A pure function of manifests: a checkpoint says how many rows each of its stores has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twintide.checkpoints import CheckpointManifest
from twintide.derived.state import ITEMS, USERS, history_store
from twintide.derived.told import TOLD
from twintide.modelspec import ModelSpec

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


@dataclass(frozen=True)
class StateRow:
    """What is remembered beside the tables, as the newest checkpoint has it."""

    what: str
    rows: int
    """Users or items that were remembered at once, at most."""

    rows_a_day: float | None
    """By how many it grew; None where there is no older checkpoint to compare with."""

    forget_after_days: int | None
    """As declared; None: it grows for ever."""


def table_rows(
    made: Sequence[CheckpointManifest], limits: Mapping[str, int | None]
) -> list[TableRow]:
    """Of checkpoints in their order; `limits` has what is declared, by table."""
    found = []
    for name, limit in sorted(limits.items()):
        if (grown := _growth(made, f"table.{name}")) is not None:
            full_at = _full_at(grown.at, grown.rows, limit, grown.rows_a_day)
            found.append(TableRow(name, grown.rows, limit, grown.rows_a_day, full_at))
    return found


def state_rows(made: Sequence[CheckpointManifest], model: ModelSpec) -> list[StateRow]:
    """Of checkpoints in their order: items, and users by what is remembered of them."""
    of_users, of_items = model.state.forget_users_after_days, model.state.forget_items_after_days
    stores = {
        "items": (ITEMS, of_items),
        "users' statistics": (USERS, of_users),
        "users' columns": (TOLD, of_users),
        **{
            f"users' {name or 'clicks'}": (history_store(name), of_users)
            for name in model.memories()
        },
    }
    found = []
    for what, (store, days) in stores.items():
        if (grown := _growth(made, store)) is not None:
            found.append(StateRow(what, grown.rows, grown.rows_a_day, days))
    return found


@dataclass(frozen=True)
class _Growth:
    rows: int
    rows_a_day: float | None
    at: datetime


def _growth(made: Sequence[CheckpointManifest], store: str) -> _Growth | None:
    dated = [(each.as_of, each) for each in made if each.as_of is not None and each.stores]
    if not dated:
        return None
    now, newest = dated[-1]
    if (rows := _rows(newest, store)) is None:
        return None
    older = next(((at, each) for at, each in dated if now - at >= SOONEST), None)
    before = _rows(older[1], store) if older else None
    rate = None
    if older and before is not None:
        rate = max(0.0, (rows - before) / ((now - older[0]) / timedelta(days=1)))
    return _Growth(rows, rate, now)


def _rows(manifest: CheckpointManifest, store: str) -> int | None:
    entry = manifest.stores.get(store)
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

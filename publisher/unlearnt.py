"""The clicks that a gate may measure on: the newest that no version in question has learnt, and
beside them those that the draft alone has learnt, which can speak against it and never for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from publisher.witnesses import apart, witnesses
from twintide.clock import from_unix_ms
from twintide.features.columns import column_name
from twintide.leftout import LeftOut, without
from twintide.modelspec import ModelSpec
from twintide.positions import combined
from twintide.records import Instant, Position
from twintide.slices import IS_CLICK, ITEM_KEY, UNIT, USER_KEY, Slice, chain_paths, read_slice

KEYS = [USER_KEY, ITEM_KEY, UNIT]
NOTHING = pa.table(
    {
        USER_KEY: pa.array([], pa.uint64()),
        ITEM_KEY: pa.array([], pa.uint64()),
        UNIT: pa.array([], pa.timestamp("ms", tz="UTC")),
    }
)
LISTED_FOR = timedelta(hours=1)
"""What was clicked in so long before the clicks in question makes the list beside them."""


@dataclass(frozen=True)
class Evidence:
    """Clicks, newest last, with the columns that the versions' queries need, and `KEYS`."""

    unlearnt: pa.Table = field(default_factory=lambda: NOTHING)
    """Neither the draft nor what it is held against has learnt them."""

    learnt: pa.Table = field(default_factory=lambda: NOTHING)
    """The draft has, and the others have not."""

    around: pa.Table = field(default_factory=lambda: NOTHING)
    """`KEYS` of all clicks that were read, so far as they reach back."""

    minutes: float = 0.0
    """How long it took until the unlearnt ones had come."""

    def listed_before(self, clicks: pa.Table) -> pa.Table:
        """`KEYS` of the clicks of the hour before the first of these."""
        first = pc.min(clicks[UNIT])
        since = pc.subtract(first, pa.scalar(LISTED_FOR))
        units = self.around[UNIT]
        return self.around.filter(pc.and_(pc.less(units, first), pc.greater_equal(units, since)))


def newest_clicks(
    root: Path,
    *,
    own: Position,
    others: Sequence[Position],
    specs: Sequence[ModelSpec],
    limit: int,
    left_out: Sequence[LeftOut] = (),
) -> Evidence:
    """Up to `limit` or a few more of the newest clicks of either kind, as a draft at the position
    `own` is held against versions at `others`. Slices made for other features are left out, and so
    is what training was told to leave out. Raises Corrupt.
    """
    gathered = _Gathered(own, combined([own, *others], max), combined(others, max), limit)
    needed = [column_name("query", f.name) for spec in specs for f in spec.query]
    columns = list(dict.fromkeys([*needed, *KEYS]))
    for one in _newest_first(root):
        if gathered.has_enough(one):
            break
        if gathered.may_pass_over(one):
            continue
        rows = without(one.read(), left_out)
        gathered.take(one, apart(rows.filter(rows[IS_CLICK])), columns)
    return gathered.evidence()


def _newest_first(root: Path) -> Iterator[Slice]:
    return map(read_slice, reversed(chain_paths(root)))


class _Gathered:
    """What slices gave so far, the newest first."""

    def __init__(self, own: Position, newest: Position, others: Position, limit: int) -> None:
        self._own, self._newest, self._others, self._limit = own, newest, others, limit
        self._unlearnt: list[pa.Table] = []
        self._learnt: list[pa.Table] = []
        self._around: list[pa.Table] = []
        self._until: Instant | None = None

    def may_pass_over(self, one: Slice) -> bool:
        """Whether none of it is learnt, and there is enough of such."""
        return not one.begins_before(self._newest) and _rows(self._unlearnt) >= self._limit

    def has_enough(self, one: Slice) -> bool:
        """Whether nothing of this slice or an older one is needed."""
        if not one.is_covered_by(self._newest):
            return False
        is_told = one.is_covered_by(self._others) or _rows(self._learnt) >= self._limit
        first = self._first_at()
        return is_told and (first is None or one.footer.until <= first - LISTED_FOR)

    def take(self, one: Slice, clicks: pa.Table, columns: Sequence[str]) -> None:
        self._around.insert(0, clicks.select(KEYS))
        if not set(columns) <= set(clicks.column_names):
            return
        self._until = self._until or one.footer.until
        unlearnt = one.behind(self._newest, clicks).select(columns)
        if _rows(self._unlearnt) < self._limit:
            self._unlearnt.insert(0, witnesses(unlearnt, limit=len(unlearnt)))
        if _rows(self._learnt) < self._limit:
            learnt = one.before(self._own, one.behind(self._others, clicks)).select(columns)
            self._learnt.insert(0, witnesses(learnt, limit=len(learnt)))

    def evidence(self) -> Evidence:
        first = self._first_at()
        minutes = (self._until - first).total_seconds() / 60 if self._until and first else 0.0
        return Evidence(
            _joined(self._unlearnt), _joined(self._learnt), _joined(self._around), minutes
        )

    def _first_at(self) -> Instant | None:
        """When the unit of the first unlearnt click begins."""
        rows = _joined(self._unlearnt)
        return from_unix_ms(pc.min(rows[UNIT].cast(pa.int64())).as_py()) if len(rows) else None


def _rows(tables: Sequence[pa.Table]) -> int:
    return sum(map(len, tables))


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables) if _rows(tables) else NOTHING

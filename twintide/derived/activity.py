"""How much users have clicked: counts in buckets of time, and when each was first seen.

As with items, time is that of the log: a click counts from the unit on that stores it, and what is
told of a user is as of a refresh that came before the click and before its unit. It is changed in
place: what a fold costs follows the users in it.
"""

import numpy as np

from twintide.arrays import Arrays
from twintide.clock import DAY_MS
from twintide.derived import idle
from twintide.derived.clicks import (
    Events,
    Floats,
    Ints,
    ItemClicks,
    bucket_minutes,
    bucket_ms,
    oldest_bucket,
    refreshed_ms,
)
from twintide.features.user_statistics import UserStatistics
from twintide.keyedrows import KEYS, KeyedRows
from twintide.keys import NO_KEY, Keys
from twintide.rowstore import Column, Parts, RowStore

_MS_OF_AN_HOUR = 3_600_000
_COLUMNS = {KEYS: Column(np.uint64), "first_ms": Column(np.int64)}
"""Whose row it is, and when the unit began that held that user's first click."""


class Activity:
    """Users in order of their first click, and their clicks in buckets."""

    def __init__(
        self,
        users: KeyedRows | None = None,
        clicks: ItemClicks | None = None,
        *,
        forget_after_days: int | None = None,
    ) -> None:
        """With `users` and `clicks`: those that were saved. No window reaches back as far as the
        day after which a user is forgotten.
        """
        self._days = forget_after_days
        self._users = users or KeyedRows(RowStore.empty(_COLUMNS | idle.columns(forget_after_days)))
        self._clicks = clicks or ItemClicks()
        """By row of `_users`, as those of items are by row of the catalogue."""

    def begin_day(self, day: int, spec: UserStatistics) -> None:
        """Forget who did nothing for so long that it is declared."""
        if len(idle.begin_day(self._users, day, days=self._days)):
            # Or clicks of those who leave would be those of who has their rows next.
            self._clicks.drop_out_of_reach(day * DAY_MS, spec)

    def add(self, clicks: Events, spec: UserStatistics) -> None:
        """Fold these clicks in, and forget what no later click may be told of."""
        known = clicks.where(clicks.users != NO_KEY)
        if not len(known):
            return
        new, first_ms = self._new_among(known)
        rows = self._users.give(new)
        self._users.store.touch(rows)["first_ms"][rows] = first_ms
        rows = self._users.rows_of(known.users)
        idle.see(self._users, np.unique(rows))
        self._clicks.add(rows, known.unit_ms, spec)
        self._clicks.drop_out_of_reach(int(known.unit_ms.max()), spec)

    def told(self, events: Events, came: Events, spec: UserStatistics) -> Floats:
        """float32 [N, spec.count]: of each event's user, where the clicks `came` with the events
        and are not folded in.
        """
        came = came.where(came.users != NO_KEY)
        new, first_ms = self._new_among(came)
        beside = KeyedRows.of(new)

        def rows_of(users: Keys) -> Ints:
            rows, new_rows = self._users.rows_of(users), beside.rows_of(users)
            return np.where(new_rows > 0, new_rows + len(self._users) - 1, rows)

        clicks = self._clicks.copy()
        clicks.add(rows_of(came.users), came.unit_ms, spec)
        rows = rows_of(events.users)
        is_new = rows >= len(self._users)
        of_known = self._first_ms(np.where(is_new, 0, rows))
        of_new = np.concatenate((first_ms, [0]))[np.where(is_new, rows - len(self._users), -1)]
        at_ms = refreshed_ms(events.at_ms, events.unit_ms, spec)
        oldest = oldest_bucket(events.unit_ms, spec)
        return _numbers(clicks, rows, np.where(is_new, of_new, of_known), at_ms, spec, oldest)

    def as_of(self, at_ms: int, spec: UserStatistics) -> Floats:
        """float32 [users, spec.count]: of every user, as of the last refresh."""
        rows = np.flatnonzero(self._users.has_key())
        instants = np.full(len(rows), at_ms)
        oldest, refreshed = oldest_bucket(instants, spec), refreshed_ms(instants, instants, spec)
        return _numbers(self._clicks, rows, self._first_ms(rows), refreshed, spec, oldest)

    def arrays(self, *, prefix: str) -> Arrays:
        """All of it: users are numbered from 0, in the order of their rows."""
        rows, buckets, counts = self._clicks.arrays()
        has_key = self._users.has_key()
        return {
            f"{prefix}.keys": self._users.keys[has_key],
            f"{prefix}.first_ms": self._users.store["first_ms"][has_key],
            f"{prefix}.rows": np.cumsum(has_key)[rows] - 1,
            f"{prefix}.buckets": buckets,
            f"{prefix}.counts": counts,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, prefix: str) -> "Activity":
        """What `arrays` gave, and older checkpoints hold."""
        rows, buckets, counts, first_ms = (
            arrays[f"{prefix}.{part}"].astype(np.int64)
            for part in ("rows", "buckets", "counts", "first_ms")
        )
        keys = arrays[f"{prefix}.keys"].astype(np.uint64)
        columns = {KEYS: keys, "first_ms": first_ms}
        users = RowStore.of({name: np.insert(each, 0, 0) for name, each in columns.items()})
        return cls(KeyedRows(users), ItemClicks.from_arrays(rows + 1, buckets, counts))

    def parts(self, spec: UserStatistics, *, name: str) -> Parts:
        """As a checkpoint has them."""
        stores = idle.stores(self._users, name, days=self._days)
        return Parts(stores, self._clicks.spans(spec, prefix=name))

    @classmethod
    def from_parts(
        cls, parts: Parts, *, name: str, forget_after_days: int | None = None
    ) -> "Activity":
        """What `parts` gave: it goes on in these stores. Raises Corrupt where one is missing."""
        users = idle.in_parts(parts, name, days=forget_after_days)
        clicks = ItemClicks.from_spans(parts.arrays, prefix=name)
        return cls(users, clicks, forget_after_days=forget_after_days)

    def _new_among(self, clicks: Events) -> tuple[Keys, Ints]:
        """Users that were not known, in order of their first click, and the unit of that."""
        distinct, first_at = np.unique(clicks.users, return_index=True)
        new_at = np.sort(first_at[self._users.rows_of(distinct) == 0])
        return clicks.users[new_at], clicks.unit_ms[new_at]

    def _first_ms(self, rows: Ints) -> Ints:
        found: Ints = self._users.store.at(rows)["first_ms"][rows]
        return found


def _numbers(
    clicks: ItemClicks,
    rows: Ints,
    first_ms: Ints,
    at_ms: Ints,
    spec: UserStatistics,
    oldest: Ints,
) -> Floats:
    """As of instants on the grid of refreshes; buckets before `oldest` do not count. Row 0 is a
    user that is not known.
    """
    is_known = rows > 0
    end = at_ms // bucket_ms(spec)
    counter = clicks.counter(rows)
    counts = []
    for window in spec.windows_minutes:
        begin = np.minimum(np.maximum(end - window // bucket_minutes(spec), oldest), end)
        counts.append(np.where(is_known, counter.counted(rows, begin, end)[0], 0))
    hours = np.where(is_known, (at_ms - first_ms) / _MS_OF_AN_HOUR, 0.0)
    return spec.numbers(np.stack(counts, axis=1), hours)

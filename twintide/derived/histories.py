"""The last clicks of each user, changed in place: a fold costs what the users in it had clicked.

Folding in one unit at a time or sixty at once gives the same, to the bit. Users that are idle for
too long leave, where that is declared.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from twintide.arrays import Arrays
from twintide.derived import idle
from twintide.derived.clicks import Bools, Events, Ints
from twintide.keyedrows import KEYS, KeyedRows
from twintide.keys import NO_KEY, Keys
from twintide.ragged import Ids, hours_between, places_between
from twintide.rowlists import Entries, Offsets, RowLists
from twintide.rowstore import Column, Parts, RowStore

ENTRY = {"items": np.uint64, "at_ms": np.int64}
_USERS = {KEYS: Column(np.uint64)}
CLICKS = ".clicks"
"""How the name of the lists ends, behind that of their users."""

_NEVER = np.iinfo(np.int64).min


class Histories:
    """The last `length` clicks of each user, oldest first."""

    def __init__(
        self,
        length: int,
        users: KeyedRows | None = None,
        clicks: RowLists | None = None,
        *,
        forget_after_days: int | None = None,
    ) -> None:
        """With `users` and `clicks`: those that were saved."""
        self.length = length
        self._days = forget_after_days
        self._users = users or KeyedRows(RowStore.empty(_USERS | idle.columns(forget_after_days)))
        self._clicks = clicks or RowLists.empty(ENTRY, longest=length)
        """Of each user, by row of `_users`; nobody's row has none."""

        if not len(self._clicks):
            self._clicks.add(1)

    def arrays(self) -> Arrays:
        """All of it: users ascending, user i with items[offsets[i]:offsets[i + 1]]."""
        rows = np.flatnonzero(self._users.has_key())
        rows = rows[np.argsort(self._users.keys[rows])]
        entries, offsets = self._clicks.read(rows)
        return {"users": self._users.keys[rows], "offsets": offsets, **entries}

    @classmethod
    def from_arrays(cls, length: int, arrays: Arrays, *, prefix: str) -> "Histories":
        """What `arrays` gave, and older checkpoints hold."""
        return cls.of(
            length,
            arrays[f"{prefix}.users"].astype(np.uint64),
            arrays[f"{prefix}.offsets"].astype(np.int64),
            {
                "items": arrays[f"{prefix}.items"].astype(np.uint64),
                "at_ms": arrays[f"{prefix}.at_ms"].astype(np.int64),
            },
        )

    def parts(self, name: str) -> Parts:
        """As a checkpoint has them: users by row, and by row their clicks."""
        stores = idle.stores(self._users, name, days=self._days)
        return Parts(stores, {}, {name + CLICKS: self._clicks})

    @classmethod
    def from_parts(
        cls, length: int, parts: Parts, *, name: str, forget_after_days: int | None = None
    ) -> "Histories":
        """What `parts` gave: it goes on in these stores. Raises Corrupt where one is missing."""
        clicks = parts.lists_of(name + CLICKS, ENTRY, longest=length)
        users = idle.in_parts(parts, name, days=forget_after_days)
        return cls(length, users, clicks, forget_after_days=forget_after_days)

    @classmethod
    def of(cls, length: int, users: Keys, offsets: Offsets, entries: Entries) -> "Histories":
        """Of these distinct users, one after the other."""
        clicks = RowLists.of(entries, np.concatenate(([0], offsets)), longest=length)
        return cls(length, KeyedRows.of(users), clicks)

    def begin_day(self, day: int) -> None:
        """Forget who did nothing for so long that it is declared."""
        self._clicks.clear(idle.begin_day(self._users, day, days=self._days))

    def before(self, events: Events, counts: Bools) -> Ids:
        """For each event, what its user had clicked strictly before it, oldest first, at most
        `length`: of what is folded in, of the units before its own, and of its own unit.

        `counts` [N]: which of the events are themselves clicks, so that those behind see them.
        """
        at_once = self.in_one_unit(events, counts)
        late = self._users_with_late_events(events)
        if not len(late):
            return at_once
        # Only their clicks can be told of what the log did not hold yet, so only they go slowly.
        where = np.flatnonzero(np.isin(events.users, late))
        one_by_one = _before_unit_by_unit(self._of(late), events.where(where), counts[where])
        rows = np.arange(len(events))
        rows[where] = len(events) + np.arange(len(where))
        return _one_after_the_other([at_once, one_by_one]).take(rows)

    def in_one_unit(self, events: Events, counts: Bools) -> Ids:
        """As `before`, for events of one unit: they count as soon as they lie in the past."""
        entries = self._joined_with(events, counts)
        end = np.searchsorted(entries.order_keys, entries.keys_of_events, side="left")
        begin = np.searchsorted(entries.order_keys, entries.keys_of_users, side="left")
        begin = np.maximum(begin, end - self.length)
        begin = np.where(events.users == NO_KEY, end, begin)
        at, offsets = places_between(begin, end)
        of_row = np.repeat(np.arange(len(events)), np.diff(offsets))
        ages = hours_between(entries.at_ms[at], events.at_ms[of_row])
        return Ids(entries.items[at], offsets, ages=ages)

    def add(self, clicks: Events) -> None:
        """Fold these clicks in. Cost follows the users among them."""
        known = clicks.users != NO_KEY
        if not known.any():
            return
        entries = self._joined_with(clicks.where(known), np.ones(int(known.sum()), np.bool_))
        users = entries.distinct_users
        end = np.searchsorted(entries.users, users, side="right")
        begin = np.maximum(np.searchsorted(entries.users, users, side="left"), end - self.length)
        at, offsets = places_between(begin, end)
        self._users.add(clicks.users)
        self._clicks.add(len(self._users) - len(self._clicks))
        rows = self._users.rows_of(users)
        idle.see(self._users, rows)
        last = {"items": entries.items[at], "at_ms": entries.at_ms[at]}
        self._clicks.replace(rows, offsets, last)

    def _users_with_late_events(self, events: Events) -> Keys:
        """Users of whom a unit holds an event that is not newer than all in the units before it."""
        order = np.lexsort((events.unit_ms, events.users))
        users, at_ms, unit_ms = events.users[order], events.at_ms[order], events.unit_ms[order]
        if not len(users):
            return users
        begins = np.concatenate(([True], (np.diff(users) != 0) | (np.diff(unit_ms) != 0)))
        first = np.flatnonzero(begins)
        oldest, newest = np.minimum.reduceat(at_ms, first), np.maximum.reduceat(at_ms, first)
        of_group = users[first]
        same_user = np.concatenate(([False], of_group[1:] == of_group[:-1]))
        # In order so far means that the unit before holds the newest of all before.
        known_until = np.where(same_user, np.roll(newest, 1), self._newest_of(of_group))
        late = (oldest <= known_until) & (of_group != NO_KEY)
        return np.unique(of_group[late])

    def _newest_of(self, users: Keys) -> Ints:
        """Time of each user's last click that is folded in."""
        last, is_any = self._clicks.last(self._users.rows_of(users), "at_ms")
        return np.where(is_any, last, _NEVER)

    def _of(self, users: Keys) -> "Histories":
        """The part of the state that is of these users, apart."""
        entries, offsets = self._clicks.read(self._users.rows_of(users))
        return Histories.of(self.length, users, offsets, entries)

    def _joined_with(self, events: Events, counts: Bools) -> "_Entries":
        """State and the events that count, of users who have one now: by user, time, arrival."""
        distinct, rank_of_event = np.unique(events.users, return_inverse=True)
        kept, offsets = self._clicks.read(self._users.rows_of(distinct))
        rank_of_kept = np.repeat(np.arange(len(distinct)), np.diff(offsets))
        rank = np.concatenate((rank_of_kept, rank_of_event))
        items = np.concatenate((kept["items"], events.items))
        at_ms = np.concatenate((kept["at_ms"], events.at_ms))
        # Times become ranks, so that user and time fit into one sortable integer.
        time_rank = np.unique(at_ms, return_inverse=True)[1].astype(np.int64)
        sortable = (rank.astype(np.int64) << 32) | time_rank
        counted = np.flatnonzero(np.concatenate((np.ones(len(rank_of_kept), np.bool_), counts)))
        order = counted[np.argsort(sortable[counted], kind="stable")]
        return _Entries(
            distinct_users=distinct,
            users=distinct[rank[order]],
            items=items[order],
            at_ms=at_ms[order],
            order_keys=sortable[order],
            keys_of_events=sortable[len(rank_of_kept) :],
            keys_of_users=rank_of_event.astype(np.int64) << 32,
        )


def _before_unit_by_unit(apart: Histories, events: Events, counts: Bools) -> Ids:
    """What `before` gives; the events are folded in."""
    parts = []
    bounds = np.flatnonzero(np.diff(events.unit_ms, prepend=events.unit_ms[0] - 1))
    for begin, end in pairwise([*bounds.tolist(), len(events)]):
        of_unit = np.arange(begin, end)
        parts.append(apart.in_one_unit(events.where(of_unit), counts[of_unit]))
        apart.add(events.where(of_unit[counts[of_unit]]))
    return _one_after_the_other(parts)


@dataclass(frozen=True)
class _Entries:
    distinct_users: Keys
    users: Keys
    items: Keys
    at_ms: Ints
    order_keys: Ints
    keys_of_events: Ints
    keys_of_users: Ints


def _one_after_the_other(parts: list[Ids]) -> Ids:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    ages = np.concatenate([part.ages for part in parts if part.ages is not None])
    return Ids(np.concatenate([part.keys for part in parts]), offsets, ages=ages)

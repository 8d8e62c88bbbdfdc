"""Users' histories as a version carries them: the last items of each user, oldest first.

There is one for what users clicked, and one for each other sort of events that the model looks back
on. Times are carried where a feature makes something of how long ago an item was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.clock import to_unix_ms
from twintide.derived.histories import CLICKS, ENTRY
from twintide.derived.state import history_store
from twintide.errors import Corrupt
from twintide.features.kind import spread
from twintide.keys import NO_KEYS, Keys, places_of
from twintide.model.vocabulary import Vocabulary
from twintide.modelspec import ModelSpec, memory_prefix
from twintide.ragged import Encoded, Ids, hours_between
from twintide.rowlists import BLOCK, RowLists
from twintide.rowstore import INDEX, Parts

_PARTS = (("users", np.uint64), ("offsets", np.int64), ("items", np.uint64))
_TIMES = ("at_ms", np.int64)


class History(Protocol):
    """What users did last, oldest first."""

    def sample(self, count: int) -> Keys:
        """So many users, some of them over again where they are too few; none where nobody is."""

    def knows(self, users: Keys) -> npt.NDArray[np.bool_]:
        """Which of these users have a history."""

    def of(self, users: Keys, *, length: int, at_ms: npt.NDArray[np.int64] | None = None) -> Ids:
        """The newest `length` items of each of these users; none for an unknown user. With the
        instant [B] of each row, and where there are times: each item's age.
        """

    @property
    def newest_ms(self) -> int:
        """Of which the ages of sample queries are; 0 where no time is known."""


Memories = Mapping[str, History]
"""By name of what is remembered, as `ModelSpec.memories` has it."""


@dataclass(frozen=True)
class StoredHistories:
    """Histories where a checkpoint has them: those that are asked for are read, and no others."""

    _rows: Vocabulary
    _lists: RowLists
    _has_times: bool
    newest_ms: int

    @classmethod
    def of_parts(
        cls, parts: Parts, memory: str, *, has_times: bool, newest_ms: int
    ) -> "StoredHistories":
        """Raises Corrupt where they are not there, or lead elsewhere."""
        name = history_store(memory)
        lists = parts.lists_of(name + CLICKS, ENTRY)
        begin, used, _ = lists.blocks.columns()[BLOCK].T
        if (begin < 0).any() or (used < 0).any() or (begin + used > len(lists.cells)).any():
            raise Corrupt(f"a list of {name} lies where there are none")
        slots = Vocabulary(parts.store_of(name + INDEX))
        return cls(slots, lists, has_times, newest_ms if has_times else 0)

    def sample(self, count: int) -> Keys:
        """As of History."""
        keys = self._rows.some()
        return spread(keys, count) if len(keys) else keys

    def knows(self, users: Keys) -> npt.NDArray[np.bool_]:
        """Which of these users have a history."""
        found: npt.NDArray[np.bool_] = self._rows.rows_of(users) > 0
        return found

    def of(self, users: Keys, *, length: int, at_ms: npt.NDArray[np.int64] | None = None) -> Ids:
        """As of History. Nobody's row, the first, has no list."""
        if len(users) == 1:
            return self._of_one(int(users[0]), length, at_ms)
        rows = self._rows.rows_of(users)
        entries, offsets = self._lists.read(rows)
        starts = np.maximum(offsets[:-1], offsets[1:] - length)
        found = Ids.of_ranges(entries["items"], starts, offsets[1:])
        if not self._has_times or at_ms is None:
            return found
        times = Ids.of_ranges(entries["at_ms"].view(np.uint64), starts, offsets[1:])
        ages = hours_between(times.keys.view(np.int64), at_ms[found.row_of_key()])
        return replace(found, ages=ages)

    def _of_one(self, user: int, length: int, at_ms: npt.NDArray[np.int64] | None) -> Ids:
        """The same of one user, as a request asks: in a fifth of the time."""
        newest = self._lists.newest_of(self._rows.row_of(user), length)
        items = newest["items"]
        found = Ids(items, np.array([0, len(items)]))
        if not self._has_times or at_ms is None:
            return found
        return replace(found, ages=hours_between(newest["at_ms"], at_ms))


@dataclass(frozen=True)
class VersionHistories:
    """User i of `users` clicked items[offsets[i]:offsets[i + 1]], the newest one last."""

    users: Keys
    """uint64 [U], ascending."""

    offsets: npt.NDArray[np.int64]
    """int64 [U + 1]."""

    items: Keys
    at_ms: npt.NDArray[np.int64] | None = None
    """When each item was."""

    @classmethod
    def empty(cls) -> "VersionHistories":
        """Nobody has clicked anything yet."""
        return cls(NO_KEYS, np.zeros(1, np.int64), NO_KEYS)

    @classmethod
    def from_arrays(
        cls, arrays: Arrays, *, prefix: str, has_times: bool = False
    ) -> "VersionHistories":
        """`<prefix>.users`, `.offsets`, `.items` and, with times, `.at_ms`. Raises Corrupt where
        they do not fit.
        """
        parts = (*_PARTS, _TIMES) if has_times else _PARTS
        read = []
        for part, kind in parts:
            array = arrays.get(f"{prefix}.{part}")
            if array is None:
                raise Corrupt(f"there is no array {prefix}.{part}")
            if array.dtype != kind or array.ndim != 1:
                raise Corrupt(f"{prefix}: an array of {array.dtype} where {kind.__name__} belongs")
            read.append(array)
        users, offsets, items, *times = read
        found = cls(
            np.asarray(users, np.uint64),
            np.asarray(offsets, np.int64),
            np.asarray(items, np.uint64),
            np.asarray(times[0], np.int64) if times else None,
        )
        found._check(prefix)
        return found

    def sample(self, count: int) -> Keys:
        """As of History."""
        return spread(self.users, count) if len(self.users) else self.users

    def to_arrays(self, *, prefix: str) -> Arrays:
        """What `from_arrays` reads."""
        times = {} if self.at_ms is None else {f"{prefix}.at_ms": self.at_ms}
        return {
            f"{prefix}.users": self.users,
            f"{prefix}.offsets": self.offsets,
            f"{prefix}.items": self.items,
            **times,
        }

    def knows(self, users: Keys) -> npt.NDArray[np.bool_]:
        """Which of these users have a history."""
        return places_of(users, self.users)[1]

    def of(self, users: Keys, *, length: int, at_ms: npt.NDArray[np.int64] | None = None) -> Ids:
        """The newest `length` items of each of these users; none for an unknown user. With the
        instant [B] of each row, and where there are times: each item's age.
        """
        if not len(self.users):
            no_ages = None if self.at_ms is None else np.zeros(0, np.float32)
            return Ids(self.items, np.zeros(len(users) + 1, np.int64), ages=no_ages)
        if len(users) == 1:
            return self._of_one(users[0], length, at_ms)
        places, is_known = places_of(users, self.users)
        ends = np.where(is_known, self.offsets[places + 1], 0)
        starts = np.maximum(np.where(is_known, self.offsets[places], 0), ends - length)
        found = Ids.of_ranges(self.items, starts, ends)
        if self.at_ms is None or at_ms is None:
            return found
        times = Ids.of_ranges(self.at_ms.view(np.uint64), starts, ends).keys.view(np.int64)
        return replace(found, ages=hours_between(times, at_ms[found.row_of_key()]))

    def _of_one(self, user: np.uint64, length: int, at_ms: npt.NDArray[np.int64] | None) -> Ids:
        """The same of one user, as a request asks: in a fifth of the time."""
        place = int(self.users.searchsorted(user))
        begin = end = 0
        if place < len(self.users) and self.users[place] == user:
            begin, end = self.offsets[place : place + 2].tolist()
        begin = max(begin, end - length)
        found = Ids(self.items[begin:end], np.array([0, end - begin]))
        if self.at_ms is None or at_ms is None:
            return found
        return replace(found, ages=hours_between(self.at_ms[begin:end], at_ms))

    @property
    def newest_ms(self) -> int:
        """The time of the newest item of all; 0 where no time is known."""
        return int(self.at_ms.max(initial=0)) if self.at_ms is not None else 0

    def _check(self, name: str) -> None:
        fits = (
            len(self.offsets) == len(self.users) + 1
            and self.offsets[0] == 0
            and self.offsets[-1] == len(self.items)
            and (self.at_ms is None or len(self.at_ms) == len(self.items))
            and bool((np.diff(self.offsets) >= 0).all())
            and bool((self.users[1:] > self.users[:-1]).all())
        )
        if not fits:
            raise Corrupt(f"{name}: users, offsets and items do not fit together")


def memories_in(
    parts: Parts, model: ModelSpec, *, prefix: str, newest_at: datetime | None
) -> dict[str, History]:
    """Those that the model looks back on: where a checkpoint has them, or as arrays of that prefix.
    Raises Corrupt where one is missing or does not fit.
    """
    found: dict[str, History] = {}
    newest_ms = to_unix_ms(newest_at) if newest_at else 0
    for name, memory in model.memories().items():
        if history_store(name) + CLICKS in parts.lists:
            found[name] = StoredHistories.of_parts(
                parts, name, has_times=memory.has_times, newest_ms=newest_ms
            )
        else:
            found[name] = VersionHistories.from_arrays(
                parts.arrays, prefix=memory_prefix(prefix, name), has_times=memory.has_times
            )
    return found


def memory_arrays(memories: Memories, *, prefix: str) -> Arrays:
    """What `memories_in` reads as arrays: those that do not lie where a checkpoint has them."""
    found: Arrays = {}
    for name, histories in memories.items():
        if isinstance(histories, VersionHistories):
            found |= histories.to_arrays(prefix=memory_prefix(prefix, name))
    return found


def encoded(
    memories: Memories, model: ModelSpec, users: Keys, at_ms: npt.NDArray[np.int64]
) -> Encoded:
    """Every feature of what these users did before, as of an instant [B]."""
    found: Encoded = {}
    for name, memory in model.memories().items():
        found |= memory.encoded(memories[name].of(users, length=memory.length, at_ms=at_ms))
    return found

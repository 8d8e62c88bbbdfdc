"""Rows of encoded features: ids, one or many for each row, and numbers.

A batch of rows is what a tower is given, what a slice holds, and what a request becomes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.keys import NO_KEY, Keys, keys_of


@dataclass(frozen=True)
class Ids:
    """An id feature of B rows: row i holds keys[offsets[i]:offsets[i + 1]]."""

    keys: Keys
    offsets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32] | None = None
    """What each key counts in the pool of its row; None where the pooling alone says it."""

    ages: npt.NDArray[np.float32] | None = None
    """How many hours ago each key was, where that is known."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> "Ids":
        """The rows with these numbers, in this order."""
        at, offsets = places_between(self.offsets[rows], self.offsets[rows + 1])
        return Ids(self.keys[at], offsets, _those(self.weights, at), _those(self.ages, at))

    @classmethod
    def of_ranges(
        cls, keys: Keys, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
    ) -> "Ids":
        """Row i holds keys[begin[i]:end[i]]."""
        at, offsets = places_between(begin, end)
        return cls(keys[at], offsets)

    def only(self, chosen: npt.NDArray[np.bool_]) -> "Ids":
        """Without the keys that are not chosen; rows may become shorter."""
        if chosen.all():
            return self
        kept_before = np.concatenate(([0], np.cumsum(chosen)))
        return Ids(
            self.keys[chosen],
            kept_before[self.offsets],
            _those(self.weights, chosen),
            _those(self.ages, chosen),
        )

    def row_of_key(self) -> npt.NDArray[np.int64]:
        """[keys]: the row that each key is in."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


@dataclass(frozen=True)
class Numbers:
    """A number feature of B rows, float32 [B, width]."""

    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.int64]) -> "Numbers":
        """The rows with these numbers, in this order."""
        return Numbers(self.values[rows])


def as_ids(rows: Ids | Numbers) -> Ids:
    """The same, of a feature of ids. Raises TypeError of numbers."""
    if not isinstance(rows, Ids):
        raise TypeError("numbers where ids belong")
    return rows


def as_numbers(rows: Ids | Numbers) -> Numbers:
    """The same, of a feature of numbers. Raises TypeError of ids."""
    if not isinstance(rows, Numbers):
        raise TypeError("ids where numbers belong")
    return rows


Encoded = dict[str, Ids | Numbers]
"""Feature name -> its rows: what a tower is given."""


def take(encoded: Encoded, rows: npt.NDArray[np.int64]) -> Encoded:
    """The rows with these numbers, in this order."""
    return {name: feature.take(rows) for name, feature in encoded.items()}


def joined(first: Encoded, second: Encoded) -> Encoded:
    """The rows of both, one after the other; both hold the same features."""
    return {name: _joined(rows, second[name]) for name, rows in first.items()}


def _joined(first: Ids | Numbers, second: Ids | Numbers) -> Ids | Numbers:
    if isinstance(first, Ids) and isinstance(second, Ids):
        offsets = np.concatenate((first.offsets, second.offsets[1:] + first.offsets[-1]))
        return Ids(
            np.concatenate((first.keys, second.keys)),
            offsets,
            _both(first.weights, second.weights),
            _both(first.ages, second.ages),
        )
    if isinstance(first, Numbers) and isinstance(second, Numbers):
        return Numbers(np.concatenate((first.values, second.values)))
    raise TypeError("ids and numbers cannot be joined")


def _those(
    values: npt.NDArray[np.float32] | None, which: npt.NDArray[np.int64] | npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32] | None:
    return None if values is None else values[which]


def _both(
    first: npt.NDArray[np.float32] | None, second: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32] | None:
    return None if first is None or second is None else np.concatenate((first, second))


def places_between(
    begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All of begin[0], …, end[0] - 1, begin[1], …; and where each of these ranges begins."""
    lengths = end - begin
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return np.repeat(begin, lengths) + within, offsets


def one_id_each(keys: Keys) -> Ids:
    """A feature whose row i holds exactly keys[i]."""
    return Ids(keys, _ONE if len(keys) == 1 else np.arange(len(keys) + 1))


_ONE = np.arange(2)
"""The offsets of one row of one id, which nearly every feature of a request has."""

_ONE.flags.writeable = False


def lists_of_ids(lists: pa.ChunkedArray) -> Ids:
    """A list column; a null list is an empty one, a null inside a list is dropped."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return without_missing(Ids(keys_of(array.flatten()), offsets_of(array)))


def keys_to_lists(ids: Ids) -> pa.Array:
    """Keys as a column of lists of uint64."""
    return pa.LargeListArray.from_arrays(pa.array(ids.offsets), pa.array(ids.keys))


def keys_from_lists(column: pa.Array) -> Ids:
    """What `keys_to_lists` gave."""
    offsets = column.offsets.to_numpy().astype(np.int64)
    return Ids(column.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0])


def offsets_of(lists: pa.Array) -> npt.NDArray[np.int64]:
    """[B + 1]: where each list begins among the values of all; a null list is an empty one."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.cumsum(lengths.astype(np.int64))))


def without_missing(ids: Ids) -> Ids:
    """Without NO_KEY, which would pool the default row into a list."""
    return ids.only(ids.keys != NO_KEY)


def cut_to(ids: Ids, length: int) -> Ids:
    """The first `length` keys of each row."""
    place = np.arange(len(ids.keys)) - np.repeat(ids.offsets[:-1], np.diff(ids.offsets))
    return ids.only(place < length)


def newest(ids: Ids, length: int) -> Ids:
    """The last `length` keys of each row."""
    if len(ids.keys) <= length or not (np.diff(ids.offsets) > length).any():
        return ids
    place = np.repeat(ids.offsets[1:], np.diff(ids.offsets)) - np.arange(len(ids.keys))
    return ids.only(place <= length)


def hours_between(
    earlier_ms: npt.NDArray[np.int64], later_ms: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Hours from the one to the other, 0 where they are the other way round: what training and
    serving both call an age.
    """
    hours: npt.NDArray[np.float32] = (np.maximum(later_ms - earlier_ms, 0) / 3_600_000).astype(
        np.float32
    )
    return hours


def in_slots(ids: Ids, count: int) -> npt.NDArray[np.int64]:
    """[B * count + 1]: the offsets of the same keys where each row has `count` slots of at most one
    key, the last key in the last slot. No row has more keys than slots.
    """
    free = count - np.diff(ids.offsets)
    taken = np.arange(count) >= free[:, None]
    return np.concatenate(([0], np.cumsum(taken.reshape(-1)))).astype(np.int64)

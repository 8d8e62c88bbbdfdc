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

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> "Ids":
        """The rows with these numbers, in this order."""
        return Ids.of_ranges(self.keys, self.offsets[rows], self.offsets[rows + 1])

    @classmethod
    def of_ranges(
        cls, keys: Keys, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
    ) -> "Ids":
        """Row i holds keys[begin[i]:end[i]]."""
        lengths = end - begin
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return cls(keys[np.repeat(begin, lengths) + within], offsets)


@dataclass(frozen=True)
class Numbers:
    """A number feature of B rows, float32 [B, width]."""

    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.int64]) -> "Numbers":
        """The rows with these numbers, in this order."""
        return Numbers(self.values[rows])


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
        return Ids(np.concatenate((first.keys, second.keys)), offsets)
    if isinstance(first, Numbers) and isinstance(second, Numbers):
        return Numbers(np.concatenate((first.values, second.values)))
    raise TypeError("ids and numbers cannot be joined")


def one_id_each(keys: Keys) -> Ids:
    """A feature whose row i holds exactly keys[i]."""
    return Ids(keys, np.arange(len(keys) + 1))


def lists_of_ids(lists: pa.ChunkedArray) -> Ids:
    """A list column; a null list is an empty one, a null inside a list is dropped."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    keys = keys_of(array.flatten())
    lengths = (
        pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return without_missing(Ids(keys, np.concatenate(([0], np.cumsum(lengths)))))


def without_missing(ids: Ids) -> Ids:
    """Without NO_KEY, which would pool the default row into a list."""
    present = ids.keys != NO_KEY
    if present.all():
        return ids
    kept_before = np.concatenate(([0], np.cumsum(present)))
    return Ids(ids.keys[present], kept_before[ids.offsets])

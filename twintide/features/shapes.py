"""The shapes of a feature's rows, and how each lies in an Arrow column."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.features.kind import Kind, LookedUp, WidthOf
from twintide.keys import NO_KEYS, Keys
from twintide.ragged import (
    Ids,
    Numbers,
    as_ids,
    as_numbers,
    keys_from_lists,
    keys_to_lists,
    one_id_each,
)


class OneId(LookedUp):
    """One id for each row: a column of uint64."""

    is_one_id: ClassVar[bool] = True

    def no_rows(self) -> Ids:
        return one_id_each(NO_KEYS)

    def to_arrow(self, rows: Ids | Numbers) -> pa.Array:
        return pa.array(as_ids(rows).keys)

    def from_arrow(self, column: pa.Array) -> Ids:
        return one_id_each(column.to_numpy())


class ManyIds(LookedUp):
    """Any number of ids for each row: a column of lists of uint64."""

    def no_rows(self) -> Ids:
        return Ids(NO_KEYS, np.zeros(1, np.int64))

    def to_arrow(self, rows: Ids | Numbers) -> pa.Array:
        return keys_to_lists(as_ids(rows))

    def from_arrow(self, column: pa.Array) -> Ids:
        return keys_from_lists(column)


class WeightedIds(LookedUp):
    """Any number of ids for each row, each with what it counts: a column of lists of structs."""

    def no_rows(self) -> Ids:
        return Ids(NO_KEYS, np.zeros(1, np.int64), np.zeros(0, np.float32))

    def to_arrow(self, rows: Ids | Numbers) -> pa.Array:
        ids = as_ids(rows)
        entries = pa.StructArray.from_arrays([ids.keys, ids.weights], names=["key", "weight"])
        return pa.LargeListArray.from_arrays(pa.array(ids.offsets), entries)

    def from_arrow(self, column: pa.Array) -> Ids:
        keys, weights, offsets = _entries(column, "weight")
        return Ids(keys, offsets, weights)


class AgedIds(LookedUp):
    """Any number of ids for each row, each with its age in hours: a column of lists of structs."""

    def no_rows(self) -> Ids:
        return Ids(NO_KEYS, np.zeros(1, np.int64), ages=np.zeros(0, np.float32))

    def to_arrow(self, rows: Ids | Numbers) -> pa.Array:
        ids = as_ids(rows)
        entries = pa.StructArray.from_arrays([ids.keys, ids.ages], names=["key", "age"])
        return pa.LargeListArray.from_arrays(pa.array(ids.offsets), entries)

    def from_arrow(self, column: pa.Array) -> Ids:
        keys, ages, offsets = _entries(column, "age")
        return Ids(keys, offsets, ages=ages)


class Measured(Kind):
    """Numbers for each row: a column of fixed-size lists of float32."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Numbers in one row."""

    def width(self, width_of: WidthOf) -> int:
        """As many as it has."""
        del width_of
        return self.count

    def no_rows(self) -> Numbers:
        return Numbers(np.zeros((0, self.count), np.float32))

    def to_arrow(self, rows: Ids | Numbers) -> pa.Array:
        values = as_numbers(rows).values
        flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    def from_arrow(self, column: pa.Array) -> Numbers:
        return Numbers(column.flatten().to_numpy().reshape(-1, column.type.list_size))


def _entries(
    column: pa.Array, beside: str
) -> tuple[Keys, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Keys, the number beside each, and where each list begins."""
    offsets = column.offsets.to_numpy().astype(np.int64)
    entries = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    return (
        entries.field("key").to_numpy(),
        entries.field(beside).to_numpy(),
        offsets - offsets[0],
    )

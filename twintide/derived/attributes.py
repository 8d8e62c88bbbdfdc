"""What is said of each item, by feature: encoded rows that are changed in place."""

from typing import Protocol

import numpy as np

from twintide.features import Feature
from twintide.ragged import Ids, Numbers, as_ids, as_numbers
from twintide.rowlists import RowLists
from twintide.rowstore import Column, RowNumbers, RowStore


class Attribute(Protocol):
    """One feature of each item."""

    def add(self, count: int) -> None:
        """That many items more, of which nothing is said yet."""

    def write(self, rows: RowNumbers, said: Ids | Numbers) -> None:
        """What is said of these distinct items from now on."""

    def read(self, rows: RowNumbers) -> Ids | Numbers:
        """What is said of these items."""

    def saved(self) -> None:
        """Let nothing count as touched any more."""


def attribute_of(feature: Feature) -> Attribute:
    """Room for what a feature may say, without an item."""
    nothing = feature.no_rows()
    return _OfIds(nothing) if isinstance(nothing, Ids) else _OfNumbers(nothing)


class _OfIds:
    def __init__(self, like: Ids) -> None:
        weights = {} if like.weights is None else {"weights": np.float32}
        self._lists = RowLists({"keys": np.uint64, **weights})

    def add(self, count: int) -> None:
        self._lists.add(count)

    def write(self, rows: RowNumbers, said: Ids | Numbers) -> None:
        ids = as_ids(said)
        weights = {} if ids.weights is None else {"weights": ids.weights}
        self._lists.replace(rows, ids.offsets, {"keys": ids.keys, **weights})

    def read(self, rows: RowNumbers) -> Ids:
        entries, offsets = self._lists.read(rows)
        return Ids(entries["keys"], offsets, entries.get("weights"))

    def saved(self) -> None:
        self._lists.rows.saved()
        self._lists.cells.saved()


class _OfNumbers:
    def __init__(self, like: Numbers) -> None:
        self._rows = RowStore.empty({"values": Column(np.float32, like.values.shape[1:])})

    def add(self, count: int) -> None:
        self._rows.grow(count)

    def write(self, rows: RowNumbers, said: Ids | Numbers) -> None:
        values = as_numbers(said).values
        differs = (self._rows.at(rows)["values"][rows] != values).any(axis=1)
        written = rows[differs]
        self._rows.touch(written)["values"][written] = values[differs]

    def read(self, rows: RowNumbers) -> Numbers:
        return Numbers(self._rows.at(rows)["values"][rows])

    def saved(self) -> None:
        self._rows.saved()

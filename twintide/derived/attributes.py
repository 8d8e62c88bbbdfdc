"""What is said of each item, by feature: encoded rows that are changed in place."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt
from twintide.features import Feature
from twintide.ragged import Ids, Numbers, as_ids, as_numbers
from twintide.rowlists import RowLists
from twintide.rowstore import Column, Parts, RowNumbers, RowStore

VALUES = "values"


class Attribute(Protocol):
    """One feature of each item."""

    def add(self, count: int) -> None:
        """That many items more, of which nothing is said yet."""

    def write(self, rows: RowNumbers, said: Ids | Numbers) -> None:
        """What is said of these distinct items from now on."""

    def clear(self, rows: RowNumbers) -> None:
        """Nothing is said of these distinct items any more."""

    def read(self, rows: RowNumbers) -> Ids | Numbers:
        """What is said of these items."""

    def parts(self, name: str) -> Parts:
        """As a checkpoint has it."""


def attribute_of(feature: Feature) -> Attribute:
    """Room for what a feature may say, without an item."""
    nothing = feature.no_rows()
    if isinstance(nothing, Ids):
        return _OfIds(RowLists.empty(_entry_of(nothing)))
    return _OfNumbers(RowStore.empty({VALUES: Column(np.float32, nothing.values.shape[1:])}))


def attribute_in(parts: Parts, name: str, feature: Feature) -> Attribute:
    """What `parts` gave: it goes on in these stores. Raises Corrupt where it is missing."""
    nothing = feature.no_rows()
    if isinstance(nothing, Ids):
        return _OfIds(parts.lists_of(name, _entry_of(nothing)))
    store = parts.store_of(name)
    values = store.at(slice(0)).get(VALUES)
    if values is None or values.dtype != np.float32 or values.shape[1:] != nothing.values.shape[1:]:
        raise Corrupt(f"{name} are not the numbers of {feature.name}")
    return _OfNumbers(store)


def _entry_of(nothing: Ids) -> dict[str, npt.DTypeLike]:
    weights: dict[str, npt.DTypeLike] = {} if nothing.weights is None else {"weights": np.float32}
    return {"keys": np.uint64, **weights}


class _OfIds:
    def __init__(self, lists: RowLists) -> None:
        self._lists = lists

    def add(self, count: int) -> None:
        self._lists.add(count)

    def write(self, rows: RowNumbers, said: Ids | Numbers) -> None:
        ids = as_ids(said)
        weights = {} if ids.weights is None else {"weights": ids.weights}
        self._lists.replace(rows, ids.offsets, {"keys": ids.keys, **weights})

    def clear(self, rows: RowNumbers) -> None:
        self._lists.clear(rows)

    def read(self, rows: RowNumbers) -> Ids:
        entries, offsets = self._lists.read(rows)
        return Ids(entries["keys"], offsets, entries.get("weights"))

    def parts(self, name: str) -> Parts:
        return Parts({}, {}, {name: self._lists})


class _OfNumbers:
    def __init__(self, rows: RowStore) -> None:
        self._rows = rows

    def add(self, count: int) -> None:
        self._rows.grow(count)

    def write(self, rows: RowNumbers, said: Ids | Numbers) -> None:
        self._rows.touch(rows)[VALUES][rows] = as_numbers(said).values

    def clear(self, rows: RowNumbers) -> None:
        self._rows.touch(rows)[VALUES][rows] = 0

    def read(self, rows: RowNumbers) -> Numbers:
        return Numbers(self._rows.at(rows)[VALUES][rows])

    def parts(self, name: str) -> Parts:
        return Parts({name: self._rows}, {})

"""A list of entries for each row, changed in place: what users clicked, what items are.

The entries of all lists lie in the cells of one store, each list in a block of its own. Blocks have
1, 2, 4, … cells, up to the longest list that there may be; a list that outgrows its block moves to
one twice as large, and the next list of the size takes what it leaves. So memory follows the
entries, and what a change costs follows the lists that are changed.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from twintide.ragged import places_between
from twintide.rowstore import Column, RowNumbers, RowStore

Offsets = npt.NDArray[np.int64]
"""[lists + 1]: where each list begins among the entries of all."""

Entries = dict[str, npt.NDArray[Any]]
"""By name, one number for each entry: lists one after the other."""


class RowLists:
    """Lists by row number. A row that is added has an empty one."""

    def __init__(self, dtypes: Mapping[str, npt.DTypeLike], *, longest: int | None = None) -> None:
        """With `longest` no list has more entries, and no block more cells."""
        self._longest = longest
        self.rows = RowStore.empty({"at": Column(np.int64), "length": Column(np.int64)})
        """Where the block of each list begins, and how many of its cells are in use."""

        self.cells = RowStore.empty({name: Column(dtype) for name, dtype in dtypes.items()})
        self.free: dict[int, RowStore] = {}
        """By size, in cells: where blocks begin that lists have left; behind them room to spare."""

        self.free_counts: dict[int, int] = {}
        """How many there are of each size."""

    @classmethod
    def of(cls, entries: Entries, offsets: Offsets, *, longest: int | None = None) -> Self:
        """Lists one after the other, none of which counts as touched."""
        made = cls({name: each.dtype for name, each in entries.items()}, longest=longest)
        made.add(len(offsets) - 1)
        made.replace(np.arange(len(offsets) - 1), offsets, entries)
        made.rows.saved()
        made.cells.saved()
        return made

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, count: int) -> int:
        """Empty lists behind the others; returns the row of the first."""
        return self.rows.grow(count)

    def places(self, rows: RowNumbers) -> tuple[RowNumbers, Offsets]:
        """Cells of the entries of these lists, one list after the other, and where each begins."""
        own = self.rows.at(rows)
        begin = own["at"][rows]
        return places_between(begin, begin + own["length"][rows])

    def read(self, rows: RowNumbers) -> tuple[Entries, Offsets]:
        """These lists, in this order."""
        places, offsets = self.places(rows)
        cells = self.cells.at(places)
        return {name: cells[name][places] for name in self.cells.names}, offsets

    def last(self, rows: RowNumbers, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The last entry of each of these lists, and whether there is one; any where not."""
        own = self.rows.at(rows)
        lengths = own["length"][rows]
        if not len(self.cells):
            return np.zeros(len(rows), self.cells[name].dtype), lengths > 0
        places = np.maximum(own["at"][rows] + lengths - 1, 0)
        return self.cells.at(places)[name][places], lengths > 0

    def replace(self, rows: RowNumbers, offsets: Offsets, entries: Entries) -> None:
        """Give each of these distinct rows another list. Cells that stay as they are count as
        untouched.
        """
        own = self.rows.at(rows)
        at, before = own["at"][rows], own["length"][rows]
        lengths = np.diff(offsets)
        old_sizes, sizes = self._sizes(before), self._sizes(lengths)
        moves = old_sizes != sizes
        self._leave(at[moves], old_sizes[moves])
        at[moves] = self._take(sizes[moves])
        changed = moves | (before != lengths)
        touched = self.rows.touch(rows[changed])
        touched["at"][rows[changed]] = at[changed]
        touched["length"][rows[changed]] = lengths[changed]
        self._write(at, offsets, entries, moves)

    def _write(
        self, at: RowNumbers, offsets: Offsets, entries: Entries, is_new: npt.NDArray[np.bool_]
    ) -> None:
        places, _ = places_between(at, at + np.diff(offsets))
        cells = self.cells.at(places)
        differs = np.repeat(is_new, np.diff(offsets))
        for name, values in entries.items():
            differs |= cells[name][places] != values
        written = places[differs]
        touched = self.cells.touch(written)
        for name, values in entries.items():
            touched[name][written] = values[differs]

    def _sizes(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Cells of the blocks for lists of these lengths: the next power of two."""
        # The exponent of a float counts the bits of a whole number, exactly below 2 ** 53.
        bits = np.frexp(np.maximum(lengths - 1, 0).astype(np.float64))[1].astype(np.int64)
        sizes = np.where(lengths > 0, np.int64(1) << bits, 0)
        return sizes if self._longest is None else np.minimum(sizes, self._longest)

    def _leave(self, at: RowNumbers, sizes: npt.NDArray[np.int64]) -> None:
        for size in np.unique(sizes[sizes > 0]).tolist():
            left = at[sizes == size]
            free = self.free.setdefault(size, RowStore.empty({"at": Column(np.int64)}))
            first = self.free_counts.get(size, 0)
            free.grow(max(0, first + len(left) - len(free)))
            rows = slice(first, first + len(left))
            free.touch(rows)["at"][rows] = left
            self.free_counts[size] = first + len(left)

    def _take(self, sizes: npt.NDArray[np.int64]) -> RowNumbers:
        """Where blocks of these sizes begin: first those that were left, then new ones."""
        at = np.zeros(len(sizes), np.int64)
        for size in np.unique(sizes[sizes > 0]).tolist():
            wanted = np.flatnonzero(sizes == size)
            count = self.free_counts.get(size, 0)
            again = min(count, len(wanted))
            if again:
                rows = slice(count - again, count)
                at[wanted[:again]] = self.free[size].at(rows)["at"][rows]
                self.free_counts[size] = count - again
            new = wanted[again:]
            if len(new):
                at[new] = self.cells.grow(len(new) * size) + size * np.arange(len(new))
        return at

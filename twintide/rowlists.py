"""A list of entries for each row, changed in place: what users clicked, what items are.

The entries of all lists lie in the cells of one store, each list in a block of its own. A list that
outgrows its block moves to one behind all others, of 1, 2, 4, … cells, up to the longest list that
there may be. What it leaves lies fallow until the lists are saved whole and opened again: at most
as much as is in use, as blocks double. So what a change costs follows the lists that are changed.

Where a block lies depends on when its list grew, and is nobody else's affair: a checkpoint holds
the lists by row, tightly, so that its bytes follow from what is in them (`twintide.storefile`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt
from twintide.ragged import places_between
from twintide.rowstore import Base, Column, Columns, RowNumbers, RowStore, with_room

Offsets = npt.NDArray[np.int64]
"""[lists + 1]: where each list begins among the entries of all."""

Entries = dict[str, npt.NDArray[Any]]
"""By name, one number for each entry: lists one after the other."""

BLOCK = "block"
"""int64 [rows, 3]: where the block of a list begins, how many of its cells are in use, and how many
it has.
"""

LENGTHS = "lengths"

_BLOCKS = {BLOCK: Column(np.int64, (3,))}
_ROOM = 4
"""Times as many cells as are in use there is room for in a file: lists that are touched move."""


class RowLists:
    """Lists by row number. A row that is added has an empty one."""

    def __init__(self, blocks: RowStore, cells: RowStore, *, longest: int | None = None) -> None:
        """With `longest` no list has more entries, and no block that is given more cells."""
        self.blocks, self.cells = blocks, cells
        self._longest = longest

    @classmethod
    def empty(cls, dtypes: Mapping[str, npt.DTypeLike], *, longest: int | None = None) -> Self:
        """Without a row."""
        cells = RowStore.empty({name: Column(dtype) for name, dtype in dtypes.items()})
        return cls(RowStore.empty(_BLOCKS), cells, longest=longest)

    @classmethod
    def of(cls, entries: Entries, offsets: Offsets, *, longest: int | None = None) -> Self:
        """Lists one after the other, none of which counts as touched. The entries are adopted."""
        blocks = RowStore.of({BLOCK: _tight(np.diff(offsets))})
        return cls(blocks, RowStore.of(entries), longest=longest)

    def of_such(
        self, dtypes: Mapping[str, npt.DTypeLike], *, longest: int | None, name: str
    ) -> Self:
        """These lists, no longer than that. Raises Corrupt where their entries are other ones."""
        own = {column: each.dtype for column, each in self.cells.at(slice(0)).items()}
        if own != {column: np.dtype(each) for column, each in dtypes.items()}:
            raise Corrupt(f"the lists {name} are of {own}")
        return type(self)(self.blocks, self.cells, longest=longest)

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def names(self) -> tuple[str, ...]:
        """What a list lies in on the disk: blocks, and columns of cells."""
        return (BLOCK, *self.cells.names)

    def add(self, count: int) -> int:
        """Empty lists behind the others; returns the row of the first."""
        return self.blocks.grow(count)

    def places(self, rows: RowNumbers) -> tuple[RowNumbers, Offsets]:
        """Cells of the entries of these lists, one list after the other, and where each begins."""
        own = self.blocks.at(rows)[BLOCK][rows]
        return places_between(own[:, 0], own[:, 0] + own[:, 1])

    def read(self, rows: RowNumbers) -> tuple[Entries, Offsets]:
        """These lists, in this order. What lies side by side, as all of them do that were saved, is
        copied at once.
        """
        own = self.blocks.at(rows)[BLOCK][rows]
        offsets = np.concatenate((own[:1, 0], own[:, 1])).cumsum()
        if len(own) and np.array_equal(offsets[:-1], own[:, 0]):
            beside = slice(offsets[0], offsets[-1])
            cells = self.cells.at(beside)
            entries = {name: cells[name][beside].copy() for name in self.cells.names}
            return entries, offsets - offsets[0]
        places, offsets = self.places(rows)
        cells = self.cells.at(places)
        return {name: cells[name][places] for name in self.cells.names}, offsets

    def newest_of(self, row: int, count: int) -> Entries:
        """The last `count` entries of one list, or all of it: views, for a request that asks for
        one user.
        """
        begin, used, _ = self.blocks.one(BLOCK, row)
        cells = slice(begin + max(used - count, 0), begin + used)
        return {name: column[cells] for name, column in self.cells.at(cells).items()}

    def last(self, rows: RowNumbers, name: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The last entry of each of these lists, and whether there is one; any where not."""
        own = self.blocks.at(rows)[BLOCK][rows]
        is_any = own[:, 1] > 0
        found = np.zeros(len(rows), self.cells.at(slice(0))[name].dtype)
        places = own[is_any, 0] + own[is_any, 1] - 1
        found[is_any] = self.cells.at(places)[name][places]
        return found, is_any

    def replace(self, rows: RowNumbers, offsets: Offsets, entries: Entries) -> None:
        """Give each of these distinct rows another list; all of them count as touched."""
        blocks = self.blocks.touch(rows)[BLOCK]
        own, lengths = blocks[rows], np.diff(offsets)
        moves = lengths > own[:, 2]
        sizes = self._sizes(lengths[moves])
        first = self.cells.grow(int(sizes.sum()))
        own[moves, 0] = first + np.cumsum(sizes) - sizes
        own[moves, 2] = sizes
        own[:, 1] = lengths
        blocks[rows] = own
        places, _ = places_between(own[:, 0], own[:, 0] + lengths)
        cells = self.cells.touch(places)
        for name, values in entries.items():
            cells[name][places] = values

    def clear(self, rows: RowNumbers) -> None:
        """Let the lists of these distinct rows be empty; they count as touched."""
        nothing = {name: each[:0] for name, each in self.cells.at(slice(0)).items()}
        self.replace(rows, np.zeros(len(rows) + 1, np.int64), nothing)

    def _sizes(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Cells of the blocks for lists of these lengths: the next power of two."""
        # The exponent of a float counts the bits of a whole number, exactly below 2 ** 53.
        bits = np.frexp((lengths - 1).astype(np.float64))[1].astype(np.int64)
        sizes = np.int64(1) << bits
        return sizes if self._longest is None else np.minimum(sizes, self._longest)

    @property
    def is_saved(self) -> bool:
        """Whether it ever was."""
        return self.blocks.is_saved

    def touched(self) -> RowNumbers:
        """Rows whose lists were replaced since they were saved last, ascending, each once."""
        return self.blocks.touched()

    def saved(self) -> None:
        """Let no list count as touched any more: the disk has them as they are."""
        self.blocks.saved()
        self.cells.saved()

    def contents(self, rows: RowNumbers) -> Columns:
        """How long these lists are, and their entries."""
        entries, offsets = self.read(rows)
        return {LENGTHS: np.diff(offsets), **entries}

    def base(self) -> Iterator[Base]:
        """All of it, as it lies on the disk: no cell between the lists."""
        every = np.arange(len(self))
        places, offsets = self.places(every)
        yield Base(BLOCK, _tight(np.diff(offsets)), with_room(len(self)))
        for name in self.cells.names:
            yield Base(name, self.cells[name][places], _ROOM * with_room(len(places)))


def _tight(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Blocks one after the other, each as long as its list."""
    return np.stack((np.cumsum(lengths) - lengths, lengths, lengths), axis=1)

"""Rows that are changed in place, and that know which of them were.

All state that grows with users or items is rows: columns of numbers side by side, one row for each
row number. There is room to spare, so that a new row moves none of the others. A checkpoint writes
the rows that were touched since the last one, so that what it costs follows the clicks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt

if TYPE_CHECKING:
    from twintide.rowlists import RowLists

RowNumbers = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]
"""By name, [rows, …]: views of a store, valid until it grows."""

FEWEST = 1024
"""Rows that a store has room for at least."""


@dataclass(frozen=True)
class Column:
    """What one row holds under one name."""

    dtype: npt.DTypeLike
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Base:
    """One array of what is saved whole."""

    name: str
    values: npt.NDArray[Any]
    room: int
    """Rows that its file has room for."""


class Saved(Protocol):
    """Rows that know which of them changed, as a checkpoint takes them."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the arrays that it lies in."""

    @property
    def is_saved(self) -> bool:
        """Whether it ever was."""

    def __len__(self) -> int:
        """Rows."""

    def touched(self) -> RowNumbers:
        """Rows that were touched since they were saved last, ascending, each once."""

    def saved(self) -> None:
        """Let no row count as touched any more: the disk has them as they are."""

    def base(self) -> Iterator[Base]:
        """All of it."""

    def contents(self, rows: RowNumbers) -> Columns:
        """What these rows hold, and no others: a delta."""


class RowStore:
    """Columns of equally many rows. Whoever writes to a row touches it, before or after."""

    def __init__(
        self,
        columns: Columns,
        length: int,
        *,
        make_sure: Callable[[RowNumbers | None], None] | None = None,
    ) -> None:
        """`columns` are adopted, not copied; what they hold behind `length` is room to grow.

        `make_sure` is called with rows before they are first used, or with None for all of them;
        it raises Corrupt where the disk does not hold what was written.
        """
        self._columns = columns
        self._length = length
        self._is_touched = np.zeros(self.capacity, np.bool_)
        self.is_saved = False
        """Whether it was ever: what was not has nothing on the disk that it differs from."""

        self._make_sure = make_sure
        self._is_sure = np.zeros(length if make_sure else 0, np.bool_)

    @classmethod
    def empty(cls, columns: Mapping[str, Column]) -> "RowStore":
        """A store of these columns, without a row."""
        rooms = {name: _room(each.dtype, each.shape, FEWEST) for name, each in columns.items()}
        return cls(rooms, 0)

    @classmethod
    def of(cls, columns: Columns) -> "RowStore":
        """The rows of whole arrays, none of which counts as touched. The arrays are adopted."""
        lengths = {len(each) for each in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"columns of one store have {sorted(lengths)} rows")
        return cls(dict(columns), lengths.pop())

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """[rows, …]: one whole column, to read and to write, valid until the store grows."""
        self._use_all()
        return self._columns[name][: self._length]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, in their order."""
        return tuple(self._columns)

    @property
    def capacity(self) -> int:
        """Rows that there is room for without moving any."""
        return min(len(each) for each in self._columns.values())

    def at(self, rows: RowNumbers | slice) -> Columns:
        """The columns, of which only these rows are going to be read.

        What follows the clicks asks so, not for whole columns: a store that lies on the disk makes
        sure of these rows and of no others.
        """
        if self._make_sure is not None:
            self._use(rows)
        return {name: column[: self._length] for name, column in self._columns.items()}

    def take(self, name: str, rows: RowNumbers) -> npt.NDArray[Any]:
        """[rows, …]: these rows of one column, copied."""
        if self._make_sure is not None:
            self._use(rows)
        return self._columns[name][: self._length].take(rows, axis=0)

    def one(self, name: str, row: int) -> Any:
        """What one column holds of one row, as plain numbers: a request asks for one after the
        other, and this takes a fifth of the time.
        """
        if self._make_sure is not None and not self._is_known(row):
            self._use(np.array([row]))
        return self._columns[name][row].tolist()

    def columns(self) -> Columns:
        """All columns, whole."""
        self._use_all()
        return {name: column[: self._length] for name, column in self._columns.items()}

    def touch(self, rows: RowNumbers | slice) -> Columns:
        """Let these rows count as changed; returns the columns, to change them there."""
        self._is_touched[: self._length][rows] = True
        return self.at(rows)

    def touched(self) -> RowNumbers:
        """Rows that were touched since they were saved last, ascending, each once."""
        return np.flatnonzero(self._is_touched[: self._length])

    def saved(self) -> None:
        """Let no row count as touched any more: the disk has them as they are."""
        self._is_touched[self.touched()] = False
        self.is_saved = True

    def base(self) -> Iterator[Base]:
        """All columns."""
        for name, values in self.columns().items():
            yield Base(name, values, with_room(len(self)))

    def contents(self, rows: RowNumbers) -> Columns:
        """These rows of all columns."""
        return {name: column[rows] for name, column in self.at(rows).items()}

    def grow(self, count: int) -> int:
        """Make `count` rows of zeros behind the others, all touched; returns the first of them.

        Views taken before may be of another memory afterwards.
        """
        first = self._length
        needed = first + count
        if needed > self.capacity:
            self._make_room(needed + needed // 4)
        self._length = needed
        for column in self._columns.values():
            column[first:needed] = 0
        self._is_touched[first:needed] = True
        return first

    def _use(self, rows: RowNumbers | slice) -> None:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(self._length))
        known = rows[rows < len(self._is_sure)]
        new = known[~self._is_sure[known]]
        if self._make_sure is not None and len(new):
            self._make_sure(new)
            self._is_sure[new] = True

    def _is_known(self, row: int) -> bool:
        return row >= len(self._is_sure) or bool(self._is_sure[row])

    def _use_all(self) -> None:
        if self._make_sure is not None:
            self._make_sure(None)
            self._make_sure = None

    def _make_room(self, rows: int) -> None:
        self._use_all()
        for name, column in self._columns.items():
            grown = _room(column.dtype, column.shape[1:], max(rows, FEWEST))
            grown[: self._length] = column[: self._length]
            self._columns[name] = grown
        is_touched = np.zeros(self.capacity, np.bool_)
        is_touched[: self._length] = self._is_touched[: self._length]
        self._is_touched = is_touched


def with_room(rows: int) -> int:
    """So many rows, and a quarter more of them."""
    return rows + max(FEWEST, rows // 4)


def _room(dtype: npt.DTypeLike, shape: tuple[int, ...], rows: int) -> npt.NDArray[Any]:
    """Zeros that take no memory until they are written to."""
    return np.zeros((rows, *shape), dtype)


Stores = dict[str, RowStore]
"""By name, as a checkpoint has them."""

NO_STORES: Mapping[str, RowStore] = MappingProxyType({})


INDEX = ".index"
"""How the name of a store ends that follows from another one, and is kept to find its rows."""


@dataclass(frozen=True)
class Parts:
    """What is saved: rows that know which of them changed, and whole arrays of what stays small."""

    stores: Stores
    arrays: dict[str, npt.NDArray[np.generic]]
    lists: "Mapping[str, RowLists]" = field(default_factory=dict)

    def saved(self) -> dict[str, Saved]:
        """Stores and lists, which have names of their own."""
        return {**self.stores, **self.lists}

    def store_of(self, name: str) -> RowStore:
        """Raises Corrupt where there is none."""
        if name not in self.stores:
            raise Corrupt(f"there are no rows {name}")
        return self.stores[name]

    def lists_of(
        self, name: str, dtypes: Mapping[str, npt.DTypeLike], *, longest: int | None = None
    ) -> "RowLists":
        """Lists of such entries. Raises Corrupt where there are none."""
        if name not in self.lists:
            raise Corrupt(f"there are no lists {name}")
        return self.lists[name].of_such(dtypes, longest=longest, name=name)

    def and_also(self, other: "Parts") -> "Parts":
        """These and those."""
        return Parts(
            {**self.stores, **other.stores},
            self.arrays | other.arrays,
            {**self.lists, **other.lists},
        )

    def whole(self) -> dict[str, npt.NDArray[np.generic]]:
        """All but the indexes as whole arrays, a column as `<store>.<column>`; not copied."""
        return self.arrays | {
            f"{name}.{column}": values
            for name, store in self.stores.items()
            if not name.endswith(INDEX)
            for column, values in store.columns().items()
        }

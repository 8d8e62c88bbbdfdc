"""How rows lie in a checkpoint: whole once, then what was touched since, one file for each time.

The whole rows are the base: a file for each column, which is mapped when it is read. A delta holds
the numbers of rows, ascending, and what each column has there. In order, each over what lay there
before, they give the rows as they were; a row is laid over the base when it is first used, so that
reading costs what is looked at. The files are never changed, and a checkpoint has all of them in
its own folder: those that it shares with the one before are the same files, under a second name.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from threading import Lock
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from twintide.arrays import Files, packed, read_verified_file, unpacked, write_file
from twintide.errors import Corrupt
from twintide.files import share_file
from twintide.pages import PAGES, PagedArray, write_paged
from twintide.records import Record
from twintide.rowlists import BLOCK, RowLists
from twintide.rowstore import Columns, RowNumbers, RowStore, Saved, with_room
from twintide.verified import Verified

MOST_DELTAS = 16
"""Deltas on a base, before they become one."""

MOST_WEIGHT = 2
"""Times as much as their base they may weigh, before the whole is written again."""

Count = Annotated[int, Field(ge=0)]

_Delta = tuple[RowNumbers, list[npt.NDArray[np.generic]]]
"""Numbers of rows, ascending, and what each column has there."""


class StoreEntry(Record):
    """A store, or lists, in the manifest of a checkpoint."""

    columns: tuple[str, ...]
    """Each is `<store>.<column>.npy`, with its pages beside it."""

    rows: Count
    """Of the base."""

    length: Count
    """Rows in all; those behind the base's are in the deltas."""

    deltas: tuple[str, ...] = ()
    """Files of touched rows, oldest first."""

    cells: Count | None = None
    """Entries of the base's lists; None where it is columns."""

    def files_of(self, name: str) -> list[str]:
        """Those that a store of this name consists of."""
        base = [f"{name}.{column}{end}" for column in self.columns for end in (".npy", PAGES)]
        return [*base, *self.deltas]


@dataclass(frozen=True)
class LastSaved:
    """Where stores were saved last: a folder that has them, with what it says of them."""

    folder: Path
    stores: Mapping[str, StoreEntry]
    files: Files


def write_store(
    folder: Path, name: str, store: Saved, *, last: LastSaved | None, number: int
) -> tuple[StoreEntry, Files]:
    """Write what was touched since a store was saved last, or all of one that never was. `number`
    tells these rows from those of other times.
    """
    before = last.stores.get(name) if last else None
    if last is None or before is None or not store.is_saved:
        return write_whole(folder, name, store)
    parent = (last.folder, last.files)
    return write_touched(folder, name, store, before=before, parent=parent, number=number)


def write_whole(folder: Path, name: str, store: Saved) -> tuple[StoreEntry, Files]:
    """Write all rows, with room behind them."""
    files, cells = Files(), None
    for each in store.base():
        files |= write_paged(folder, f"{name}.{each.name}", each.values, room=each.room)
        cells = len(each.values)
    is_lists = BLOCK in store.names
    entry = StoreEntry(
        columns=store.names,
        rows=len(store),
        length=len(store),
        cells=cells if is_lists else None,
    )
    return entry, files


def write_touched(
    folder: Path,
    name: str,
    store: Saved,
    *,
    before: StoreEntry,
    parent: tuple[Path, Files],
    number: int,
) -> tuple[StoreEntry, Files]:
    """Write what was touched since the parent, of which folder and files are given; it has the
    store as `before`, where it was saved last. `number` is the checkpoint's own.

    Deltas become one where they are many, and the whole is written where this one is no longer
    small beside it, where all together have come to weigh much more, or where rows have outgrown
    their room. So what an hour writes is seldom more than what it touched.
    """
    source, listed = parent
    rows, deltas = store.touched(), before.deltas
    if len(rows) and len(deltas) >= MOST_DELTAS:
        earlier = [_read_delta(source, each, listed)[0] for each in deltas]
        rows, deltas = np.unique(np.concatenate([*earlier, rows])), ()
    if store.names != before.columns or len(store) > with_room(before.rows):
        return write_whole(folder, name, store)
    data = packed([rows, *store.contents(rows).values()]) if len(rows) else b""
    base = sum(listed[f"{name}.{column}.npy"].bytes for column in before.columns)
    together = len(data) + sum(listed[each].bytes for each in deltas)
    if 2 * len(data) > base or together > MOST_WEIGHT * base:
        return write_whole(folder, name, store)
    kept = before.model_copy(update={"deltas": deltas, "length": len(store)})
    files = share(source, folder, {each: listed[each] for each in kept.files_of(name)})
    if not len(rows):
        return kept, files
    delta = f"{name}-{number:06d}.delta"
    files[delta] = write_file(folder, delta, data)
    return kept.model_copy(update={"deltas": (*deltas, delta)}), files


def rows_between(name: str, then: LastSaved, now: LastSaved) -> RowNumbers | None:
    """Rows of a store that may differ between two times that it was saved, ascending, and no
    others; None where nothing says so, as the whole of it was written in between. Raises Corrupt.
    """
    before, after = then.stores.get(name), now.stores.get(name)
    if before is None or after is None or before.columns != after.columns:
        return None
    base = [each for each in before.files_of(name) if each not in before.deltas]
    if any(then.files.get(each) != now.files.get(each) for each in base):
        return None
    both = {each for each in before.deltas if then.files.get(each) == now.files.get(each)}
    touched = [
        _read_delta(each.folder, delta, each.files)[0]
        for each, entry in ((then, before), (now, after))
        for delta in entry.deltas
        if delta not in both
    ]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *touched]))


def share(source: Path, folder: Path, files: Files) -> Files:
    """Give files of one folder a name in another; returns their entries."""
    for each in files:
        share_file(source / each, folder / each)
    return files


def open_store(
    folder: Path,
    name: str,
    entry: StoreEntry,
    files: Files,
    *,
    without: Collection[str] = (),
    verified: Verified | None = None,
) -> RowStore:
    """The rows, mapped, `without` some of the columns. A page of the base is checked when one of
    its rows is first used, if its file is not among `verified`; and what deltas have of that row is
    laid over it then. Raises Corrupt.
    """
    kept = [each not in without for each in entry.columns]
    deltas = [
        (rows, _kept(folder / each, values, kept))
        for each in entry.deltas
        for rows, values in [_read_delta(folder, each, files, verified)]
    ]
    _check_rows(folder / name, entry, [rows for rows, _ in deltas])
    columns = tuple(compress(entry.columns, kept))
    newer = _Newer(entry.rows, deltas) if deltas else None
    store = _mapped(folder, name, columns, entry.rows, files, newer=newer, verified=verified)
    _check_columns(folder / name, store.at(slice(0)), deltas)
    first = store.grow(entry.length - entry.rows)
    for rows, values in deltas:
        is_new = rows >= first
        for own, of_rows in zip(store.at(rows[is_new]).values(), values, strict=True):
            own[rows[is_new]] = of_rows[is_new]
    store.saved()
    return store


def _kept(
    path: Path, values: list[npt.NDArray[np.generic]], kept: Sequence[bool]
) -> list[npt.NDArray[np.generic]]:
    if len(values) != len(kept):
        raise Corrupt(f"a delta of {path} has other columns than its base")
    return list(compress(values, kept))


def open_lists(
    folder: Path,
    name: str,
    entry: StoreEntry,
    files: Files,
    *,
    longest: int | None = None,
    verified: Verified | None = None,
) -> RowLists:
    """The same of lists."""
    blocks = _mapped(folder, name, entry.columns[:1], entry.rows, files, verified=verified)
    cells = _mapped(folder, name, entry.columns[1:], entry.cells or 0, files, verified=verified)
    if entry.columns[:1] != (BLOCK,) or blocks.at(slice(0))[BLOCK].shape[1:] != (3,):
        raise Corrupt(f"{name} in {folder} are no lists")
    lists = RowLists(blocks, cells, longest=longest)
    deltas = [_read_delta(folder, each, files, verified) for each in entry.deltas]
    _check_rows(folder / name, entry, [rows for rows, _ in deltas])
    lists.add(entry.length - entry.rows)
    for rows, values in deltas:
        lengths, *entries = values or [rows]
        own = cells.at(slice(0))
        fits = [each.dtype for each in entries] == [each.dtype for each in own.values()]
        if not fits or lengths.dtype != np.int64 or lengths.shape != rows.shape:
            raise Corrupt(f"a delta of {folder / name} does not fit its lists")
        offsets = np.concatenate(([0], np.cumsum(lengths.astype(np.int64))))
        is_falling = bool((np.diff(offsets) < 0).any())
        if is_falling or {each.shape for each in entries} != {(int(offsets[-1]),)}:
            raise Corrupt(f"a delta of {folder / name} does not fit its lists")
        lists.replace(rows, offsets, dict(zip(own, entries, strict=True)))
    lists.saved()
    return lists


class _Newer:
    """What deltas have of rows of the base, until these are used for the first time."""

    def __init__(self, rows: int, deltas: list[_Delta]) -> None:
        """`rows` of the base."""
        known = [touched[: np.searchsorted(touched, rows)] for touched, _ in deltas]
        lengths = [len(each) for each in known]
        every = np.concatenate([*known, np.zeros(0, np.int64)])
        order = np.argsort(every, kind="stable")
        is_newest = np.diff(every[order], append=-1) != 0
        order = order[is_newest]
        self._values = [values for _, values in deltas]
        self._rows = every[order]
        """Ascending, each once."""

        self._delta = np.repeat(np.arange(len(deltas)), lengths)[order]
        """Of each: which delta has its newest, and where."""

        self._place = np.concatenate([*map(np.arange, lengths), np.zeros(0, np.int64)])[order]
        self._is_over = np.zeros(len(order), np.bool_)

    def lay_over(self, columns: Columns, rows: RowNumbers | None) -> None:
        """Let columns have what is newer of these rows, or of all."""
        if rows is None:
            found = np.arange(len(self._rows))
        else:
            found = np.searchsorted(self._rows, rows)
            is_there = found < len(self._rows)
            found, rows = found[is_there], rows[is_there]
            found = found[self._rows[found] == rows]
        found = found[~self._is_over[found]]
        delta = self._delta[found]
        for each in set(delta.tolist()):
            own = found[delta == each]
            for column, values in zip(columns.values(), self._values[each], strict=True):
                column[self._rows[own]] = values[self._place[own]]
        self._is_over[found] = True


def _mapped(
    folder: Path,
    name: str,
    columns: tuple[str, ...],
    rows: int,
    files: Files,
    *,
    newer: _Newer | None = None,
    verified: Verified | None = None,
) -> RowStore:
    arrays = {
        each: PagedArray(folder, f"{name}.{each}", files, verified=verified) for each in columns
    }
    if {each.rows for each in arrays.values()} != {rows} or len(arrays) != len(columns):
        raise Corrupt(f"{name} in {folder} is not {rows} rows of {columns}")

    one_at_a_time = Lock()

    def make_sure(rows: RowNumbers | None) -> None:
        # Or who looks ahead would lay over a row what a step has changed of it meanwhile, and take
        # the page for a damaged one.
        with one_at_a_time:
            for each in arrays.values():
                each.check(rows)
            if newer is not None:
                newer.lay_over(mapped, rows)

    mapped: Columns = {each: array.array for each, array in arrays.items()}
    if newer is None and all(each.is_verified for each in arrays.values()):
        return RowStore(mapped, rows)
    return RowStore(mapped, rows, make_sure=make_sure)


def _check_columns(path: Path, own: Columns, deltas: list[_Delta]) -> None:
    for rows, values in deltas:
        for (column, array), of_rows in zip(own.items(), values, strict=True):
            if array.dtype != of_rows.dtype or of_rows.shape != (len(rows), *array.shape[1:]):
                raise Corrupt(f"a delta of {path} does not fit its column {column}")


def _check_rows(path: Path, entry: StoreEntry, touched: list[RowNumbers]) -> None:
    """Rows behind the base's come from the deltas, all of them, and no delta has others."""
    behind = [rows[np.searchsorted(rows, entry.rows) :] for rows in touched]
    new = np.unique(np.concatenate([*behind, np.zeros(0, np.int64)]))
    if len(new) != entry.length - entry.rows or (len(new) and new[-1] != entry.length - 1):
        raise Corrupt(f"the deltas of {path} do not make {entry.length} rows of {entry.rows}")


def _read_delta(folder: Path, name: str, files: Files, verified: Verified | None = None) -> _Delta:
    """Numbers of rows, and what each column has there."""
    if name not in files:
        raise Corrupt(f"the manifest of {folder} does not list {name}")
    read = read_verified_file if verified is None else verified.read
    rows, *values = unpacked(name, read(folder, name, files[name])) or [np.zeros(0)]
    is_ascending = rows.dtype == np.int64 and rows.ndim == 1
    if not is_ascending or not (np.diff(rows, prepend=-1) > 0).all():
        raise Corrupt(f"{folder / name} does not begin with row numbers in ascending order")
    return rows.astype(np.int64), values

"""Files of items as users have them: Parquet, in one piece or in parts, replaced at any time.

One consistent state of it is read, or none. Values are read by the one rule for all values
(`twintide.values`); what it does not read, an item without an id or one that is there twice is
refused, with file, row and reason.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twintide import steady
from twintide.errors import Refused, words_of
from twintide.events import ColumnType, EventSchema
from twintide.itemsource import ItemsConfig, attributes_of
from twintide.keys import keys_of
from twintide.modelspec import ModelSpec
from twintide.notation import Notation
from twintide.rowgroups import DAMAGED
from twintide.values import typed

ITEM_ID = "item_id"
AVAILABLE = "available"
LISTED_AT = "listed_at"
ATTRIBUTE = "attribute."
"""What stands before the name of an attribute's column."""


@dataclass(frozen=True)
class Aside:
    """What a source that is told of changes says beside its items."""

    delisted: pa.Array
    """Ids of items that it says are none any more."""

    unread: pa.Array
    """Ids of items whose newest word cannot be read: what was said before stays."""

    count: int
    """Messages that cannot be read, whether their id is known or not."""


@dataclass(frozen=True)
class ItemRows:
    """What a source says at one moment."""

    table: pa.Table
    """A row for each item: `item_id`, `available`, `listed_at`, and a column for each attribute
    that the source has, `attribute.<event column>`.
    """

    sha256: str
    """Of all that it was made from, and of how that is read."""

    aside: Aside | None = None
    """Of a source in which an item stays until it is delisted; None of a file."""


@dataclass(frozen=True)
class Wanted:
    """Columns of a source: their names there, and their types."""

    ids: tuple[str, ColumnType]
    available: str | None
    listed_at: str | None
    attributes: dict[str, ColumnType]

    @classmethod
    def of(cls, items: ItemsConfig, events: EventSchema, model: ModelSpec) -> "Wanted":
        """What a declaration asks of its source."""
        attributes = attributes_of(events, model)
        return cls(
            ids=(items.ids_in(events), events.columns[events.item]),
            available=items.available_column,
            listed_at=items.listed_at_column,
            attributes={name: events.columns[name] for name in attributes},
        )

    def columns(self) -> list[tuple[str, str, ColumnType]]:
        """(name in the source, name here, type) of each column."""
        said: list[tuple[str, str, ColumnType]] = [(self.ids[0], ITEM_ID, self.ids[1])]
        said += [(self.available, AVAILABLE, "bool")] if self.available else []
        said += [(self.listed_at, LISTED_AT, "timestamp_ms")] if self.listed_at else []
        return said + [(name, ATTRIBUTE + name, kind) for name, kind in self.attributes.items()]

    def required(self) -> tuple[str, ...]:
        """Columns that a source must have: attributes that it lacks are left to clicks."""
        return tuple(name for name in (self.ids[0], self.available, self.listed_at) if name)


def read(
    items: ItemsConfig, events: EventSchema, model: ModelSpec, *, known: str | None = None
) -> ItemRows | None:
    """All that the declared file says; None where that is what has the sha256 `known`.

    Raises Refused where it is no such file, Retryable where it changes meanwhile.
    """
    if items.file is None:
        raise TypeError("a source without a file")
    wanted = Wanted.of(items, events, model)
    notation = Notation(times=events.times, time_zone=events.time_zone)
    paths = _parts(items.file)
    with steady.opened(paths) as held:
        parts = [held.sha256, wanted.columns(), items.complete]
        sha256 = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        if sha256 == known:
            return None
        tables = [
            _typed(path, _columns(path, file, wanted), wanted, notation)
            for path, file in zip(paths, held.files, strict=True)
        ]
        if not held.are_as_they_were() or _parts(items.file) != paths:
            raise steady.changed(items.file)
    table = _one_table(tables)
    _check_distinct(table, [(path, len(each)) for path, each in zip(paths, tables, strict=True)])
    return ItemRows(table, sha256)


def filled(items: ItemsConfig, events: EventSchema, model: ModelSpec) -> tuple[str, ...]:
    """The event columns that the declared file fills, by its columns alone; none without a file.

    Raises Refused where it is no such file.
    """
    if items.file is None:
        return ()
    held: set[str] = set()
    for path in _parts(items.file):
        with steady.open_to_read(path) as file:
            try:
                held |= set(pq.ParquetFile(file).schema_arrow.names)
            except DAMAGED as error:
                raise Refused(f"{path} cannot be read: {words_of(error)}", hint=_HINT) from error
    return tuple(name for name in attributes_of(events, model) if name in held)


def _parts(path: Path) -> list[Path]:
    """The file; or the Parquet files of a folder, by name."""
    if not path.is_dir():
        return [path]
    parts = sorted(each for each in path.glob("*.parquet") if not each.name.startswith((".", "_")))
    if not parts:
        raise Refused(f"{path} is a folder without a Parquet file", hint=_HINT)
    return parts


def _columns(path: Path, file: BinaryIO, wanted: Wanted) -> pa.Table:
    """The columns of a file that are wanted, as it has them."""
    try:
        parquet = pq.ParquetFile(file)
        names = parquet.schema_arrow.names
        for column in wanted.required():
            if column not in names:
                raise Refused(
                    f"{path} has no column {column!r}; it has {', '.join(names)[:200]}",
                    hint="id_column, available_column and listed_at_column of `items` name its "
                    "columns",
                )
        return parquet.read([name for name, _, _ in wanted.columns() if name in names])
    except DAMAGED as error:
        raise Refused(f"{path} cannot be read: {words_of(error)}", hint=_HINT) from error


def _typed(path: Path, given: pa.Table, wanted: Wanted, notation: Notation) -> pa.Table:
    """Columns in the declared types. Raises Refused at the first value that is not one."""
    columns = {}
    for name, own_name, kind in wanted.columns():
        if name not in given.column_names:
            continue
        column = _in_one_piece(given[name])
        found = typed(column, kind, notation)
        if found.is_bad.any():
            row = int(np.argmax(found.is_bad))
            shown = str(column[row].as_py())[:80]
            raise _wrong_row(
                path,
                row,
                f"holds {shown!r} in column {name!r} ({column.type}), which is no {kind}",
                f"write it as {kind}, or leave it null where it is not known",
            )
        columns[own_name] = found.values
    ids = columns[ITEM_ID]
    if ids.null_count:
        row = int(np.argmax(np.asarray(ids.is_null())))
        raise _wrong_row(path, row, "has no item id", "leave such rows out")
    return pa.table(columns)


def _in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        return array.chunk(0) if array.num_chunks else pa.array([], array.type)
    return array


def _one_table(tables: Sequence[pa.Table]) -> pa.Table:
    """All parts, one after the other; an attribute that a part lacks is null there."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _check_distinct(table: pa.Table, parts: Sequence[tuple[Path, int]]) -> None:
    if not len(table):
        raise Refused(f"{parts[0][0]} holds no item", hint=_HINT)
    keys = keys_of(table[ITEM_ID])
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if not len(same):
        return
    at = same[int(np.argmin(order[same + 1]))]
    first, again = (_place(parts, int(order[each])) for each in (at, at + 1))
    shown = str(table[ITEM_ID][int(order[at])].as_py())[:80]
    raise _wrong_row(
        again[0],
        again[1],
        f"holds the item {shown!r} again, as row {first[1]} of {first[0].name} does",
        "keep one row for each item",
    )


def _place(parts: Sequence[tuple[Path, int]], row: int) -> tuple[Path, int]:
    """In which part a row of the whole is, and where there."""
    for path, rows in parts:
        if row < rows:
            return path, row
        row -= rows
    raise IndexError(row)


def _wrong_row(path: Path, row: int, reason: str, hint: str) -> Refused:
    return Refused(f"{path}: row {row}, counted from 0, {reason}", hint=hint)


_HINT = "a Parquet file, or a folder of them, with a column of item ids and one for each attribute"

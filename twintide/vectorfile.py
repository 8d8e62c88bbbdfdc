"""Files of fixed vectors as users have them: an id and a vector of one width for each row.

Parquet (a column of ids, one of lists), `.npz` (two arrays), or `.npy` (a matrix, its ids in
another `.npy`). Vectors are read a block at a time, so that a file may be larger than memory;
whatever is wrong is refused with file, row and reason.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twintide import steady
from twintide.errors import Refused, words_of
from twintide.keys import Keys, keys_of
from twintide.modelspec import WIDEST, TableSpec
from twintide.rowgroups import DAMAGED

Floats = npt.NDArray[np.float32]
_Block = npt.NDArray[np.floating]
IdKind = Literal["strings", "whole numbers"]

_BLOCK_BYTES = 16 << 20
_ROWS_AT_ONCE = 4096
_UNREADABLE = (*DAMAGED, MemoryError, zipfile.BadZipFile, EOFError, RuntimeError, SyntaxError)


@dataclass(frozen=True)
class VectorFile:
    """A file whose ids are read and right; each of its vectors is checked when it is read."""

    path: Path
    sha256: str
    ids_sha256: str | None
    """Of the file of ids, where they lie in one of their own."""

    id_kind: IdKind
    keys: Keys
    """uint64 [N]: of each row's id; no two are the same."""

    width: int
    _blocks: Callable[[], Iterable[_Block]]

    def blocks(self) -> Iterator[Floats]:
        """float32 [n, width], row after row. Raises Refused at one that is not finite."""
        row = 0
        for block in _read_or_refused(self.path, self._blocks()):
            with np.errstate(over="ignore", invalid="ignore"):  # float64 beyond float32 is infinity
                vectors = np.asarray(block, np.float32)
            finite = np.isfinite(vectors).all(axis=1)
            if not finite.all():
                raise _wrong_row(
                    self.path,
                    row + int(np.argmin(finite)),
                    "holds a number that is not finite",
                    "leave such ids out: an id that the file lacks is the zero vector",
                )
            row += len(vectors)
            yield vectors


@contextmanager
def opened(table: TableSpec) -> Iterator[VectorFile]:
    """The file that a table names, open while the block runs.

    Raises Refused where it is no such file, Retryable where it changes meanwhile.
    """
    path = table.vectors
    if path is None:
        raise TypeError("a table without vectors")
    paths = [path] if table.ids is None else [path, table.ids]
    for each in paths:
        if each.suffix not in _READERS:
            raise Refused(f"{each} is none of {', '.join(sorted(_READERS))}", hint=_HINT)
    with steady.opened(paths) as held:
        try:
            ids, width, blocks = _READERS[path.suffix](table, held.files)
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error
        yield _checked(table, ids, width, blocks, held.sha256)
        if not held.are_as_they_were():
            raise steady.changed(path)


def _read_or_refused(path: Path, blocks: Iterable[_Block]) -> Iterator[_Block]:
    try:
        yield from blocks
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> Refused:
    return Refused(f"{path} cannot be read: {words_of(error) or type(error).__name__}", hint=_HINT)


_Read = tuple[pa.Array, int, Callable[[], Iterable[_Block]]]
"""Ids, width, and the blocks of vectors."""


def _checked(
    table: TableSpec,
    ids: pa.Array,
    width: int,
    blocks: Callable[[], Iterable[_Block]],
    digests: list[str],
) -> VectorFile:
    path = table.vectors or Path()
    if not len(ids):
        raise Refused(f"{path} holds no vector", hint=_HINT)
    if not 1 <= width <= WIDEST:
        raise Refused(
            f"{path} holds vectors of {width:,} numbers; {WIDEST:,} is the most, 1 the least",
            hint="project them onto fewer dimensions first",
        )
    if table.width is not None and table.width != width:
        raise Refused(
            f"{path} holds vectors of {width:,} numbers, and the table asks for {table.width:,}",
            hint="leave `width` out: it is the file's",
        )
    id_kind, ids = _plain(table, ids)
    keys = keys_of(ids)
    _check_distinct(path, ids, keys)
    return VectorFile(
        path, digests[0], digests[1] if digests[1:] else None, id_kind, keys, width, blocks
    )


def _plain(table: TableSpec, ids: pa.Array) -> tuple[IdKind, pa.Array]:
    path = table.ids or table.vectors or Path()
    if pa.types.is_dictionary(ids.type):
        ids = ids.cast(ids.type.value_type)
    if ids.null_count:
        raise _wrong_row(path, _first(ids.is_null()), "has no id", "leave such rows out")
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        return "strings", ids
    if not pa.types.is_integer(ids.type):
        raise Refused(
            f"{path}: ids are {ids.type}, neither strings nor whole numbers",
            hint="write them with the type that the events' column has",
        )
    try:
        return "whole numbers", ids.cast(pa.int64())
    except pa.ArrowInvalid:
        raise Refused(
            f"{path}: an id does not fit into 64 bits with a sign",
            hint="write ids with the type that the events' column has",
        ) from None


def _check_distinct(path: Path, ids: pa.Array, keys: Keys) -> None:
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if not len(same):
        return
    at = same[int(np.argmin(order[same + 1]))]
    first, again = int(order[at]), int(order[at + 1])
    raise _wrong_row(
        path,
        again,
        f"holds the id {str(ids[again].as_py())[:80]!r} again, as row {first} does",
        "keep one row for each id",
    )


def _parquet(table: TableSpec, files: list[BinaryIO]) -> _Read:
    path = table.vectors or Path()
    parquet = pq.ParquetFile(files[0])
    schema = parquet.schema_arrow
    for column in (table.id_column, table.vector_column):
        if column not in schema.names:
            raise Refused(
                f"{path} has no column {column!r}; it has {', '.join(schema.names)[:200]}",
                hint="id_column and vector_column of the table name its columns",
            )
    kind = schema.field(table.vector_column).type
    if not _is_list_of_floats(kind):
        raise Refused(
            f"{path}: column {table.vector_column!r} is {kind}, no list of floats",
            hint="write float16 or float32 lists, of one length or fixed-size",
        )
    ids = parquet.read(columns=[table.id_column])[table.id_column].combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.chunk(0) if ids.num_chunks else pa.array([], ids.type)
    width = _width_of_first(parquet, table.vector_column) if len(ids) else 0

    def blocks() -> Iterator[_Block]:
        row, rows_at_once = 0, max(1, min(_ROWS_AT_ONCE, _BLOCK_BYTES // (8 * width)))
        for batch in parquet.iter_batches(rows_at_once, columns=[table.vector_column]):
            yield _matrix(path, batch.column(0), width, row)
            row += len(batch)

    return ids, width, blocks


def _is_list_of_floats(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_one(kind) for is_one in lists) and pa.types.is_floating(kind.value_type)


def _width_of_first(parquet: pq.ParquetFile, column: str) -> int:
    batch = next(parquet.iter_batches(1, columns=[column]))
    return int(pc.list_value_length(batch.column(0))[0].as_py() or 0)


def _matrix(path: Path, lists: pa.Array, width: int, row: int) -> _Block:
    """A block of lists as [n, width], its first row being number `row` of the file."""
    if lists.null_count:
        raise _wrong_row(path, row + _first(lists.is_null()), "has no vector", "leave it out")
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    if (lengths != width).any():
        at = int(np.argmax(lengths != width))
        raise _wrong_row(
            path,
            row + at,
            f"holds {lengths[at]:,} numbers, and row 0 holds {width:,}",
            "all vectors have one width",
        )
    values = lists.flatten()
    if values.null_count:
        at = _first(values.is_null()) // width
        raise _wrong_row(path, row + at, "lacks one of its numbers", "leave it out")
    numbers: _Block = values.to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, width)


def _npy(table: TableSpec, files: list[BinaryIO]) -> _Read:
    path = table.vectors or Path()
    ids = _ids_of(table.ids or path, files[-1])
    width, blocks = _stream(path, files[0], len(ids))
    return ids, width, blocks


def _npz(table: TableSpec, files: list[BinaryIO]) -> _Read:
    path = table.vectors or Path()
    archive = zipfile.ZipFile(files[0])
    for name in (table.id_column, table.vector_column):
        if f"{name}.npy" not in archive.namelist():
            raise Refused(
                f"{path} has no array {name!r}; it has "
                f"{', '.join(each.removesuffix('.npy') for each in archive.namelist())[:200]}",
                hint="id_column and vector_column of the table name its arrays",
            )
    with archive.open(f"{table.id_column}.npy") as file:
        ids = _ids_of(path, cast("BinaryIO", file))
    vectors = cast("BinaryIO", archive.open(f"{table.vector_column}.npy"))
    width, blocks = _stream(path, vectors, len(ids))
    return ids, width, blocks


def _ids_of(path: Path, file: BinaryIO) -> pa.Array:
    shape, dtype = _header(path, file)
    if len(shape) != 1 or dtype.kind not in "iuU":
        raise Refused(
            f"{path}: ids are {dtype} of shape {shape}, no row of whole numbers or strings",
            hint="np.save writes int64 or str arrays; objects are pickled and never read",
        )
    size = shape[0] * dtype.itemsize
    data = file.read(size)
    if len(data) != size:
        raise Refused(f"{path} ends before its last id", hint=_HINT)
    ids = np.frombuffer(data, dtype)
    return pa.array(ids.tolist() if dtype.kind == "U" else ids.astype(dtype.newbyteorder("=")))


def _stream(path: Path, file: BinaryIO, count: int) -> tuple[int, Callable[[], Iterator[_Block]]]:
    shape, dtype = _header(path, file)
    if len(shape) != 2 or dtype.kind != "f" or dtype.itemsize > 8:  # noqa: PLR2004
        raise Refused(
            f"{path}: vectors are {dtype} of shape {shape}, no matrix of floats",
            hint="np.save a float16 or float32 array of shape (ids, width)",
        )
    if shape[0] != count:
        raise Refused(
            f"{path} holds {shape[0]:,} vectors for {count:,} ids", hint="one vector for each id"
        )

    def blocks() -> Iterator[_Block]:
        row, row_bytes = 0, shape[1] * dtype.itemsize
        while row < count:
            rows = min(count - row, max(1, _BLOCK_BYTES // row_bytes))
            data = file.read(rows * row_bytes)
            if len(data) != rows * row_bytes:
                raise _wrong_row(
                    path, row + len(data) // row_bytes, "is cut off", "is the file whole?"
                )
            yield np.frombuffer(data, dtype).reshape(rows, shape[1])
            row += rows

    return shape[1], blocks


def _header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, is_fortran, dtype = read(file)
    if is_fortran and len(shape) > 1:
        raise Refused(
            f"{path} holds its numbers column by column", hint="np.save(np.ascontiguousarray(...))"
        )
    return shape, dtype


def _first(mask: pa.Array) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))


def _wrong_row(path: Path, row: int, reason: str, hint: str) -> Refused:
    return Refused(f"{path}: row {row}, counted from 0, {reason}", hint=hint)


_READERS: dict[str, Callable[[TableSpec, list[BinaryIO]], _Read]] = {
    ".parquet": _parquet,
    ".npz": _npz,
    ".npy": _npy,
}

_HINT = "a Parquet file with a column of ids and one of lists of floats, or .npz, or .npy with ids"

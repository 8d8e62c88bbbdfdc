"""Folders of arrays: how checkpoints and versions lie on the disk.

One `.npy` file per array, never pickled. The manifest beside them lists each file's size and
sha256; a reader hashes a file before anything parses it, and opens no name that leaves the folder.
"""

import builtins
import hashlib
import io
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import crc32c
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from twintide.errors import Corrupt, unreadable, words_of
from twintide.files import write_and_fsync, write_pieces_and_fsync
from twintide.mapping import only_read
from twintide.records import Record
from twintide.rowgroups import DAMAGED

MANIFEST = "manifest.json"
Arrays = dict[str, npt.NDArray[np.generic]]
_PIECE = 1 << 21

Contents = Mapping[str, bytes] | Mapping[str, memoryview]
"""File name -> its bytes, verified."""

_PLAIN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class FileEntry(Record):
    """One file of an artifact, as its manifest knows it."""

    bytes: int
    sha256: str
    room: int | None = None
    """Bytes that it takes in memory, where behind those of the file there is room for more. Its
    sha256 is then that of the checksums of its pages, one after the other.
    """

    @classmethod
    def of(cls, data: "builtins.bytes | memoryview") -> "FileEntry":
        """What a manifest says of a file with this content."""
        return cls(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


Files = dict[str, FileEntry]
"""File name -> entry; everything that belongs to the artifact, the manifest itself left out."""


PAGE = 4096
"""Bytes that a checksum is of, in a file whose pages have some."""


def _crc32c_of(pages: Iterable[memoryview]) -> builtins.bytes:
    return np.fromiter(map(crc32c.crc32c, pages), "<u4").tobytes()


def _sha256_of(pages: Iterable[memoryview]) -> builtins.bytes:
    return b"".join(hashlib.sha256(page).digest() for page in pages)


CHECKSUMS: dict[int, Callable[[Iterable[memoryview]], builtins.bytes]] = {
    4: _crc32c_of,
    32: _sha256_of,
}
"""By how many bytes they have: CRC-32C, and in checkpoints of format 3 sha256, which takes four
times as long. Those of each page, one after the other.
"""


def checksums_of(data: builtins.bytes | memoryview, *, of_bytes: int = 4) -> builtins.bytes:
    """Those of each page, one after the other."""
    view = memoryview(data)
    pages = (view[begin : begin + PAGE] for begin in range(0, len(view), PAGE))
    return CHECKSUMS[of_bytes](pages)


def write_file(folder: Path, name: str, data: bytes) -> FileEntry:
    """Write one file of an artifact, durably; what its manifest says of it."""
    write_and_fsync(folder / name, data)
    return FileEntry.of(data)


def write_arrays(folder: Path, arrays: Arrays) -> Files:
    """Write each array to `<name>.npy`; returns their entries for the manifest."""
    return {
        f"{name}.npy": write_file(folder, f"{name}.npy", array_file(arrays[name]))
        for name in sorted(arrays)
    }


def array_file(array: npt.NDArray[np.generic]) -> bytes:
    """An array as a file of its own."""
    return packed([np.asarray(array, order="C")])


def write_table(folder: Path, name: str, table: pa.Table) -> Files:
    """Write one Parquet file; returns its entry for the manifest."""
    return {name: write_file(folder, name, table_file(table))}


def table_file(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return bytes(sink.getvalue().to_pybytes())


def read_verified(folder: Path, files: Files) -> dict[str, bytes]:
    """The bytes of every file, each as its manifest has it. Raises Corrupt, naming the file."""
    return {name: read_verified_file(folder, name, entry) for name, entry in sorted(files.items())}


def verify(folder: Path, files: Files) -> None:
    """Raises Corrupt where a file is missing, changed, or there without being listed."""
    for name, entry in sorted(files.items()):
        read_verified_file(folder, name, entry)
        if entry.room is not None:
            check_room(folder, name, entry)
    check_no_strangers(folder, files)


def check_no_strangers(folder: Path, files: Files) -> None:
    """Raises Corrupt where a file is there without being listed."""
    strangers = {path.name for path in folder.iterdir()} - set(files) - {MANIFEST}
    if strangers:
        raise Corrupt(f"{folder} holds files that its manifest does not list: {sorted(strangers)}")


def check_room(folder: Path, name: str, entry: FileEntry) -> None:
    """Raises Corrupt where there is anything behind the rows of a file, as in format 3 there was a
    hole. No reader looks there; what has changed by itself says of a disk what is to be known.
    """
    with opened(folder, name, entry) as file:
        file.seek(entry.bytes)
        while piece := file.read(_PIECE):
            if piece.count(0) != len(piece):
                raise Corrupt(f"{folder / name} holds something behind its rows, where nothing is")


def parse_arrays(contents: Contents) -> Arrays:
    """The arrays among verified files, by name without `.npy`, each in memory of its own."""
    return {name: array.copy() for name, array in view_arrays(contents).items()}


def view_arrays(contents: Contents) -> Arrays:
    """The same where they lie."""
    return {
        name.removesuffix(".npy"): _parse_array(name, data)
        for name, data in contents.items()
        if name.endswith(".npy")
    }


def parse_table(contents: Contents, name: str) -> pa.Table:
    """The Parquet file `name` among the verified bytes. Raises Corrupt where it is none."""
    try:
        table = pq.read_table(pa.BufferReader(contents[name]))
        _ = table.column_names  # raises where one is no UTF-8
        table.validate(full=True)  # and this, where a value is none
    except DAMAGED as error:
        raise Corrupt(f"{name} is missing or no table: {words_of(error)}") from error
    return table


def read_verified_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    """What of a file counts, as the manifest has it. Raises Corrupt, naming the file."""
    with opened(folder, name, entry) as file:
        data = file.read(entry.bytes)
    if len(data) != entry.bytes or not fits(data, entry):
        raise Corrupt(f"{folder / name} is not what its manifest says: size or sha256 differs")
    return data


def fits(data: builtins.bytes | memoryview, entry: FileEntry) -> bool:
    """Whether that is what an entry says of a file."""
    if entry.room is None:
        return FileEntry.of(data).sha256 == entry.sha256
    return any(_sha256_of_pages(data, each) == entry.sha256 for each in CHECKSUMS)


def _sha256_of_pages(data: builtins.bytes | memoryview, of_bytes: int) -> str:
    sha256, view = hashlib.sha256(), memoryview(data)
    # Of so much it does not hold Python's lock, which answers wait for: checksums of pages do.
    for begin in range(0, len(view), _PIECE):
        sha256.update(checksums_of(view[begin : begin + _PIECE], of_bytes=of_bytes))
    return sha256.hexdigest()


@contextmanager
def opened(folder: Path, name: str, entry: FileEntry) -> Iterator[BinaryIO]:
    """A file of an artifact, which is as long as its manifest says. Raises Corrupt."""
    if not _PLAIN_NAME.match(name):
        raise Corrupt(f"the manifest of {folder} names {name!r}, which is no plain file name")
    path = folder / name
    try:
        if path.is_symlink():
            raise Corrupt(f"{path} is a symbolic link, not a file of this artifact")
        with path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            if length not in (entry.bytes, entry.room):
                raise Corrupt(f"{path} is not what its manifest says: size or sha256 differs")
            yield file
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '(?P<dtype>[|][biu]1|<[iuf][248])', "
    rb"'fortran_order': False, 'shape': \((?P<shape>(?:[0-9]{1,18}, ?)*(?:[0-9]{1,18})?)\), \} *\n",
    re.DOTALL,
)
"""What numpy writes before an array of plain numbers in C order, and nothing else that it reads:
numpy evaluates a header as Python, and gives memory to whatever shape it names.
"""


_LONGEST_HEADER = PAGE
"""Bytes that hold the header of any array that we write."""


@dataclass(frozen=True)
class Header:
    """What stands before the numbers of an array."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    end: int
    """Where the numbers begin."""

    @property
    def size(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def _parse_array(name: str, data: bytes | memoryview) -> npt.NDArray[np.generic]:
    header = parse_header(name, data, length=len(data))
    try:
        array: npt.NDArray[np.generic] = np.frombuffer(memoryview(data)[header.end :], header.dtype)
        return array.reshape(header.shape)
    except ValueError as error:  # more dimensions than numpy has
        raise Corrupt(f"{name} is no array: {words_of(error)}") from error


def parse_header(name: str, data: bytes | memoryview, *, length: int) -> Header:
    """`data` are the first bytes of `length`. Raises Corrupt where the rest is no such array."""
    header = _header_in(name, data)
    if length != header.end + header.size:
        raise Corrupt(f"{name} does not hold the bytes that its shape {header.shape} asks for")
    return header


def _header_in(name: str, data: bytes | memoryview) -> Header:
    """What `data` begins with. Raises Corrupt where it is no head of an array."""
    header = _HEADER.match(data)
    if header is None:
        raise Corrupt(f"{name} is no array of numbers as Twintide writes them")
    shape = tuple(int(part) for part in header["shape"].split(b",") if part.strip())
    dtype = np.dtype(header["dtype"].decode())
    if 10 + int.from_bytes(header["length"], "little") != header.end():
        raise Corrupt(f"{name} is no array of numbers as Twintide writes them")
    return Header(dtype, shape, header.end())


def header_of(
    dtype: np.dtype[np.generic], shape: tuple[int, ...], *, length: int | None = None
) -> bytes:
    """What stands before the numbers of an array, filled up to `length` bytes where it is given."""
    made = io.BytesIO()
    described = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(made, described)
    head = made.getvalue()
    if length is None:
        return head
    text = head[10:].rstrip().ljust(length - 11) + b"\n"
    return head[:8] + len(text).to_bytes(2, "little") + text


def packed(arrays: Sequence[npt.NDArray[np.generic]]) -> bytes:
    """Several arrays one after the other, each as in a file of its own."""
    parts = ((header_of(each.dtype, each.shape), each.tobytes()) for each in arrays)
    return b"".join(chain.from_iterable(parts))


def unpacked(name: str, data: bytes | memoryview) -> list[npt.NDArray[np.generic]]:
    """What `packed` was given. Raises Corrupt where it is something else."""
    found, rest = [], memoryview(data)
    while rest:
        header = _header_in(name, rest)
        end = header.end + header.size
        if end > len(rest):
            raise Corrupt(f"{name} does not hold the bytes that its shape {header.shape} asks for")
        found.append(np.frombuffer(rest[header.end : end], header.dtype).reshape(header.shape))
        rest = rest[end:]
    return found


def write_matrix(
    folder: Path, name: str, blocks: Iterable[npt.NDArray[np.float32]], *, shape: tuple[int, int]
) -> Files:
    """Write float32 rows that come a block at a time, as one array; returns its entry."""
    sha256, length = hashlib.sha256(), 0

    def pieces() -> Iterator[bytes]:
        nonlocal length
        head = header_of(np.dtype(np.float32), shape)
        for piece in chain([head], (np.ascontiguousarray(b).tobytes() for b in blocks)):
            sha256.update(piece)
            length += len(piece)
            yield piece

    write_pieces_and_fsync(folder / f"{name}.npy", pieces())
    return {f"{name}.npy": FileEntry(bytes=length, sha256=sha256.hexdigest())}


def map_array(folder: Path, name: str, entry: FileEntry) -> npt.NDArray[np.generic]:
    """An array of a file, mapped read-only: what is not looked at is not read into memory.

    It is hashed as its manifest has it, once by each process for as long as the file is the same.
    Raises Corrupt.
    """
    path = folder / f"{name}.npy"
    try:
        if path.is_symlink():
            raise Corrupt(f"{path} is a symbolic link, not a file of this artifact")
        stat = path.stat()
        found = _entry_of(path, stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if found != entry:
            raise Corrupt(f"{path} is not what its manifest says: size or sha256 differs")
        with path.open("rb") as file:
            header = parse_header(str(path), file.read(_LONGEST_HEADER), length=stat.st_size)
            data = only_read(file, stat.st_size)
            return data[header.end :].view(header.dtype).reshape(header.shape)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


@lru_cache(maxsize=256)
def _entry_of(path: Path, _inode: int, _changed_ns: int, size: int) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(bytes=size, sha256=hashlib.file_digest(file, "sha256").hexdigest())

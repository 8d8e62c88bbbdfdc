"""Folders of arrays: how checkpoints and versions lie on the disk.

One `.npy` file per array, never pickled. The manifest beside them lists each file's size and
sha256; a reader hashes a file before anything parses it, and opens no name that leaves the folder.
"""

import builtins
import hashlib
import io
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from twintide.errors import Corrupt, words_of
from twintide.files import write_and_fsync, write_pieces_and_fsync
from twintide.records import Record
from twintide.rowgroups import DAMAGED

MANIFEST = "manifest.json"
Arrays = dict[str, npt.NDArray[np.generic]]
_PLAIN_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class FileEntry(Record):
    """One file of an artifact, as its manifest knows it."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, data: builtins.bytes) -> "FileEntry":
        """What a manifest says of a file with this content."""
        return cls(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


Files = dict[str, FileEntry]
"""File name -> entry; everything that belongs to the artifact, the manifest itself left out."""


def write_file(folder: Path, name: str, data: bytes) -> FileEntry:
    """Write one file of an artifact, durably; what its manifest says of it."""
    write_and_fsync(folder / name, data)
    return FileEntry.of(data)


def write_arrays(folder: Path, arrays: Arrays) -> Files:
    """Write each array to `<name>.npy`; returns their entries for the manifest."""
    files: Files = {}
    for name in sorted(arrays):
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(arrays[name], order="C"), allow_pickle=False)
        files[f"{name}.npy"] = write_file(folder, f"{name}.npy", buffer.getvalue())
    return files


def write_table(folder: Path, name: str, table: pa.Table) -> Files:
    """Write one Parquet file; returns its entry for the manifest."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=1)
    return {name: write_file(folder, name, sink.getvalue().to_pybytes())}


def read_verified(folder: Path, files: Files) -> dict[str, bytes]:
    """The bytes of every file, each as its manifest has it. Raises Corrupt, naming the file."""
    return {name: _read_verified_file(folder, name, entry) for name, entry in sorted(files.items())}


def verify(folder: Path, files: Files) -> None:
    """Raises Corrupt where a file is missing, changed, or there without being listed."""
    read_verified(folder, files)
    strangers = {path.name for path in folder.iterdir()} - set(files) - {MANIFEST}
    if strangers:
        raise Corrupt(f"{folder} holds files that its manifest does not list: {sorted(strangers)}")


def parse_arrays(contents: dict[str, bytes]) -> Arrays:
    """The arrays among verified files, by name without `.npy`."""
    return {
        name.removesuffix(".npy"): _parse_array(name, data)
        for name, data in contents.items()
        if name.endswith(".npy")
    }


def parse_table(contents: dict[str, bytes], name: str) -> pa.Table:
    """The Parquet file `name` among the verified bytes. Raises Corrupt where it is none."""
    try:
        table = pq.read_table(pa.BufferReader(contents[name]))
        _ = table.column_names  # raises where one is no UTF-8
        table.validate(full=True)  # and this, where a value is none
    except DAMAGED as error:
        raise Corrupt(f"{name} is missing or no table: {words_of(error)}") from error
    return table


def _read_verified_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    if not _PLAIN_NAME.match(name):
        raise Corrupt(f"the manifest of {folder} names {name!r}, which is no plain file name")
    path = folder / name
    try:
        if path.is_symlink():
            raise Corrupt(f"{path} is a symbolic link, not a file of this artifact")
        data = path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {words_of(error)}") from error
    if FileEntry.of(data) != entry:
        raise Corrupt(f"{path} is not what its manifest says: size or sha256 differs")
    return data


_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '(?P<dtype>[|][biu]1|<[iuf][248])', "
    rb"'fortran_order': False, 'shape': \((?P<shape>(?:[0-9]{1,18}, ?)*(?:[0-9]{1,18})?)\), \} *\n",
    re.DOTALL,
)
"""What numpy writes before an array of plain numbers in C order, and nothing else that it reads:
numpy evaluates a header as Python, and gives memory to whatever shape it names.
"""


_LONGEST_HEADER = 1024
"""Bytes that hold the header of any array that we write."""


@dataclass(frozen=True)
class _Header:
    """What stands before the numbers of an array."""

    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]
    end: int
    """Where the numbers begin."""


def _parse_array(name: str, data: bytes) -> npt.NDArray[np.generic]:
    header = _parse_header(name, data, length=len(data))
    try:
        array: npt.NDArray[np.generic] = np.frombuffer(memoryview(data)[header.end :], header.dtype)
        return array.reshape(header.shape).copy()
    except ValueError as error:  # more dimensions than numpy has
        raise Corrupt(f"{name} is no array: {words_of(error)}") from error


def _parse_header(name: str, data: bytes, *, length: int) -> _Header:
    """`data` are the first bytes of `length`. Raises Corrupt where the rest is no such array."""
    header = _HEADER.match(data)
    if header is None:
        raise Corrupt(f"{name} is no array of numbers as Twintide writes them")
    shape = tuple(int(part) for part in header["shape"].split(b",") if part.strip())
    dtype = np.dtype(header["dtype"].decode())
    stated, size = int.from_bytes(header["length"], "little"), math.prod(shape) * dtype.itemsize
    if 10 + stated != header.end() or length - header.end() != size:
        raise Corrupt(f"{name} does not hold the {size} bytes that its shape {shape} asks for")
    return _Header(dtype, shape, header.end())


def write_matrix(
    folder: Path, name: str, blocks: Iterable[npt.NDArray[np.float32]], *, shape: tuple[int, int]
) -> Files:
    """Write float32 rows that come a block at a time, as one array; returns its entry."""
    sha256, length = hashlib.sha256(), 0

    def pieces() -> Iterator[bytes]:
        nonlocal length
        head = io.BytesIO()
        described = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(head, described)
        for piece in chain([head.getvalue()], (np.ascontiguousarray(b).tobytes() for b in blocks)):
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
            header = _parse_header(str(path), file.read(_LONGEST_HEADER), length=stat.st_size)
            return np.memmap(file, header.dtype, "r", header.end, header.shape)
    except (OSError, ValueError) as error:
        raise Corrupt(f"{path} cannot be read: {words_of(error)}") from error


@lru_cache(maxsize=256)
def _entry_of(path: Path, _inode: int, _changed_ns: int, size: int) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(bytes=size, sha256=hashlib.file_digest(file, "sha256").hexdigest())

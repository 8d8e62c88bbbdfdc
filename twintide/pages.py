"""Arrays on the disk that are mapped, not read: each page is checked before it is first used.

Beside the array lies a file with the sha256 of each of its pages; the manifest holds the sha256 of
that. So what a reader spends on checking follows what it looks at, not what the file weighs. Behind
the rows there is room in memory: those that come later lie behind the others, and none of these is
moved.
"""

import ctypes
import hashlib
import math
import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twintide.arrays import (
    PAGE,
    FileEntry,
    Files,
    digests_of,
    header_of,
    opened,
    parse_header,
    read_verified_file,
    write_file,
)
from twintide.errors import Corrupt
from twintide.files import write_pieces_and_fsync

DIGESTS = ".pages"
"""What the file of digests is called, behind the name of the array's."""

_THREADS = 2
_AT_ONCE = 2048
"""Pages for a thread at once: 8 MB."""


def write_paged(folder: Path, name: str, array: npt.NDArray[Any], *, room: int) -> Files:
    """Write an array as `<name>.npy`, with room for `room` rows in all, and the digests of its
    pages; returns the entries of both.
    """
    head = header_of(array.dtype, array.shape, length=PAGE)
    body = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    step = _AT_ONCE * PAGE
    with ThreadPoolExecutor(_THREADS) as threads:  # hashlib lets others run meanwhile
        parts = [head, *(body[begin : begin + step] for begin in range(0, len(body), step))]
        digests = b"".join(threads.map(digests_of, parts))
    room_bytes = PAGE + room * array.dtype.itemsize * math.prod(array.shape[1:])
    write_pieces_and_fsync(folder / f"{name}.npy", [head, body], room_bytes=room_bytes)
    listed = write_file(folder, f"{name}{DIGESTS}", digests)
    entry = FileEntry(bytes=PAGE + len(body), sha256=listed.sha256, room=room_bytes)
    return {f"{name}.npy": entry, f"{name}{DIGESTS}": listed}


class PagedArray:
    """An array of a file. What is written to it stays in memory, and never reaches the file."""

    def __init__(self, folder: Path, name: str, files: Files) -> None:
        """Checks the digests and what stands before the numbers, and no other page. Raises Corrupt
        where these are not as `files` has them.
        """
        self._path = folder / f"{name}.npy"
        entry, listed = files.get(f"{name}.npy"), files.get(f"{name}{DIGESTS}")
        if entry is None or listed is None or entry.room is None or entry.room < entry.bytes:
            raise Corrupt(f"the manifest of {folder} does not list {name}.npy and its pages")
        digests = read_verified_file(folder, f"{name}{DIGESTS}", listed)
        if listed.sha256 != entry.sha256 or len(digests) != -(-entry.bytes // PAGE) * _DIGEST_BYTES:
            raise Corrupt(f"{folder / name}{DIGESTS} is not of the pages of {name}.npy")
        self._digests = [
            digests[begin : begin + _DIGEST_BYTES]
            for begin in range(0, len(digests), _DIGEST_BYTES)
        ]
        self._is_sure = np.zeros(len(self._digests), np.bool_)
        self._end = entry.bytes
        self._bytes = _mapped(folder, f"{name}.npy", entry)
        self._check_pages(np.zeros(1, np.int64))
        header = parse_header(str(self._path), self._bytes[:PAGE].tobytes(), length=entry.bytes)
        row_bytes = header.dtype.itemsize * math.prod(header.shape[1:])
        if header.end != PAGE or not header.shape or not row_bytes:
            raise Corrupt(f"{self._path} is no array of rows with room")
        self._row_bytes = row_bytes
        self.rows = header.shape[0]
        """Of the file; behind them is room."""

        room = (entry.room - PAGE) // row_bytes
        self.array: npt.NDArray[Any] = (
            self._bytes[PAGE : PAGE + room * row_bytes]
            .view(header.dtype)
            .reshape(room, *header.shape[1:])
        )
        """[rows and room, …]. A row may be used once `check` was asked for it."""

    def check(self, rows: npt.NDArray[np.int64] | None) -> None:
        """Make sure of the pages that these rows lie in, or of all. Raises Corrupt, naming the
        file, where one of them is not what was written.
        """
        if rows is None:
            self._check_pages(np.flatnonzero(~self._is_sure))
            return
        begin = PAGE + rows[rows < self.rows] * self._row_bytes
        first, last = begin // PAGE, (begin + self._row_bytes - 1) // PAGE
        for further in range(int((last - first).max(initial=-1)) + 1):
            pages = np.minimum(first + further, last)
            self._check_pages(np.unique(pages[~self._is_sure[pages]]))

    def _check_pages(self, pages: npt.NDArray[np.int64]) -> None:
        parts = np.array_split(pages, max(1, len(pages) // _AT_ONCE))
        if len(parts) == 1:
            differing = self._differing(pages)
        else:
            with ThreadPoolExecutor(_THREADS) as threads:
                differing = [
                    page for found in threads.map(self._differing, parts) for page in found
                ]
        if differing:
            raise Corrupt(
                f"{self._path} is not what its manifest says: page {differing[0]} differs"
            )
        self._is_sure[pages] = True

    def _differing(self, pages: npt.NDArray[np.int64]) -> list[int]:
        view, digests = self._bytes.data, self._digests
        return [
            page
            for page in pages.tolist()
            if hashlib.sha256(view[page * PAGE : min((page + 1) * PAGE, self._end)]).digest()
            != digests[page]
        ]


_DIGEST_BYTES = 32


def _mapped(folder: Path, name: str, entry: FileEntry) -> npt.NDArray[np.uint8]:
    """The bytes of a file, copied where they are written to, and room behind them.

    The room is memory of our own and not the hole in the file, though that is as long: a file
    system in memory that is full gives nobody a page of a hole, and kills who asks for it.
    """
    room = entry.bytes if entry.room is None else entry.room
    memory = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    found = np.frombuffer(memory, np.uint8)
    with opened(folder, name, entry) as file:
        # Over the beginning of that memory, which is given back as one.
        at = _LIBC.mmap(
            found.ctypes.data, entry.bytes, _READ_AND_WRITE, _PRIVATE_AND_HERE, file.fileno(), 0
        )
        if at != found.ctypes.data:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder / name))
    return found


_READ_AND_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_PRIVATE_AND_HERE = mmap.MAP_PRIVATE | 0x10  # MAP_FIXED, which Python does not name
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)

"""Arrays on the disk that are mapped, not read: each page is checked before it is first used.

Beside the array lies a file with the checksum of each of its pages; the manifest holds the sha256
of that. So what a reader spends on checking follows what it looks at, not what the file weighs.
Behind the rows there is room in memory: those that come later lie behind the others, and none of
these is moved.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twintide.arrays import (
    CHECKSUMS,
    PAGE,
    FileEntry,
    Files,
    checksums_of,
    header_of,
    opened,
    parse_header,
    read_verified_file,
    write_file,
)
from twintide.errors import Corrupt
from twintide.files import write_pieces_and_fsync
from twintide.mapping import copied_when_written
from twintide.verified import Verified

_MOST_BYTES = 1 << 48
"""Of an array: what no address is for, no machine has."""

_MANY = 10_000
"""Rows, of which one does not ask for each."""

PAGES = ".pages"
"""What the file of checksums is called, behind the name of the array's."""


def write_paged(folder: Path, name: str, array: npt.NDArray[Any], *, room: int) -> Files:
    """Write an array as `<name>.npy`, which is to have room for `room` rows in all in memory, and
    the checksums of its pages; returns the entries of both.
    """
    head = header_of(array.dtype, array.shape, length=PAGE)
    body = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    checksums = checksums_of(head) + checksums_of(body)
    room_bytes = PAGE + room * array.dtype.itemsize * math.prod(array.shape[1:])
    write_pieces_and_fsync(folder / f"{name}.npy", [head, body])
    listed = write_file(folder, f"{name}{PAGES}", checksums)
    entry = FileEntry(bytes=PAGE + len(body), sha256=listed.sha256, room=room_bytes)
    return {f"{name}.npy": entry, f"{name}{PAGES}": listed}


class PagedArray:
    """An array of a file. What is written to it stays in memory, and never reaches the file."""

    def __init__(
        self, folder: Path, name: str, files: Files, *, verified: Verified | None = None
    ) -> None:
        """Checks the checksums and what stands before the numbers, and no other page; of a file
        that is among `verified` none at all. Raises Corrupt where these are not as `files` has
        them.
        """
        self._path = folder / f"{name}.npy"
        entry, listed = files.get(f"{name}.npy"), files.get(f"{name}{PAGES}")
        in_memory = 0 if entry is None or entry.room is None else entry.room
        if entry is None or listed is None or not PAGE <= entry.bytes <= in_memory <= _MOST_BYTES:
            raise Corrupt(f"the manifest of {folder} does not list {name}.npy and its pages")
        self._checksums = read_verified_file(folder, f"{name}{PAGES}", listed)
        pages = -(-entry.bytes // PAGE)
        self._of_bytes, rest = divmod(len(self._checksums), pages)
        if listed.sha256 != entry.sha256 or rest or self._of_bytes not in CHECKSUMS:
            raise Corrupt(f"{folder / name}{PAGES} is not of the pages of {name}.npy")
        self._end = entry.bytes
        self._bytes, self.is_verified = _mapped(
            folder, f"{name}.npy", entry, in_memory=in_memory, verified=verified
        )
        self._is_sure = np.full(pages, self.is_verified)
        if not self.is_verified:
            self._check_pages([0])
        header = parse_header(str(self._path), self._bytes[:PAGE].tobytes(), length=entry.bytes)
        row_bytes = header.dtype.itemsize * math.prod(header.shape[1:])
        if header.end != PAGE or not header.shape or not row_bytes:
            raise Corrupt(f"{self._path} is no array of rows with room")
        self._row_bytes = row_bytes
        self.rows = header.shape[0]
        """Of the file; behind them is room."""

        room = (in_memory - PAGE) // row_bytes
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
        if self.is_verified:
            return
        if rows is None:
            self._check_pages(np.flatnonzero(~self._is_sure).tolist())
            return
        rows = rows[rows < self.rows]
        if len(rows) > _MANY and len(rows) > (rows.max() - rows.min()) // 2:
            # All pages of the stretch: to ask for each of a million rows takes longer.
            lowest = (PAGE + int(rows.min()) * self._row_bytes) // PAGE
            highest = (PAGE + (int(rows.max()) + 1) * self._row_bytes - 1) // PAGE
            self._check_pages(self._unsure(np.arange(lowest, highest + 1)))
            return
        begin = PAGE + rows * self._row_bytes
        first, last = begin // PAGE, (begin + self._row_bytes - 1) // PAGE
        for further in range(int((last - first).max(initial=-1)) + 1):
            self._check_pages(self._unsure(np.minimum(first + further, last)))

    def _unsure(self, pages: npt.NDArray[np.int64]) -> list[int]:
        """Those of these that were not checked yet, ascending, each once."""
        if len(pages) < len(self._is_sure):
            # A set: numpy's own way takes 0.2 ms for the few of a batch.
            return sorted(set(pages[~self._is_sure[pages]].tolist()))
        is_asked = np.zeros(len(self._is_sure), np.bool_)
        is_asked[pages] = True
        found: list[int] = np.flatnonzero(is_asked & ~self._is_sure).tolist()
        return found

    def _check_pages(self, pages: list[int]) -> None:
        view, size = self._bytes[: self._end].data, self._of_bytes
        found = CHECKSUMS[size](view[page * PAGE : (page + 1) * PAGE] for page in pages)
        known = np.frombuffer(self._checksums, f"V{size}")[np.asarray(pages, np.int64)].tobytes()
        if found != known:
            pairs = zip(pages, range(0, len(found), size), strict=True)
            differs = [each for each, at in pairs if found[at:][:size] != known[at:][:size]]
            raise Corrupt(f"{self._path} is not what its manifest says: page {differs[0]} differs")
        self._is_sure[pages] = True


def _mapped(
    folder: Path, name: str, entry: FileEntry, *, in_memory: int, verified: Verified | None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """The bytes of a file, copied where they are written to, and room behind them; so many in all.
    And whether the file is among `verified`.

    The room is memory of our own and not a hole in the file, as files of format 3 have it: a file
    system in memory that is full gives nobody a page of a hole, and kills who asks for it.
    """
    with opened(folder, name, entry) as file:
        found = copied_when_written(file, entry.bytes, in_memory=in_memory)
        return found, verified is not None and verified.has(file, entry)

"""Files that are mapped, and hashed once: what is parsed is what was hashed.

A file of an artifact is never changed, so a process that has hashed it need not do so again, by
whatever name it comes: the second name that versions and checkpoints give to what they share is of
the same file. It is known by its place on the disk, its size, and when it was last written to.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from twintide.arrays import FileEntry, Files, check_no_strangers, check_room, fits, opened
from twintide.errors import Corrupt
from twintide.mapping import copied_when_written

MOST_FILES = 20_000
"""That are remembered; of more the first are forgotten, and hashed when they come again."""


@dataclass(frozen=True)
class _Stamp:
    device: int
    inode: int
    bytes: int
    changed_ns: int

    @classmethod
    def of(cls, file: BinaryIO) -> "_Stamp":
        found = os.fstat(file.fileno())
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class Verified:
    """What one process has hashed; each of its threads has one of its own."""

    def __init__(self) -> None:
        self._entries: dict[_Stamp, FileEntry] = {}

    def read(self, folder: Path, name: str, entry: FileEntry) -> memoryview:
        """What of a file counts, mapped; what is written to it stays in memory. Raises Corrupt,
        naming the file, where it is not as its manifest has it.
        """
        with opened(folder, name, entry) as file:
            data = memoryview(b"")
            if entry.bytes:
                data = copied_when_written(file, entry.bytes).data
            if not self.has(file, entry):
                if not fits(data, entry):
                    raise Corrupt(
                        f"{folder / name} is not what its manifest says: size or sha256 differs"
                    )
                if entry.room is not None:
                    check_room(folder, name, entry)
                self._remember(file, entry)
        return data

    def has(self, file: BinaryIO, entry: FileEntry) -> bool:
        """Whether an open file was found to be what an entry says, and is as it was then."""
        return self._entries.get(_Stamp.of(file)) == entry

    def contents(self, folder: Path, files: Files) -> dict[str, memoryview]:
        """The bytes of every file. Raises Corrupt, naming the first that is not as it was."""
        return {name: self.read(folder, name, entry) for name, entry in sorted(files.items())}

    def check(self, folder: Path, files: Files) -> None:
        """Raises Corrupt where a file is missing, changed, or there without being listed."""
        self.contents(folder, files)
        check_no_strangers(folder, files)

    def _remember(self, file: BinaryIO, entry: FileEntry) -> None:
        if len(self._entries) >= MOST_FILES:
            del self._entries[next(iter(self._entries))]
        self._entries[_Stamp.of(file)] = entry

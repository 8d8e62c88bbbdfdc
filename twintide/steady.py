"""Files that others may replace at any time: one state of them is read, or none."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from twintide.errors import Refused, Retryable


@dataclass(frozen=True)
class Steady:
    """Open files, hashed, and how they were when they were opened."""

    files: list[BinaryIO]
    sha256: list[str]
    """Of each of them."""

    _stamps: list[tuple[int, int]]

    def are_as_they_were(self) -> bool:
        """Whether none was written to since. One that was renamed over is still the old one."""
        return [_stamp(file) for file in self.files] == self._stamps


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[Steady]:
    """Files, open while the block runs. Raises Refused where one cannot be read."""
    with ExitStack() as stack:
        files = [stack.enter_context(open_to_read(path)) for path in paths]
        stamps = [_stamp(file) for file in files]
        digests = [
            hashlib.file_digest(cast("BytesIO", each), "sha256").hexdigest() for each in files
        ]
        for file in files:
            file.seek(0)
        yield Steady(files, digests, stamps)


def open_to_read(path: Path) -> BinaryIO:
    """Raises Refused where it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}", hint="name a file that this user may read"
        ) from error


def changed(path: Path) -> Retryable:
    """That a file was written to while it was read."""
    return Retryable(
        f"{path} was changed while it was read",
        hint="write another file and rename it over the old one; try again",
    )


def _stamp(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_mtime_ns, stat.st_size

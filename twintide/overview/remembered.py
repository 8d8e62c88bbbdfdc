"""What was read of files that do not change: whoever looks often reads each of them once."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

MOST = 1_024
"""Files that are remembered; those that nobody asked for longest are forgotten first."""


class Remembered(Generic[T]):
    """What `read` makes of a file, read again where another one lies there."""

    def __init__(self, read: Callable[[Path], T]) -> None:
        self._plain = read
        self._known = lru_cache(maxsize=MOST)(lambda path, _: read(path))

    def of(self, path: Path) -> T:
        """Raises whatever `read` raises, each time."""
        try:
            found = path.stat()
        except OSError:
            return self._plain(path)
        return self._known(path, (found.st_ino, found.st_mtime_ns, found.st_size))

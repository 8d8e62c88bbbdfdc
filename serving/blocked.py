"""Follow which items are blocked: beside versions, and as fast."""

import errno
from pathlib import Path

import numpy as np

from twintide.blocklist import BLOCKED, read_blocklist
from twintide.keys import NO_KEYS, Keys
from twintide.telemetry import get_log

log = get_log("serving")


class BlockedItems:
    """The keys of the items that are blocked, as of the last look."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: object = "not looked yet"
        self.keys: Keys = NO_KEYS
        self._was_there = False
        self.problem: str | None = None
        """Why the list cannot be read. What was read before still counts."""

        self.is_known = False
        """Whether the list was ever read: until then nothing may be answered."""

    def look(self) -> bool:
        """Read the list again where its file has changed; whether other items are blocked now."""
        changed = stamp(self._root / BLOCKED)  # before it is read: a change in between is seen next
        if changed == self._seen and self.problem is None:
            return False
        if self._was_there and changed == errno.ENOENT:
            self._fail(FileNotFoundError(f"{BLOCKED} has gone; what it said still counts"))
            return False
        try:
            keys = read_blocklist(self._root).keys()
        except Exception as error:  # noqa: BLE001  whatever it holds, versions are followed
            self._fail(error)
            return False
        if stamp(self._root / BLOCKED) != changed:
            return False  # it is not told of which of the two: the next look does
        is_other = not np.array_equal(keys, self.keys)
        self.keys = keys  # before it is known: a version is loaded meanwhile
        self._seen, self.problem, self.is_known = changed, None, True
        self._was_there |= changed != errno.ENOENT
        if is_other:
            log.info("blocklist_changed", blocked=len(keys))
        return is_other

    def _fail(self, error: Exception) -> None:
        problem = str(error)
        if problem != self.problem:
            log.error("blocklist_not_read", reason=problem, still_blocked=len(self.keys))
        self.problem = problem


def stamp(path: Path) -> object:
    """What differs when the file was replaced, or cannot be looked at for another reason."""
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_ino, found.st_mtime_ns, found.st_size

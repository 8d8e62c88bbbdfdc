"""What a server says of its clients: however many misbehave, one line of each kind a second."""

import logging
import threading

from twintide.clock import monotonic_seconds
from twintide.telemetry import get_log

BETWEEN_LINES_SECONDS = 1.0


class BoundedLog:
    """Logs the first of a kind at once and then at most one line a second, which says how many it
    stands for. Any thread may ask it.
    """

    def __init__(self) -> None:
        self._log = get_log("serving")
        self._lock = threading.Lock()
        self._said_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def warning(self, event: str, **fields: object) -> None:
        """Something that a client or the network did."""
        if times := self._turn(event):
            self._log.warning(event, times=times, **fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that the server did wrong."""
        if times := self._turn(event):
            self._log.error(event, times=times, **fields)

    def _turn(self, event: str) -> int:
        """How many of this kind a line said now would stand for; 0 where it must wait."""
        with self._lock:
            times = self._unsaid.get(event, 0) + 1
            now = monotonic_seconds()
            if now - self._said_at.get(event, -BETWEEN_LINES_SECONDS) < BETWEEN_LINES_SECONDS:
                self._unsaid[event] = times
                return 0
            self._said_at[event], self._unsaid[event] = now, 0
            return times


class LibraryLines(logging.Handler):
    """Takes what uvicorn and asyncio have to say, which is a line for each client that errs."""

    def __init__(self, log: BoundedLog) -> None:
        super().__init__(logging.WARNING)
        self._bounded = log

    def emit(self, record: logging.LogRecord) -> None:
        """One record of a library."""
        error = record.exc_info[1] if record.exc_info else None
        reason = record.getMessage()[:200] + (f": {error!r}" if error else "")
        self._bounded.warning(f"{record.name.split('.')[0]}_warned", reason=reason)


def take_over_library_logs(log: BoundedLog) -> None:
    """From now on uvicorn and asyncio speak through `log`."""
    for name in ("uvicorn", "asyncio"):
        library = logging.getLogger(name)
        library.handlers = [LibraryLines(log)]
        library.propagate = False

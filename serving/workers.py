"""Several processes that answer behind one address.

They share the listening socket and the mapped files of a version; each follows what is live by
itself. One that ends by itself is replaced. The process that starts them answers nothing: it has
no thread, so that it may fork at any time.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from twintide.telemetry import get_log

AGAIN_SECONDS = 1.0
"""Before one that ended is replaced: what fails at once must not be tried without end."""

_ENDING = (signal.SIGTERM, signal.SIGINT)

log = get_log("serving")


class Workers:
    """So many processes that run `work` until SIGTERM."""

    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self._count, self._work = count, work
        self._running: set[int] = set()
        self._ends = threading.Event()

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C, and then until the last of them has finished."""
        for ending in _ENDING:
            signal.signal(ending, self._end)
        for _ in range(self._count):
            self._start()
        while self._running:
            process, status = os.waitpid(-1, 0)
            self._running.discard(process)
            if self._ends.is_set():
                continue
            log.error("worker_ended", worker=process, status=os.waitstatus_to_exitcode(status))
            if not self._ends.wait(AGAIN_SECONDS):
                self._start()

    def _start(self) -> None:
        process = os.fork()
        if not process:
            os._exit(_code_of(self._work))
        self._running.add(process)
        log.info("worker_started", worker=process)
        if self._ends.is_set():  # it was asked meanwhile, and this one was not told
            os.kill(process, signal.SIGTERM)

    def _end(self, *_: object) -> None:
        self._ends.set()
        for process in self._running:
            os.kill(process, signal.SIGTERM)


def _code_of(work: Callable[[], None]) -> int:
    """Run it, in a process that ends with this code."""
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_DFL)
    try:
        work()
    except Exception:  # noqa: BLE001  the process ends here, and whoever replaces it has said so
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0

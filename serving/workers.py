"""Several processes that answer behind one address.

They share the listening socket and the mapped files of a version; each follows what is live by
itself. One that ends by itself is replaced. The process that starts them answers nothing: it has
no thread, so that it may fork at any time.

It takes signals only where it waits for them, so none can come between a fork and what is written
down of it. A worker ends when a pipe closes that its master alone holds open: when it is told to,
and also when the master has died.
"""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NoReturn

from twintide.telemetry import get_log

AGAIN_SECONDS = 1.0
"""Before one that ended is replaced: what fails at once must not be tried without end."""

_ENDING = {signal.SIGTERM, signal.SIGINT}
_WAITED_FOR = {*_ENDING, signal.SIGCHLD}

log = get_log("serving")


class Workers:
    """So many processes that run `first` until SIGTERM; one that replaces another runs `later`."""

    def __init__(
        self,
        count: int,
        first: Callable[[], None],
        *,
        later: Callable[[], None],
        forget: Callable[[int], None] = lambda _: None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        """`forget` is what this process does with the number of one that has ended by itself;
        `ending` what it does when it is told to end, before it waits for them.
        """
        self._count, self._first, self._later = count, first, later
        self._forget, self._ending = forget, ending
        self._running: set[int] = set()
        self._until_closed, self._held_open = os.pipe()

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C, and then until the last of them has finished."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it cannot wait for a process
        try:
            for _ in range(self._count):
                self._start(self._first)
            self._replace_until_told()
        finally:
            os.close(self._held_open)
            self._ending()  # a connection that nobody will take must be refused, and not wait
        while self._running:
            self._running.discard(os.waitpid(-1, 0)[0])

    def _replace_until_told(self) -> None:
        while signal.sigwait(_WAITED_FOR) not in _ENDING:
            for process, status in _ended():
                if process not in self._running:  # PID 1 is handed what others have left behind
                    continue
                self._running.discard(process)
                log.error("worker_ended", worker=process, status=os.waitstatus_to_exitcode(status))
                self._forget(process)
                if signal.sigtimedwait(_ENDING, AGAIN_SECONDS):
                    return
                self._start(self._later)

    def _start(self, work: Callable[[], None]) -> None:
        process = os.fork()
        if not process:
            self._be_a_worker(work)
        self._running.add(process)
        log.info("worker_started", worker=process)

    def _be_a_worker(self, work: Callable[[], None]) -> NoReturn:
        """Nothing of what the master was about to do is left to do: the process ends here."""
        code = 1
        try:
            os.close(self._held_open)
            for ending in _ENDING:
                signal.signal(ending, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
            threading.Thread(target=_end_with, args=(self._until_closed,), daemon=True).start()
            work()
            code = 0
        except BaseException:  # noqa: BLE001  whoever replaces it says that it ended
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _end_with(until_closed: int) -> None:
    """SIGTERM to this process when the last other end of the pipe has closed."""
    os.read(until_closed, 1)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _ended() -> Iterator[tuple[int, int]]:
    """The children that have ended, with their status: one signal may stand for several."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found

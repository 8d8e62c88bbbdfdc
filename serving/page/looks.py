"""When a look is taken: at most one at a time, and one in a few seconds, however many ask."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from serving.page.snapshot import Snapshot
from twintide.clock import Clock
from twintide.errors import Retryable

FRESH_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
"""How long a page waits for a look before it shows the one before."""


class Looks:
    """The newest snapshot. A look runs in a thread, so that no answer waits for a disk."""

    def __init__(self, look: Callable[[], Snapshot], *, clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="status-page")
        self._running: asyncio.Future[Snapshot] | None = None
        self._newest: Snapshot | None = None
        self._taken_at: datetime | None = None

    async def newest(self) -> Snapshot:
        """Of the last seconds; an older one where the disk is slow. Raises Retryable where there is
        none yet, and what a look raises.
        """
        if self._newest is not None and self._is_fresh():
            return self._newest
        if self._running is None or self._running.done():
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(self._thread, self._take)
        try:
            return await asyncio.wait_for(asyncio.shield(self._running), PATIENCE_SECONDS)
        except TimeoutError:
            if self._newest is not None:
                return self._newest
            raise Retryable(
                "the first look at the folders is not over",
                hint="load the page again; where this stays, their disk is slow",
            ) from None

    def _take(self) -> Snapshot:
        at = self._clock.now()
        self._newest = self._look()
        self._taken_at = at
        return self._newest

    def _is_fresh(self) -> bool:
        if self._taken_at is None:
            return False
        age = self._clock.now() - self._taken_at
        return timedelta(0) <= age < timedelta(seconds=FRESH_SECONDS)

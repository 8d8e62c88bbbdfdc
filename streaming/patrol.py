"""A daemon looks after its shards: whether those of the newest days are still what was committed.

All footers of two days at the start, and whole files of as many of the newest hours as are cheap;
then, every hour, the hour that is just over. It goes step by step between the turns of the reader,
so that a start is no slower for it. The shard before each commit is looked at by the ledger itself.

A breach belongs to its partition: that one is not read on until it is mended, all others are.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from twintide.chain import Chains
from twintide.clock import Clock, monotonic_seconds
from twintide.errors import Corrupt
from twintide.shards import Ledger

_STEP_SECONDS = 0.02
_START_SECONDS = 0.5
_AGAIN_SECONDS = 3600.0
_SURE_SECONDS = 3.0
_KNOWN_SECONDS = 30.0
_RECENT = timedelta(days=2)
_HOUR_OVER = timedelta(hours=2)
_CHEAP_BYTES = 256 * 1024 * 1024


Found = tuple[int, str]
"""A partition, and what is wrong with it."""


class Patrol:
    """Rounds through the newest shards."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._round: Iterator[list[Found] | None] | None = self._look(_RECENT)
        self._is_first = True
        self._again_at = monotonic_seconds() + _AGAIN_SECONDS
        self._found: list[Found] = []
        self._breaches: dict[int, list[str]] = {}

    @property
    def breached(self) -> frozenset[int]:
        """Partitions with which something is wrong, as of the last round."""
        return frozenset(self._breaches)

    def step(self) -> None:
        """Look at a few more shards, or at none where it is not time."""
        now = monotonic_seconds()
        if self._round is None and now >= self._again_at:
            self._again_at = now + _AGAIN_SECONDS
            self._round = self._look(_RECENT if self._found else _HOUR_OVER)
        self._go_on(until=now + (_START_SECONDS if self._is_first else _STEP_SECONDS))
        self._is_first = False

    def check(self, partition: int) -> None:
        """Raises Corrupt where something is wrong with the partition's shards."""
        breaches = self._breaches.get(partition)
        if breaches:
            raise Corrupt(
                breaches[0] + (f" (and {len(breaches) - 1} more)" if len(breaches) > 1 else ""),
                hint="`twintide verify` lists every breach; restore the shard from a copy, or "
                "delete it and all that lies before it, once that is learnt",
            )

    def finish(self) -> None:
        """Go the round to its end, for a run that ends. Raises Corrupt where anything is wrong."""
        while self._round is not None or (self._found and not self._breaches):
            self._round = self._round or self._look(_RECENT)
            self._go_on(until=None)
        for partition in sorted(self._breaches):
            self.check(partition)

    def _go_on(self, *, until: float | None) -> None:
        while self._round is not None:
            breaches = next(self._round)
            if breaches is not None:
                self._round = None
                self._judge(breaches)
            if until is not None and monotonic_seconds() >= until:
                return

    def _judge(self, found: list[Found]) -> None:
        """What is found twice is one: between two looks whoever deletes old days has gone on."""
        self._breaches = {}
        for partition, breach in found:
            if (partition, breach) in self._found:
                self._breaches.setdefault(partition, []).append(breach)
        self._found = found
        if found:
            wait = _KNOWN_SECONDS if self._breaches else _SURE_SECONDS
            self._again_at = min(self._again_at, monotonic_seconds() + wait)

    def _look(self, span: timedelta) -> Iterator[list[Found] | None]:
        """None after each shard, and what is wrong in the end."""
        hours = [each for each in self._ledger.hours() if each[0] <= self._clock.latest()]
        if not hours:
            yield []
            return
        since = hours[0][0] - span
        whole_since = _cheap_since([each for each in hours if each[0] >= since])
        chains, found = Chains(), list[Found]()
        for name in self._ledger.names(since=since):
            is_whole = name.hour_at >= whole_since
            breaches = self._ledger.look_at(name, chains, whole=is_whole)
            found += [(name.partition, breach) for breach in breaches]
            yield None
        for name in self._ledger.names_within(list(chains.gaps())):
            breaches = self._ledger.look_at(name, chains, whole=False)
            found += [(name.partition, breach) for breach in breaches]
        yield found + [(gap.partition, str(gap)) for gap in chains.gaps()]


def _cheap_since(hours: list[tuple[datetime, Path]]) -> datetime:
    """The oldest of the newest hours that together are quickly read; the newest is in any case."""
    left = _CHEAP_BYTES
    since = hours[0][0]
    for hour_at, folder in hours:
        with suppress(FileNotFoundError):  # somebody deletes old days
            left -= sum(each.stat().st_size for each in os.scandir(folder))
        if left < 0:
            break
        since = hour_at
    return since

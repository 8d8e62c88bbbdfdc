"""The only caller of the wall clock. Tests and replays hold a clock and move it by hand.

The reader's own clock is the only one that is believed: whatever a producer, a file or an older
program wrote, an instant later than `latest_believed` has not come yet and decides nothing.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

DAY_MS = 86_400_000

SKEW_SECONDS = 5.0
"""How far another clock may be ahead of ours and still be believed: clocks that are kept in time
differ by milliseconds, and one that differs by more is named.
"""


class Clock(Protocol):
    """What time it is. Everything that asks takes a clock as a value."""

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        ...

    def latest(self) -> datetime:
        """No instant after this one has come, whatever a file says."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        return datetime.now(UTC)

    def latest(self) -> datetime:
        """Now, and the little by which clocks differ."""
        return latest_believed(self.now())


class HeldClock:
    """A clock that stands still until it is told to move: virtual time for replays and tests."""

    def __init__(self, at: datetime, *, end: datetime | None = None) -> None:
        """`end`: where the virtual time ends that this is an instant of."""
        self._at = at
        self._end = at if end is None else end

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        return self._at

    def latest(self) -> datetime:
        """What lies between the instant that is held and the machine's clock has come, and is only
        not yet looked at.
        """
        return latest_believed(max(self._at, self._end, SystemClock().now()))

    def move_to(self, at: datetime) -> None:
        """Stand at `at` from now on."""
        self._at = at

    def advance(self, seconds: float) -> None:
        """Move on by that many seconds."""
        self._at += timedelta(seconds=seconds)


def monotonic_seconds() -> float:
    """Seconds of a clock that never jumps; only differences mean anything."""
    return time.monotonic()


def processor_seconds() -> float:
    """Seconds that processors have worked for this program; only differences mean anything."""
    return time.process_time()


def latest_believed(now: datetime) -> datetime:
    """The last instant that may have come where our clock shows `now`."""
    return now + timedelta(seconds=SKEW_SECONDS)


def has_come(at: datetime, clock: Clock) -> bool:
    """Whether `at` may lie in the past."""
    return at <= clock.latest()


def from_unix_ms(ms: int) -> datetime:
    """The UTC instant of Unix milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_unix_ms(at: datetime) -> int:
    """Unix milliseconds of an instant, rounded."""
    return round(at.timestamp() * 1000)


def floor_to_minutes(at: datetime, minutes: int) -> datetime:
    """Where the window begins in which `at` lies; windows are counted from the Unix epoch."""
    seconds = minutes * 60
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)


def iso(at: datetime) -> str:
    """2022-05-01T00:00:00Z: how instants are written in JSON, logs and names."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

"""The only caller of the wall clock. Tests and replays hold a clock and move it by hand."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is. Everything that asks takes a clock as a value."""

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        return datetime.now(UTC)


class HeldClock:
    """A clock that stands still until it is told to move: virtual time for replays and tests."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        return self._at

    def move_to(self, at: datetime) -> None:
        """Stand at `at` from now on."""
        self._at = at

    def advance(self, seconds: float) -> None:
        """Move on by that many seconds."""
        self._at += timedelta(seconds=seconds)


def monotonic_seconds() -> float:
    """Seconds of a clock that never jumps; only differences mean anything."""
    return time.monotonic()


def from_unix_ms(ms: int) -> datetime:
    """The UTC instant of Unix milliseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def to_unix_ms(at: datetime) -> int:
    """Unix milliseconds of an instant, rounded."""
    return round(at.timestamp() * 1000)


def floor_to_minutes(at: datetime, minutes: int) -> datetime:
    """The start of the window of that many minutes, counted from the Unix epoch, in which `at`
    lies.
    """
    seconds = minutes * 60
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)


def iso(at: datetime) -> str:
    """2022-05-01T00:00:00Z: how instants are written in JSON, logs and names."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

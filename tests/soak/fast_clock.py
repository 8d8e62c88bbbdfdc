"""A clock that runs fast, the same in every process of a soak, and that a fault can set wrong."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twintide.clock import SystemClock
from twintide.files import publish_file


class FastClock:
    """Stream time: `factor` times as fast as the machine's. Its file holds what it starts from, and
    by how much it is wrong at the moment.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def started(cls, path: Path, *, at: datetime, factor: float) -> "FastClock":
        """A clock that stands at `at` now, for this and for every other process."""
        clock = cls(path)
        clock._write(
            {"began": _machine_seconds(), "at": at.timestamp(), "factor": factor, "wrong": 0.0}
        )
        return clock

    def now(self) -> datetime:
        """The current instant, UTC and timezone-aware."""
        state = self._read()
        return self.right() + timedelta(seconds=state["wrong"])

    def latest(self) -> datetime:
        """What has come: no clock but this one says."""
        return self.now()

    def right(self) -> datetime:
        """What it would say if nobody had set it wrong."""
        state = self._read()
        passed = (_machine_seconds() - state["began"]) * state["factor"]
        return datetime.fromtimestamp(state["at"] + passed, UTC)

    def set_wrong(self, seconds: float) -> None:
        """Ahead (positive) or behind from now on; 0 mends it."""
        self._write(self._read() | {"wrong": seconds})

    def _read(self) -> dict[str, float]:
        state: dict[str, float] = json.loads(self._path.read_bytes())
        return state

    def _write(self, state: dict[str, float]) -> None:
        publish_file(self._path, json.dumps(state).encode())


def _machine_seconds() -> float:
    return SystemClock().now().timestamp()

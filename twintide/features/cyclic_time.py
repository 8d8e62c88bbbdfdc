"""The time of an event as a place on a circle: a quarter to midnight is near a quarter past."""

from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from twintide.events import ZoneName
from twintide.features.kind import Known, Side
from twintide.features.local_time import DAYS, MINUTES_OF_A_DAY, QUARTER_MS, minutes_of_week
from twintide.features.shapes import Measured
from twintide.ragged import Numbers

_MINUTES = {"day": MINUTES_OF_A_DAY, "week": DAYS * MINUTES_OF_A_DAY}


class CyclicTime(Measured):
    """The time of the event on the circle of a day or a week: sine and cosine of its angle."""

    reads_time: ClassVar[bool] = True
    moment_ms: ClassVar[int] = QUARTER_MS
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the moment of the request")
    tuned: ClassVar[frozenset[str]] = frozenset({"time_zone"})

    kind: Literal["cyclic_time"]
    period: Literal["day", "week"] = "day"
    """Once around."""

    time_zone: ZoneName = "UTC"
    """Of the users whose time it is."""

    @property
    def count(self) -> int:
        return 2

    def encode(self, events: pa.Table, *, time_column: str) -> Numbers:
        minutes = minutes_of_week(events[time_column], ZoneInfo(self.time_zone))
        return _on_circle(minutes / _MINUTES[self.period])

    def sample(self, known: Known) -> Numbers:
        return _on_circle(np.linspace(0, 1, known.count))


def _on_circle(turns: np.ndarray) -> Numbers:
    angles = 2 * np.pi * turns
    return Numbers(np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32))

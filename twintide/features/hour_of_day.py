"""The hour of an event as users live it."""

from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from twintide.events import ZoneName
from twintide.features.kind import Known, Side
from twintide.features.local_time import QUARTER_MS, minutes_of_week
from twintide.features.shapes import OneId
from twintide.keys import keys_of
from twintide.ragged import Ids, one_id_each


class HourOfDay(OneId):
    """The hour of the event, 0 to 23, as an id: tastes change between morning, noon and evening."""

    reads_time: ClassVar[bool] = True
    moment_ms: ClassVar[int] = QUARTER_MS
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the moment of the request")
    tuned: ClassVar[frozenset[str]] = frozenset({"time_zone"})

    kind: Literal["hour_of_day"]
    time_zone: ZoneName = "UTC"
    """Of the users whose hour it is."""

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        minutes = minutes_of_week(events[time_column], ZoneInfo(self.time_zone))
        return one_id_each(keys_of(pa.array(minutes // 60 % 24)))

    def sample(self, known: Known) -> Ids:
        return one_id_each(keys_of(pa.array(np.arange(known.count) % 24)))

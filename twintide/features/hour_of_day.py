"""The hour of an event as users live it."""

from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.clock import from_unix_ms
from twintide.events import ZoneName
from twintide.features.kind import Known, Side
from twintide.features.shapes import OneId
from twintide.keys import keys_of
from twintide.ragged import Ids, one_id_each

_QUARTER_MS = 15 * 60 * 1000


class HourOfDay(OneId):
    """The hour of the event, 0 to 23, as an id: tastes change between morning, noon and evening."""

    reads_time: ClassVar[bool] = True
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the moment of the request")

    kind: Literal["hour_of_day"]
    time_zone: ZoneName = "UTC"
    """Of the users whose hour it is."""

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        hours = local_hours(events[time_column], ZoneInfo(self.time_zone))
        return one_id_each(keys_of(pa.array(hours)))

    def sample(self, known: Known) -> Ids:
        return one_id_each(keys_of(pa.array(np.arange(known.count) % 24)))


def local_hours(instants: pa.ChunkedArray, zone: ZoneInfo) -> npt.NDArray[np.int64]:
    """The hour of each instant in that zone, 0 to 23.

    Arrow has a list of zones of its own, which knows other names and may be missing where Python's
    is not. No zone has changed its clocks within a quarter of an hour since the year 2000.
    """
    quarters, which = np.unique(
        np.asarray(instants.cast(pa.int64())) // _QUARTER_MS, return_inverse=True
    )
    hours = [from_unix_ms(int(each) * _QUARTER_MS).astimezone(zone).hour for each in quarters]
    return np.array(hours, np.int64)[which]

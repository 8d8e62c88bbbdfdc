"""Instants as a clock on a wall shows them."""

from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.clock import from_unix_ms

DAYS = 7
MINUTES_OF_A_DAY = 24 * 60
QUARTER_MS = 15 * 60 * 1000


def minutes_of_week(instants: pa.ChunkedArray, zone: ZoneInfo) -> npt.NDArray[np.int64]:
    """Minutes since Monday midnight of each instant in that zone, to a quarter of an hour.

    Arrow has a list of zones of its own, which knows other names and may be missing where Python's
    is not. No zone has changed its clocks within a quarter of an hour since the year 2000.
    """
    quarters, which = np.unique(
        np.asarray(instants.cast(pa.int64())) // QUARTER_MS, return_inverse=True
    )
    times = [from_unix_ms(int(quarter) * QUARTER_MS).astimezone(zone) for quarter in quarters]
    minutes = [time.weekday() * MINUTES_OF_A_DAY + time.hour * 60 + time.minute for time in times]
    return np.array(minutes, np.int64)[which]

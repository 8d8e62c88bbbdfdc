"""What the tests look at: a simulated world and the columns of its events as arrays."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clickworld import ClickWorld
from clickworld.daytime import HOUR_MS

START_AT = datetime(2026, 1, 5, tzinfo=UTC)
_START_MS = int(START_AT.timestamp()) * 1000

Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Days:
    """A world that has been simulated, and what happened in it."""

    world: ClickWorld
    events: pa.Table

    def column(self, name: str) -> Column:
        """A column of plain values; times as Unix milliseconds."""
        column = self.events[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        return np.asarray(column.to_numpy())

    def hour(self) -> npt.NDArray[np.int64]:
        """Hours since the start, of each event."""
        return np.asarray((self.column("event_at") - _START_MS) // HOUR_MS, np.int64)

"""How long ago something was: a sign-up, the last visit, a first order."""

from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twintide.features.kind import Known, Side
from twintide.features.shapes import Measured
from twintide.ragged import Numbers

_MS_OF_AN_HOUR = 3_600_000
_SCALE = 5.0
"""log(1 + hours) of a week is 5.1."""


class TimeSince(Measured):
    """The hours from an instant to the event, as log(1 + hours) / 5, and whether it is known; an
    instant that is still to come is 0 hours ago.
    """

    readable: ClassVar[frozenset[str]] = frozenset({"timestamp_ms"})
    reads_time: ClassVar[bool] = True
    only_tower: ClassVar[tuple[Side, str]] = (
        "query",
        "grows with the moment of the request (`item_statistics` has the age of an item)",
    )

    kind: Literal["time_since"]
    column: str
    """Column of the event, timestamp_ms."""

    @property
    def count(self) -> int:
        return 2

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def encode(self, events: pa.Table, *, time_column: str) -> Numbers:
        now_ms = events[time_column].cast(pa.int64()).to_numpy()
        then = events[self.column].cast(pa.int64())
        known = pc.is_valid(then).to_numpy()
        since_ms = np.where(known, now_ms - pc.fill_null(then, 0).to_numpy(), 0)
        hours = np.maximum(since_ms, 0) / _MS_OF_AN_HOUR
        return Numbers(np.stack([np.log1p(hours) / _SCALE, known], axis=1).astype(np.float32))

    def sample(self, known: Known) -> Numbers:
        ago = np.linspace(0, 2, known.count)
        return Numbers(np.stack([ago, np.ones(known.count)], axis=1).astype(np.float32))

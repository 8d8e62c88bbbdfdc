"""Clicks that are not to be learnt, since an operator said so when going back: an interval of the
minutes that they were stored in, or offsets of a partition.

Part of the lineage: a checkpoint names what it and all that goes on from it leaves out. What is
left out teaches nothing and judges no version; it stays in slices, histories and statistics, which
are functions of the log alone.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from twintide.clock import iso, to_unix_ms
from twintide.records import Instant, Offset, Position, Record
from twintide.slices import OFFSET, PARTITION, UNIT

Bools = npt.NDArray[np.bool_]


class Interval(Record):
    """Minutes [since, until) of broker time."""

    since: Instant
    until: Instant

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.since >= self.until:
            raise ValueError(f"{self} ends before it begins")
        return self

    def __str__(self) -> str:
        return f"{iso(self.since)}..{iso(self.until)}"

    def is_behind(self, position: Position, *, as_of: datetime | None) -> bool:
        """Whether a checkpoint there has not come to it; without an instant it has to nothing.
        When its clicks happened says nothing: what comes late is of the minute that it came in.
        """
        del position
        return as_of is None or as_of <= self.since

    def among(self, rows: pa.Table) -> Bools:
        """[N]: which rows of a slice are of it."""
        unit_ms = rows[UNIT].cast(pa.int64()).to_numpy()
        found: Bools = (unit_ms >= to_unix_ms(self.since)) & (unit_ms < to_unix_ms(self.until))
        return found


class Offsets(Record):
    """Messages [first, next) of a partition."""

    partition: Annotated[int, Field(ge=0)]
    first: Offset
    next: Offset

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.first >= self.next:
            raise ValueError(f"{self} holds no message")
        return self

    def __str__(self) -> str:
        return f"{self.partition}:{self.first}-{self.next}"

    def is_behind(self, position: Position, *, as_of: datetime | None) -> bool:
        """Whether a checkpoint there has not come to it."""
        del as_of
        return position.get(self.partition, 0) <= self.first

    def among(self, rows: pa.Table) -> Bools:
        """[N]: which rows of a slice are of it."""
        offsets = rows[OFFSET].to_numpy()
        is_own: Bools = rows[PARTITION].to_numpy() == self.partition
        found: Bools = is_own & (offsets >= self.first) & (offsets < self.next)
        return found


LeftOut = Interval | Offsets


def without(rows: pa.Table, left_out: Sequence[LeftOut]) -> pa.Table:
    """Rows of a slice but for what is left out."""
    if not left_out:
        return rows
    gone = np.logical_or.reduce([each.among(rows) for each in left_out])
    return rows.filter(pa.array(~gone))

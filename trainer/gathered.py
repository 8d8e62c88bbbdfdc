"""What a night learns: the slices of its day, and their rows in memory for as long as they fit."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer.run import Begun, newest_click
from trainer.slicing import Taken
from twintide.derived.clicks import ItemClicks, refreshed_ms
from twintide.modelspec import ModelSpec
from twintide.records import Position
from twintide.slices import EVENT_TIME, UNIT, Slice

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Come:
    """A slice that a night has come to."""

    slice_: Slice
    rows: int
    """How many of it are learnt."""

    newest_at: datetime | None
    """When the newest click of them happened."""


@dataclass
class Gathered:
    """The slices that a night has come to. It holds the rows of all of them, or where these are
    more than `most_rows` of none: then they are read again, slice by slice.
    """

    begun: Begun
    most_rows: int
    slices: list[Come] = field(default_factory=list)
    window_rows: dict[int, int] = field(default_factory=dict)
    """By refresh window: how many rows are in it. Without item statistics all are in window 0."""

    clicks_before: ItemClicks = field(default_factory=ItemClicks)
    """What was counted before any of it was."""

    _learnt: Position = field(default_factory=dict)
    _tables: list[pa.Table] = field(default_factory=list)

    def add(self, taken: Taken) -> None:
        """Come to the next slice."""
        if not self.slices:
            self.clicks_before, self._learnt = taken.clicks_before, taken.learnt
        rows = self.begun.to_teach(taken.rows)
        self.slices.append(Come(taken.slice_, len(rows), newest_click(rows)))
        model = self.begun.learner.model.spec
        windows, counts = np.unique(windows_in(rows, model), return_counts=True)
        for window, count in zip(windows.tolist(), counts.tolist(), strict=True):
            self.window_rows[window] = self.window_rows.get(window, 0) + count
        self._tables.append(rows)
        if not self.fits:
            self._tables.clear()

    @property
    def rows(self) -> int:
        """How many there are to learn."""
        return sum(each.rows for each in self.slices)

    @property
    def fits(self) -> bool:
        """Whether they are in memory."""
        return self.rows <= self.most_rows

    def tables(self) -> Iterator[pa.Table]:
        """The rows of each slice, in order."""
        if self.fits:
            yield from self._tables
            return
        for each in self.slices:
            yield self.begun.to_teach(each.slice_.read(after=self._learnt))


def windows_in(rows: pa.Table, model: ModelSpec) -> Ints:
    """[N]: the refresh window of each row; without item statistics all are in one."""
    statistics = model.item_statistics()
    if statistics is None:
        return np.zeros(len(rows), np.int64)
    at_ms, unit_ms = (rows[name].cast(pa.int64()).to_numpy() for name in (EVENT_TIME, UNIT))
    return refreshed_ms(at_ms, unit_ms, statistics)

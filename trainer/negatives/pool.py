"""Items of the clicks that were learnt last: each batch's join after its step, the oldest leave.

The pool is a window that moves along one list: what the checkpoint remembers, then the clicks of
this run in the order in which they are learnt. So the pool of any step is known beforehand, and
drawing for one batch does not wait for another. The checkpoint holds keys alone: what an item is
comes from the catalogue, as for every source.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from trainer.negatives.source import Doubles, chance_missed
from trainer.negatives.stock import Ints, Moment
from twintide.derived.catalogue import UNKNOWN
from twintide.negatives import Pool


@dataclass(frozen=True)
class PoolDraws:
    """Row numbers of the catalogue, out of a window of clicks."""

    declared: Pool
    entries: Ints
    """Row in the catalogue of every click that is in the pool at some step, oldest first."""

    ends: Ints
    """[steps]: how many of these the pool has seen before each step."""

    places: Ints
    """Row and number of each entry as one number, ascending."""

    @classmethod
    def of(cls, declared: Pool, remembered: Ints, learnt: list[Ints]) -> Self:
        """`remembered` clicks and those of each batch, as rows of the catalogue. An item that the
        catalogue has no more is in the pool no more.
        """
        known = remembered[remembered != UNKNOWN]
        entries = np.concatenate([known, *learnt])
        ends = len(known) + np.cumsum([0, *map(len, learnt)])[:-1]
        places = np.sort(entries * (len(entries) + 1) + np.arange(len(entries)))
        return cls(declared, entries, ends, places)

    def draw(self, moment: Moment, generator: np.random.Generator) -> Ints:
        begin, end = self._window(moment)
        if begin == end:
            return np.zeros(0, np.int64)
        rows = self.entries[generator.integers(begin, end, self.declared.count)]
        known: Ints = rows[(rows != UNKNOWN) & (rows < moment.known)]
        return known

    def log_missed(self, rows: Ints, moment: Moment) -> Doubles:
        begin, end = self._window(moment)
        first = rows * (len(self.entries) + 1)
        inside = np.searchsorted(self.places, first + end) - np.searchsorted(
            self.places, first + begin
        )
        can_be_drawn = (rows != UNKNOWN) & (rows < moment.known)
        return chance_missed(can_be_drawn * inside / max(end - begin, 1), self.declared.count)

    def _window(self, moment: Moment) -> tuple[int, int]:
        end = int(self.ends[moment.step])
        return max(0, end - self.declared.clicks), end

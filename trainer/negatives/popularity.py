"""Items of the catalogue, as probable as their number of clicks to some power.

The sums over all items are made once for the rows that are learnt together; a draw is then a search
in them. An item counts with the clicks it has after these rows, but not before it is known.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from trainer.negatives.source import Doubles, chance_missed
from trainer.negatives.stock import Ints, Moment
from twintide.derived.catalogue import UNKNOWN
from twintide.negatives import Popularity


@dataclass(frozen=True)
class PopularityDraws:
    """Row numbers of the catalogue, by sums of weights."""

    declared: Popularity
    sums: Doubles
    """[items + 1]: the weights of all items before each, of all at the end."""

    @classmethod
    def of(cls, declared: Popularity, clicks: Ints) -> Self:
        """`clicks` [items]: those of each item of the catalogue."""
        weights = np.where(clicks > 0, clicks.astype(np.float64) ** declared.exponent, 0.0)
        return cls(declared, np.concatenate(([0.0], np.cumsum(weights))))

    def draw(self, moment: Moment, generator: np.random.Generator) -> Ints:
        total = self.sums[moment.known]
        if not total:
            return np.zeros(0, np.int64)
        places = generator.random(self.declared.count) * total
        # The last item whose weights begin at or before the place; one without weight never is.
        found = np.searchsorted(self.sums[: moment.known + 1], places, side="right") - 1
        last = np.searchsorted(self.sums, total, side="left") - 1
        drawn: Ints = np.minimum(found, last)
        return drawn

    def log_missed(self, rows: Ints, moment: Moment) -> Doubles:
        can_be_drawn = (rows != UNKNOWN) & (rows < moment.known)
        at = np.where(can_be_drawn, rows, 0)
        weights = (self.sums[at + 1] - self.sums[at]) * can_be_drawn if len(self.sums) > 1 else 0.0
        share = weights / max(self.sums[moment.known], 1e-300)
        return chance_missed(np.broadcast_to(share, rows.shape), self.declared.count)

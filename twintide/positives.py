"""How often a click is learnt, declared: what stands in `model.positives`.

A few items take most clicks. Whether one is learnt is a function of where it lies in the log and of
how many clicks its item has had, so that learning it again decides the same. State, statistics and
evaluation see every click.
"""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from twintide.problems import Problem

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


class Popular(BaseModel):
    """Clicks on popular items are learnt with probability (above_share / share) ** exponent, where
    share is what the item has had of all clicks so far; below above_share all of them are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    above_share: Annotated[float, Field(gt=0, lt=1)] = 0.001
    """Share of all clicks from which on some of an item's clicks are left out."""

    exponent: Annotated[float, Field(gt=0, le=2)] = 0.5
    """How fast the probability falls: 0.5 with the root of the share, as word2vec has it; at 1 no
    item is learnt more often than one of that share.
    """

    def probability(self, shares: Doubles) -> Doubles:
        """[N]: with which each click is learnt; `shares` are its item's."""
        kept: Doubles = (self.above_share / np.maximum(shares, self.above_share)) ** self.exponent
        return kept


class Cold(BaseModel):
    """Clicks on items that have had few are learnt several times in a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    below_clicks: Annotated[int, Field(ge=2, le=1_000_000)] = 10
    """An item is cold until it has had so many clicks."""

    times: Annotated[int, Field(ge=2, le=100)] = 2
    """How often each of its clicks is learnt."""


class Positives(BaseModel):
    """How often a click is learnt in a run; without a key, once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    keep_popular: Popular | None = None
    """Leave out some of the clicks on popular items; null: none."""

    repeat_cold: Cold | None = None
    """Repeat clicks on cold items; null: none."""

    def copies(self, clicks: Ints, total: int, chance: Doubles) -> Ints:
        """[N]: how often each click is learnt. `clicks` are those of its item so far, of `total`;
        `chance` is even in [0, 1), a function of the click.
        """
        copies = np.ones(len(clicks), np.int64)
        if self.keep_popular is not None:
            shares = clicks / max(total, 1)
            copies *= chance < self.keep_popular.probability(shares)
        if self.repeat_cold is not None:
            is_cold = clicks < self.repeat_cold.below_clicks
            copies = np.where(is_cold, copies * self.repeat_cold.times, copies)
        return copies

    def problems(self) -> Iterator[Problem]:
        """Which of its keys mean nothing together, by their own names."""
        if self.keep_popular is None and self.repeat_cold is None:
            yield Problem(
                "",
                "says neither keep_popular nor repeat_cold, so that every click is learnt once",
                hint="leave it out, or keep_popular: {above_share: 0.001}",
            )

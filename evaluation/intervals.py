"""How sure a share is: 95 of 100 such intervals hold the truth.

Clicks of one user are alike, so users are what was drawn by lot, and not clicks: the variance of a
share is that of its sums by user (the linearised form of a bootstrap over users). Where several
seeds were run, what lies between them joins.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

Hits = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SURE = 1.96
"""Standard errors on either side."""


@dataclass(frozen=True)
class Share:
    """A share of clicks, or a difference of two, and where the truth may lie."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """As a difference: whether it is none of chance."""
        return self.low > 0 or self.high < 0

    def rounded(self) -> list[float]:
        """Low and high, as a report has them."""
        return [round(self.low, 6), round(self.high, 6)]


def signed(share: Share) -> str:
    """+0.012 [0.004, 0.020]."""
    return f"{share.value:+.3f} [{share.low:.3f}, {share.high:.3f}]"


def share(hits: Hits, users: Ints) -> Share | None:
    """Of clicks that were found: `hits` [S, N] is 0 or 1 by seed, `users` [N] numbers their users.

    By Wilson's interval on as many clicks as would be as sure, were each of a user of its own.
    """
    clicks = hits.shape[1]
    if not clicks:
        return None
    value = float(hits.mean())
    error, distinct = _error(hits, users)
    spread = value * (1 - value)
    worth = spread / error**2 if error > 0 and spread > 0 else float(distinct)
    middle = (value + SURE**2 / (2 * worth)) / (1 + SURE**2 / worth)
    half = SURE * sqrt(spread / worth + SURE**2 / (4 * worth**2)) / (1 + SURE**2 / worth)
    return Share(value, max(middle - half, 0.0), min(middle + half, 1.0))


def difference(one: Hits, other: Hits, users: Ints) -> Share | None:
    """Of two policies' shares of the same clicks, user by user and seed by seed."""
    if not one.shape[1]:
        return None
    seeds = max(len(one), len(other))
    between = np.broadcast_to(one, (seeds, one.shape[1])) - other
    value = float(between.mean())
    error, distinct = _error(between, users)
    if distinct == 1:
        return Share(value, -1.0, 1.0)
    return Share(value, value - SURE * error, value + SURE * error)


def _error(values: Hits, users: Ints) -> tuple[float, int]:
    """Standard error of the mean of values [S, N], and how many users there are."""
    distinct, places = np.unique(users, return_inverse=True)
    seeds, clicks = values.shape
    mean = values.mean(axis=0, dtype=np.float64)
    of_user = np.bincount(places, mean - mean.mean(), len(distinct))
    many = max(len(distinct) - 1, 1)
    between_users = len(distinct) / many * float(np.square(of_user).sum()) / clicks**2
    by_seed = values.mean(axis=1, dtype=np.float64)
    between_seeds = float(by_seed.var(ddof=1)) / seeds if seeds > 1 else 0.0
    return sqrt(between_users + between_seeds), len(distinct)

"""How sure a difference in recall is: two versions on the same clicks, user by user.

A user is one witness: the clicks of one are not independent. Whether a fall may be chance is asked
exactly: were the two equal, each user's net loss would be as probable as the same gain.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Users = npt.NDArray[np.uint64]

DRAWS = 1_000
_TAIL = 0.05
"""Of the interval, on either side."""


@dataclass(frozen=True)
class Difference:
    """How a draft found the clicks that another version was asked about too."""

    clicks: int
    draft: float
    """Recall of the draft."""

    other: float
    chance: float
    """How probable so large a fall is of two versions that are equally good."""

    low: float
    high: float
    """The change of recall, as a share of the other's: in 90 of 100 cases it lies between these."""

    changed: float
    """Share of the clicks that only one of the two found."""

    crowding: float
    """Variance of the difference over what it were if each click were of another user."""

    @property
    def fall(self) -> float:
        """By which share of the other's recall the draft lies below it."""
        return 1 - self.draft / self.other if self.other else 0.0


def difference(draft: Bools, other: Bools, users: Users) -> Difference:
    """Of hits [N] of both on the same clicks, and who clicked."""
    _, who = np.unique(users, return_inverse=True)
    lost = other.astype(np.int64) - draft
    net = np.bincount(who, lost.astype(float)).round().astype(np.int64)
    of_draft, of_other = (np.bincount(who, each).astype(np.float64) for each in (draft, other))
    low, high = _interval(of_draft, of_other)
    return Difference(
        clicks=len(users),
        draft=float(draft.mean()),
        other=float(other.mean()),
        chance=chance_of(net),
        low=low,
        high=high,
        changed=float(np.abs(lost).mean()),
        crowding=max(1.0, float((net**2).sum() / max(1, (lost**2).sum()))),
    )


def chance_of(net: Ints) -> float:
    """How probable a sum as large as that of `net` is, where each number's sign is as likely the
    other one; exact, since the sums of equal sizes are binomial.
    """
    sizes, counts = np.unique(np.abs(net[net != 0]), return_counts=True)
    sums = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = _coin(count)
        sums = np.convolve(sums, spread)
    return min(1.0, float(sums[int(net.sum()) + len(sums) // 2 :].sum()))


def _coin(count: int) -> Floats:
    """[count + 1]: the probability of so many heads."""
    logs = np.array([math.lgamma(number + 1) for number in range(count + 1)])
    heads: Floats = np.exp(logs[-1] - logs - logs[::-1] - count * math.log(2))
    return heads


def _interval(draft: Floats, other: Floats) -> tuple[float, float]:
    """Bootstrap over users [U] of the change of recall; the same draws at each call."""
    rng = np.random.default_rng(1)
    changes = []
    for _ in range(DRAWS // 100):
        drawn = rng.integers(0, len(draft), (100, len(draft)))
        of_other = other[drawn].sum(axis=1)
        changes.append((draft[drawn].sum(axis=1) - of_other) / np.maximum(of_other, 1))
    low, high = np.quantile(np.concatenate(changes), (_TAIL, 1 - _TAIL))
    return float(low), float(high)

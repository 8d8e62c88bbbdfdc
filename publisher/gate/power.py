"""The gate's power: how many clicks it takes to see a fall, and how long to wait for so many.

A fall is refused where it is beyond chance (`MAY_BE_CHANCE`) and larger than allowed. So clicks
must be enough for both, in 9 of 10 cases.
"""

import math

MAY_BE_CHANCE = 0.005
"""A fall that equal versions show more often than this is not held against a draft."""

_Z_CHANCE = 2.576
_Z_SEEN = 1.282
"""Standard errors: of a share of 0.005, and of 9 in 10."""


def fall_to_see(max_recall_drop_ratio: float) -> float:
    """The fall that is to be seen in 9 of 10 cases: twice the one that is allowed."""
    return min(1.0, max(0.1, 2 * max_recall_drop_ratio))


def clicks_needed(
    recall: float, *, changed: float, crowding: float, fall: float, allowed: float
) -> int:
    """Clicks on which a draft that falls by `fall` of `recall` is refused in 9 of 10 cases.

    `changed` is the share of clicks that only one of two versions finds, `crowding` how much more
    clicks vary as they are of the same users. Lachenbruch (1992), paired proportions.
    """
    lost = fall * recall
    beyond = (fall - allowed) * recall
    if lost <= 0 or beyond <= 0:
        return 0
    varies = max(changed, lost) * crowding
    beyond_chance = (_Z_CHANCE + _Z_SEEN) ** 2 * varies / lost**2
    beyond_allowed = _Z_SEEN**2 * varies / beyond**2
    return math.ceil(max(beyond_chance, beyond_allowed))

"""Which vectors an index that goes on from another keeps as they are."""

import numpy as np

from publisher.index.searched import Bools, Vectors

FEW = 0.1
"""Share of the items that may have moved by anything, and the index has all of them as they are."""

_HALF_PRECISION = 1e-3
"""By so much of its length a vector differs from what an index keeps of it."""


def stay(before: Vectors, now: Vectors, *, moved_beyond: float, items: int) -> Bools:
    """[n]: which of these, of so many items, have not moved; where more than a few have, by no more
    of their length than is declared.
    """
    by, length = np.linalg.norm(now - before, axis=1), np.linalg.norm(now, axis=1)
    stays: Bools = by <= _HALF_PRECISION * length
    if np.count_nonzero(~stays) > FEW * items:
        stays = by <= (moved_beyond + _HALF_PRECISION) * length
    return stays

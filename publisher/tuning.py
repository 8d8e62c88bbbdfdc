"""Into how many lists an inverted file looks: as few as find the declared share of what is best.

How many that takes is a matter of the vectors: 48 of 1,024 where items lie in clusters, half of all
where they lie anywhere. So it is measured, on the sample queries, whenever a whole index is built.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from publisher.index.searched import ItemIndex, Vectors

RECALL_AT = 100
_QUERIES_AT_ONCE = 8
"""Queries whose products with all items are in memory."""

_NEARLY = 1e-5
"""Of the largest product: of two items this near, either is right."""

_ONE_IN = 16
"""Of this share of the items the best bound those of all from below."""

_STEPS = (1.0, 1.5)
"""Beside each power of two: a search costs at most half more than it must."""


@dataclass(frozen=True)
class Best:
    """What an exact search finds for some queries, as far as one must know to tell who finds it."""

    vectors: Vectors
    """float32 [items, O · (D + 1)]"""

    asked: Vectors
    """float32 [Q, O · (D + 1)]"""

    k: int
    least: npt.NDArray[np.float32]
    """[Q]: the product of the last of the k best; who has as large a one is right."""

    @classmethod
    def of(cls, vectors: Vectors, asked: Vectors, *, k: int = RECALL_AT) -> "Best":
        """Every item is looked at."""
        k = min(k, len(vectors))
        least = [
            _least(asked[first : first + _QUERIES_AT_ONCE] @ vectors.T, k)
            for first in range(0, len(asked), _QUERIES_AT_ONCE)
        ]
        return cls(vectors, asked, k, np.concatenate(least))

    def found_by(self, index: ItemIndex) -> float:
        """Share of the best that an index finds for the same queries."""
        _, places = index.search(self.asked, self.k)
        reached = np.einsum("qkd,qd->qk", self.vectors[places], self.asked)
        return float(((reached >= self.least[:, None]) & (places >= 0)).mean())


def _least(products: Vectors, k: int) -> Vectors:
    """[Q] of products [Q, items]: of each row the k-th largest, or nearly."""
    some = products[:, ::_ONE_IN]
    rows = list(products)
    if some.shape[1] >= k:
        bound = np.partition(some, -k, axis=1)[:, -k]
        rows = [row[row >= least] for row, least in zip(products, bound, strict=True)]
    found = np.array([np.partition(row, -k)[-k] for row in rows], np.float32)
    slack = _NEARLY * np.maximum(1.0, np.maximum(products.max(axis=1), -products.min(axis=1)))
    least: Vectors = (found - slack).astype(np.float32)
    return least


def tune(index: ItemIndex, best: Best, *, recall: float) -> float:
    """Let an inverted file look into the fewest lists that find so much, or into all; what it finds
    then.
    """
    for lists in _candidates(index.lists):
        index.look_into(lists)
        found = best.found_by(index)
        if found >= recall:
            break
    return found


def _candidates(lists: int) -> list[int]:
    """Numbers of lists in ascending order, all of them last."""
    powers = range(2, lists.bit_length())
    found = {round(step * 2**power) for power in powers for step in _STEPS}
    return sorted({each for each in found if each < lists} | {lists})

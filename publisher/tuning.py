"""Into how many lists an inverted file looks: as few as find the declared share of what is best.

How many that takes is a matter of the vectors: 48 of 1,024 where items lie in clusters, half of all
where they lie anywhere. So it is measured, on the sample queries, whenever a whole index is built.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from publisher.index.searched import ItemIndex, Vectors

RECALL_AT = 100
_ITEMS_AT_ONCE = 65_536
"""Items whose products with all queries are in memory: in the larger product each vector is read
once, where eight queries at a time read all of them for each eight.
"""

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
        return cls(vectors, asked, k, _least(vectors, asked, k))

    def found_by(self, index: ItemIndex) -> float:
        """Share of the best that an index finds for the same queries."""
        _, places = index.search(self.asked, self.k)
        reached = np.einsum("qkd,qd->qk", self.vectors[places], self.asked)
        return float(((reached >= self.least[:, None]) & (places >= 0)).mean())


def _least(vectors: Vectors, asked: Vectors, k: int) -> Vectors:
    """[Q]: of each query the k-th largest product, or nearly."""
    bound = _bound(asked @ vectors[::_ONE_IN].T, k)[:, None]
    largest = np.zeros(len(asked), np.float32)
    above, of_query = [], []
    for first in range(0, len(vectors), _ITEMS_AT_ONCE):
        products = asked @ vectors[first : first + _ITEMS_AT_ONCE].T
        largest = np.maximum(largest, np.maximum(products.max(axis=1), -products.min(axis=1)))
        at = np.flatnonzero(products >= bound)  # of two dimensions it takes ten times as long
        above.append(products.ravel()[at])
        of_query.append(at // products.shape[1])
    counts = sum(np.bincount(each, minlength=len(asked)) for each in of_query)
    found = np.concatenate(above)[np.argsort(np.concatenate(of_query), kind="stable")]
    rows = np.split(found, np.cumsum(counts)[:-1])
    least = np.array([np.partition(row, -k)[-k] for row in rows], np.float32)
    return (least - _NEARLY * np.maximum(1.0, largest)).astype(np.float32)


def _bound(some: Vectors, k: int) -> Vectors:
    """[Q] of products with some of the items: what the k best of all are not below."""
    if some.shape[1] < k:
        return np.full(len(some), -np.inf, np.float32)
    bound: Vectors = np.partition(some, -k, axis=1)[:, -k] - _NEARLY
    return bound


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

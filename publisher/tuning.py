"""Into how many lists an inverted file looks: as few as find the declared share of what is best.

How many that takes is a matter of the vectors: 48 of 1,024 where items lie in clusters, half of all
where they lie anywhere. So it is measured, on the sample queries, whenever a whole index is built.
"""

import numpy as np

from publisher.index.searched import ItemIndex, Positions, Vectors

RECALL_AT = 100
_QUERIES_AT_ONCE = 8
"""Queries whose products with all items are in memory."""

_STEPS = (1.0, 1.5)
"""Beside each power of two: a search costs at most half more than it must."""


def exact_best(vectors: Vectors, asked: Vectors) -> Positions:
    """int64 [Q, K]: what an exact search finds for queries [Q, O · (D + 1)], in no order."""
    k = min(RECALL_AT, len(vectors))
    found = np.empty((len(asked), k), np.int64)
    for first in range(0, len(asked), _QUERIES_AT_ONCE):
        some = slice(first, first + _QUERIES_AT_ONCE)
        found[some] = np.argpartition(asked[some] @ vectors.T, -k, axis=1)[:, -k:]
    return found


def recall_of(index: ItemIndex, best: Positions, asked: Vectors) -> float:
    """Which share of these the index finds for the same queries."""
    _, found = index.search(asked, best.shape[1])
    hits = [len(np.intersect1d(*pair)) for pair in zip(best, found, strict=True)]
    return sum(hits) / best.size


def tune(index: ItemIndex, best: Positions, asked: Vectors, *, recall: float) -> float:
    """Let an inverted file look into the fewest lists that find so much, or into all; what it finds
    then.
    """
    for lists in _candidates(index.lists):
        index.look_into(lists)
        found = recall_of(index, best, asked)
        if found >= recall:
            break
    return found


def _candidates(lists: int) -> list[int]:
    """Numbers of lists in ascending order, all of them last."""
    powers = range(2, lists.bit_length())
    found = {round(step * 2**power) for power in powers for step in _STEPS}
    return sorted({each for each in found if each < lists} | {lists})

"""The best items for one query that may be answered: how far to look for them.

Where few are allowed each is looked at, which is exact. Else an index is asked, and where it finds
too few it looks into ever more lists, in the end into all.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from publisher.index.searched import Positions, Scores, Vectors
from publisher.index.selection import Mask, Selection

SCANNED_PER_ITEM = 10
"""An inverted file looks into at least this many items for each that it must find or leave out.
Where the best 10,000 of 200,000 are excluded, it still finds 97 % of the next best (measured).
"""

ONE_BY_ONE = 500
ONE_BY_ONE_SHARE = 1 / 500
"""Where no more items are allowed than the one, or than the other of all, each is looked at, which
is exact. A search for so few takes as long or longer: it looks into ever more lists (measured at
60,000 and at a million items, benchmarks/filters.py).
"""

Ask = Callable[[int, int], tuple[Scores, Positions]]
"""So many items, in so many lists: scores and positions, best first; -1 where there are fewer."""


class Searchable(Protocol):
    """What a backend's index gives."""

    @property
    def items(self) -> int: ...
    @property
    def lists(self) -> int: ...
    @property
    def probes(self) -> int:
        """Lists that a search looks into."""

    def vectors(self, positions: Positions) -> Vectors: ...
    def asking(self, query: Vectors, selection: Selection, mask: Mask | None) -> Ask:
        """How the index is asked for one query and what may be answered, which `mask` says too."""


def best(
    index: Searchable, query: Vectors, k: int, selection: Selection, *, is_exact: bool
) -> tuple[Scores, Positions]:
    """As `ItemIndex.best`."""
    mask = selection.mask(index.items)
    left = index.items if mask is None else mask.count
    if mask is not None and left <= max(ONE_BY_ONE, index.items * ONE_BY_ONE_SHARE):
        return best_of(index, query, k, mask.positions())
    without = len(selection.without)
    probes = index.lists if is_exact else first_probes(index, min(k, left), left, without)
    return searched(index, index.asking(query, selection, mask), min(k, left), left, probes)


def searched(
    index: Searchable, ask: Ask, wanted: int, left: int, probes: int
) -> tuple[Scores, Positions]:
    """The best of those that are left, by looking into ever more lists."""
    asked = min(wanted + 1, left)  # one more, to see whether the last has an equal
    while True:
        scores, positions = ask(asked, probes)
        is_full = len(positions) == asked and positions[-1] >= 0
        found = asked if is_full else int((positions >= 0).sum())
        if found < asked and probes < index.lists:
            probes = min(2 * probes, index.lists)
        elif found == asked < left and scores[wanted - 1] == scores[-1]:
            asked = min(2 * asked, left)
        elif (scores[1:found] != scores[: found - 1]).all():  # then they stand as they must
            return scores[: min(wanted, found)], positions[: min(wanted, found)]
        else:
            order = np.lexsort((positions[:found], -scores[:found]))[:wanted]
            return scores[order], positions[order]


def best_of(
    index: Searchable, query: Vectors, k: int, among: Positions
) -> tuple[Scores, Positions]:
    """The k best of these items: each of them is looked at, and no other."""
    scores = index.vectors(among) @ query[0]
    order = np.lexsort((among, -scores))[:k]
    return scores[order], among[order]


def first_probes(index: Searchable, wanted: int, left: int, without: int) -> int:
    """How many lists to look into at first: to pass those that are left out, which may be the
    best, and to find as many as are wanted among those that are left.
    """
    if index.lists == 1:
        return 1
    passed = SCANNED_PER_ITEM * (wanted * (index.items - without) / max(left, 1) + without)
    needed = math.ceil(passed * index.lists / index.items)
    return min(max(index.probes, needed), index.lists)

"""What answers in an evaluation: a version, perhaps with statistics that are newer than it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from publisher.index.searched import ItemIndex, Positions
from publisher.reader import LoadedVersion
from twintide.keys import Keys
from twintide.ragged import Encoded

AT_ONCE = 256
"""Queries whose scores of all items are in memory together."""


@dataclass(frozen=True)
class Live:
    """What answers."""

    version: LoadedVersion
    item_keys: Keys
    """In index order."""

    index: ItemIndex
    refreshed_ms: int
    """Its statistics are as of then."""

    @classmethod
    def of(cls, version: LoadedVersion, refreshed_ms: int) -> "Live":
        """A version as it was published."""
        return cls(version, version.item_keys, version.index, refreshed_ms)

    def search(self, query: Encoded, k: int) -> Positions:
        """The positions of the k best items for each encoded query: [B, k], best first."""
        return self.index.search(self.version.model.query_vectors(query), k)[1]

    def search_all(self, query: Encoded, k: int) -> Positions:
        """The same, by the score of every item."""
        asked = self.version.model.query_vectors(query)
        found = [
            _best(each @ self._vectors[:, : asked.shape[1]].T, k)
            for each in np.array_split(asked, max(1, -(-len(asked) // AT_ONCE)))
        ]
        return np.concatenate(found)

    def shares_below(self, query: Encoded, targets: Keys) -> npt.NDArray[np.float64]:
        """[B]: the share of all items that score below each one's target; of equals half of them,
        and 0 where the target is no item of the version.
        """
        asked = self.version.model.query_vectors(query)
        scores = asked @ self._vectors[:, : asked.shape[1]].T
        ascending, places = self._order
        at = np.minimum(np.searchsorted(ascending, targets), len(ascending) - 1)
        is_known = ascending[at] == targets
        own = scores[np.arange(len(targets)), places[at]][:, None]
        below = (scores < own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
        return np.where(is_known, below / max(len(ascending) - 1, 1), 0.0)

    @cached_property
    def _vectors(self) -> npt.NDArray[np.float32]:
        """[items, width], in index order."""
        return self.index.vectors(np.arange(len(self.item_keys)))

    @cached_property
    def _order(self) -> tuple[Keys, npt.NDArray[np.int64]]:
        order = np.argsort(self.item_keys)
        return self.item_keys[order], order


def _best(scores: npt.NDArray[np.float32], k: int) -> Positions:
    """The columns of the k highest of each row, the highest first."""
    many = min(k, scores.shape[1])
    top = np.argpartition(-scores, many - 1, axis=1)[:, :many]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)

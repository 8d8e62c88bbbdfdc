"""How different the items of a list are from each other, by who clicked them.

Items that the same users click are near. Each user is a direction of the space, an item the sum of
those of its clicks so far: so every policy's lists are measured alike, whatever it has learnt, and
those of one that has no model too.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twintide.keys import Keys, mixed, places_of

Points = npt.NDArray[np.float32]
WIDTH = 64
"""Of the space: signs of a user's direction, each a bit of its key."""


@dataclass
class ItemSpace:
    """Items as points."""

    keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    """Sorted."""

    points: Points = field(default_factory=lambda: np.zeros((0, WIDTH), np.float32))
    """[items, WIDTH]."""

    def learn(self, items: Keys, users: Keys) -> None:
        """Clicks of these users on these items."""
        distinct, places = np.unique(items, return_inverse=True)
        keys = np.union1d(self.keys, distinct)
        points = np.zeros((len(keys), WIDTH), np.float32)
        points[np.searchsorted(keys, self.keys)] = self.points
        sums = np.zeros((len(distinct), WIDTH), np.float32)
        np.add.at(sums, places, directions(users))
        points[np.searchsorted(keys, distinct)] += sums
        self.keys, self.points = keys, points

    def distances(self, lists: Keys) -> npt.NDArray[np.float32]:
        """[B]: mean cosine distance between the items of each list [B, k]; nan below two known."""
        places, is_known = places_of(lists.ravel(), self.keys)
        found = np.zeros((lists.size, WIDTH), np.float32)
        found[is_known] = self.points[places[is_known]]
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        units = (found / np.maximum(lengths, 1e-12)).reshape(*lists.shape, WIDTH)
        counts = is_known.reshape(lists.shape).sum(axis=1).astype(np.float32)
        # |Σv|² = n + the sum over ordered pairs, since each vector has length 1.
        pairs = np.where(counts > 1, counts * (counts - 1), np.nan)
        cosines = (np.square(units.sum(axis=1)).sum(axis=1) - counts) / pairs
        distances: npt.NDArray[np.float32] = (1.0 - cosines).astype(np.float32)
        return distances


def directions(users: Keys) -> Points:
    """[B, WIDTH]: 1 or -1; those of two users are orthogonal, but for chance."""
    bits = np.unpackbits(mixed(users).astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
    return bits.astype(np.float32) * 2 - 1

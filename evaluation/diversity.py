"""How different the items of a list are from each other, by who clicked them.

Items that the same users click are near. Each user is a direction of the space, an item the sum of
those of its clicks so far: so every policy's lists are measured alike, whatever it has learnt, and
those of one that has no model too.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import embedding_bag

from twintide.keys import NO_KEYS, Keys, mixed, places_of, with_more

Points = npt.NDArray[np.float32]
WIDTH = 64
"""Of the space: signs of a user's direction, each a bit of its key."""


@dataclass
class ItemSpace:
    """Items as points."""

    keys: Keys = field(default_factory=lambda: NO_KEYS)
    """Sorted."""

    points: Points = field(default_factory=lambda: np.zeros((0, WIDTH), np.float32))
    """[items, WIDTH]."""

    _of_length_1: torch.Tensor | None = None

    def learn(self, items: Keys, users: Keys) -> None:
        """Clicks of these users on these items."""
        keys = with_more(self.keys, items)
        if len(keys) > len(self.keys):
            points = np.zeros((len(keys), WIDTH), np.float32)
            points[keys.searchsorted(self.keys)] = self.points
            self.keys, self.points = keys, points
        np.add.at(self.points, keys.searchsorted(items), directions(users))
        self._of_length_1 = None

    def distances(self, lists: Keys) -> npt.NDArray[np.float32]:
        """[B]: mean cosine distance between the items of each list [B, k]; nan below two known."""
        places, is_known = places_of(lists.ravel(), self.keys)
        counts = is_known.reshape(lists.shape).sum(axis=1).astype(np.float32)
        rows = torch.from_numpy(np.where(is_known, places, len(self.keys)).reshape(lists.shape))
        sums = embedding_bag(rows, self._units(), mode="sum").numpy()
        # |Σv|² = n + the sum over ordered pairs, since each vector has length 1.
        pairs = np.where(counts > 1, counts * (counts - 1), np.nan)
        cosines = (np.square(sums).sum(axis=1) - counts) / pairs
        distances: npt.NDArray[np.float32] = (1.0 - cosines).astype(np.float32)
        return distances

    def _units(self) -> torch.Tensor:
        """[items + 1, WIDTH]: points of length 1, and behind them one for what is unknown."""
        if self._of_length_1 is None:
            lengths = np.linalg.norm(self.points, axis=1, keepdims=True)
            units = self.points / np.maximum(lengths, 1e-12)
            self._of_length_1 = torch.from_numpy(np.pad(units, ((0, 1), (0, 0))))
        return self._of_length_1


def directions(users: Keys) -> Points:
    """[B, WIDTH]: 1 or -1; those of two users are orthogonal, but for chance."""
    bits = np.unpackbits(mixed(users).astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
    return bits.astype(np.float32) * 2 - 1

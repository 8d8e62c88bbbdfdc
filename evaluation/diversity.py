"""How different the items of a list are from each other.

Every policy's lists, baselines too, are measured in one space: the item vectors of the version that
a model policy has live at that moment.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from publisher.index.searched import directions
from publisher.reader import LoadedVersion
from twintide.keys import Keys


@dataclass(frozen=True)
class ItemSpace:
    """Items as points on the unit sphere."""

    version: str
    keys: Keys
    """Sorted."""

    vectors: npt.NDArray[np.float32]
    """[items, O · D], of length 1."""

    @classmethod
    def of(cls, version: LoadedVersion) -> "ItemSpace":
        order = np.argsort(version.item_keys)
        vectors = directions(
            version.index.vectors(order), output_width=version.manifest.model.output_width
        )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return cls(version.name, version.item_keys[order], vectors / np.maximum(lengths, 1e-12))

    def distances(self, lists: Keys) -> npt.NDArray[np.float32]:
        """[B]: mean cosine distance between the items of each list [B, k]; nan below two known."""
        at = np.minimum(np.searchsorted(self.keys, lists), max(len(self.keys) - 1, 0))
        known = (self.keys[at] == lists) if len(self.keys) else np.zeros(lists.shape, bool)
        points = np.where(known[..., None], self.vectors[at], 0.0)
        counts = known.sum(axis=1).astype(np.float32)
        # |Σv|² = n + the sum over ordered pairs, since each vector has length 1.
        pairs = np.where(counts > 1, counts * (counts - 1), np.nan)
        cosines = (np.square(points.sum(axis=1)).sum(axis=1) - counts) / pairs
        distances: npt.NDArray[np.float32] = (1.0 - cosines).astype(np.float32)
        return distances

"""Fixed vectors as a table that features look up: it never learns, and it never grows."""

import numpy as np
import torch
from torch import Tensor

from twintide.keys import Keys
from twintide.rowstore import RowNumbers
from twintide.vectorstore import Vectors


class FixedTable:
    """Vectors by key, out of a mapped store; row 0 is the zero vector of unknown ids."""

    def __init__(self, vectors: Vectors, *, device: torch.device) -> None:
        self._vectors = vectors
        self._device = device

    @property
    def width(self) -> int:
        """Numbers in one row."""
        return self._vectors.width

    @property
    def known(self) -> Keys:
        """The keys that it has a vector for."""
        return self._vectors.keys

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for one that it does not know."""
        return self._vectors.rows_of(keys)

    def gathered(self, rows: RowNumbers) -> tuple[Tensor, Tensor]:
        """Row numbers, and the weights [R, width] that these number: only what is asked for is read
        from the disk, each row once.
        """
        distinct, places = np.unique(rows, return_inverse=True)
        weights = torch.from_numpy(self._vectors.take(distinct))
        return torch.from_numpy(places).to(self._device), weights.to(self._device)

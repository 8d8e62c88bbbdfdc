"""An ID-embedding table: a vocabulary and one weight row for each of its ids."""

import math

import numpy as np
import torch
from torch import Tensor

from twintide.keys import Keys, mixed
from twintide.model.vocabulary import RowNumbers, Vocabulary


class Table:
    """Rows of `width` numbers, looked up by key. Row 0 is the default row, zero until it learns."""

    def __init__(self, vocabulary: Vocabulary, weights: Tensor) -> None:
        """`weights` [rows, width] float32, one row for each of the vocabulary's."""
        self.vocabulary = vocabulary
        self._weights = weights

    @classmethod
    def empty(cls, width: int, *, device: torch.device) -> "Table":
        """A table that knows no id yet: the default row alone, all zeros."""
        return cls(Vocabulary(), torch.zeros(1, width, device=device))

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def width(self) -> int:
        """Numbers in one row."""
        return self._weights.shape[1]

    @property
    def weights(self) -> Tensor:
        """[rows, width], a view: what is written to it is learnt."""
        return self._weights[: len(self)]

    @property
    def known(self) -> Keys:
        """The keys that it has a row for."""
        return self.vocabulary.keys[1:]

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, the default row for one that it does not know."""
        return self.vocabulary.rows_of(keys)

    def gathered(self, rows: RowNumbers) -> tuple[Tensor, Tensor]:
        """Row numbers, and the weights [R, width] that these number."""
        return torch.from_numpy(rows).to(self._weights.device), self.weights

    def grow(self, keys: Keys) -> RowNumbers:
        """Give new ids a row with its first values; returns the new rows' numbers."""
        rows = self.vocabulary.add(keys)
        if len(rows):
            if len(self) > len(self._weights):
                spare = torch.zeros(len(self), self.width, device=self._weights.device)
                self._weights = torch.cat((self._weights, spare))
            first = first_values(self.vocabulary.keys[rows], self.width)
            self._weights[int(rows[0]) : int(rows[-1]) + 1] = torch.from_numpy(first).to(
                self._weights.device
            )
        return rows


def first_values(keys: Keys, width: int) -> np.ndarray:
    """float32 [n, width], uniform in ±0.4/√width: a function of the id alone, so that neither the
    order of arrival nor a restart changes what a row begins with.
    """
    counters = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = mixed(keys[:, None] + counters[None, :]) >> np.uint64(40)
    return ((bits.astype(np.float32) / (1 << 23)) - 1.0) * np.float32(0.4 / math.sqrt(width))

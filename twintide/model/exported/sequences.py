"""What makes one vector of a sequence of rows, exported.

Shapes: B rows of a batch, S slots, W width of the table, H heads.
"""

import numpy as np
import numpy.typing as npt

from twintide.features.kind import Sequence
from twintide.model.exported.layers import Step, gelu, in_turn, layer_norm, linear
from twintide.model.exported.weights import Floats, Weights
from twintide.ragged import Ids

AGE_SCALE = np.float32(5.0)
_LOWEST = np.finfo(np.float32).min


class Encoder:
    """As `twintide.model.sequences.Encoder` in eval mode."""

    def __init__(self, sequence: Sequence, width: int, weights: Weights) -> None:
        slots = sequence.length
        self._slots, self._width = slots, width
        self._places = weights.take("places", slots, width)
        self._ages, self._query, self._empty = (
            weights.take(name, width) for name in ("ages", "query", "empty")
        )
        self._layers = [
            _Layer(width, sequence.heads, weights.under(f"layers.{number}."))
            for number in range(sequence.layers)
        ]
        norm = layer_norm(weights.under("norm."), width)
        self._keys = in_turn([norm, linear(weights.under("keys."), width, width)])

    def __call__(self, rows: Floats, offsets: npt.NDArray[np.int64], ids: Ids) -> Floats:
        """[B, W], of the rows of all keys [N, W]; `offsets` are those of the slots [B · S + 1]."""
        if ids.ages is None:
            raise TypeError("a sequence without ages")
        is_taken = np.diff(offsets) > 0
        ages = np.zeros(len(is_taken), np.float32)
        ages[is_taken] = ids.ages
        slots = np.zeros((len(is_taken), self._width), np.float32)
        slots[is_taken] = rows
        is_taken_BS = is_taken.reshape(-1, self._slots)
        aged_BS1 = np.asarray(np.log1p(ages) / AGE_SCALE, np.float32).reshape(-1, self._slots, 1)
        slots_BSW = slots.reshape(-1, self._slots, self._width)
        made_BSW: Floats = slots_BSW + (self._places + aged_BS1 * self._ages)
        for layer in self._layers:
            made_BSW = layer(made_BSW, is_taken_BS)
        scores_BS = self._keys(made_BSW) @ self._query / np.float32(self._width**0.5)
        pooled_BW = (_shares(scores_BS, is_taken_BS)[:, None, :] @ made_BSW)[:, 0]
        return np.where(is_taken_BS.any(axis=1, keepdims=True), pooled_BW, self._empty)


class _Layer:
    """Self-attention of each row to itself and those before it, then two dense layers."""

    def __init__(self, width: int, heads: int, weights: Weights) -> None:
        self._heads = heads
        norm = layer_norm(weights.under("norm."), width)
        self._attend = in_turn([norm, linear(weights.under("attend."), width, 3 * width)])
        self._attended = linear(weights.under("attended."), width, width)
        steps: list[Step] = [
            layer_norm(weights.under("dense_norm."), width),
            linear(weights.under("wide."), width, 2 * width),
            gelu,
            linear(weights.under("narrow."), 2 * width, width),
        ]
        self._dense = in_turn(steps)

    def __call__(self, rows_BSW: Floats, is_taken_BS: npt.NDArray[np.bool_]) -> Floats:
        """[B, S, W]"""
        made_BSW = rows_BSW + self._attended(self._attention(rows_BSW, is_taken_BS))
        found: Floats = made_BSW + self._dense(made_BSW)
        return found

    def _attention(self, rows_BSW: Floats, is_taken_BS: npt.NDArray[np.bool_]) -> Floats:
        count, slots, width = rows_BSW.shape
        each = width // self._heads
        parts = self._attend(rows_BSW).reshape(count, slots, 3, self._heads, each)
        query_BHSV, key_BHSV, value_BHSV = parts.transpose(2, 0, 3, 1, 4)
        scores_BHSS = query_BHSV @ key_BHSV.swapaxes(2, 3) / np.float32(each**0.5)
        before_SS = np.tri(slots, dtype=np.bool_)
        shares_BHSS = _shares(scores_BHSS, before_SS & is_taken_BS[:, None, None, :])
        seen_BSW: Floats = (shares_BHSS @ value_BHSV).swapaxes(1, 2).reshape(count, slots, width)
        return seen_BSW


def _shares(scores: Floats, allowed: npt.NDArray[np.bool_]) -> Floats:
    """A softmax over the last dimension, of what is allowed; nothing where nothing is."""
    masked = np.where(allowed, scores, _LOWEST)
    counts = np.exp(masked - masked.max(axis=-1, keepdims=True))
    found: Floats = counts / counts.sum(axis=-1, keepdims=True) * allowed
    return found

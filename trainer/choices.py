"""What each click of a batch is judged against: its own column, and those it may have as negatives.

Shapes: B clicks, U candidate columns, one for each distinct item.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twintide.keys import Keys

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Forbidden:
    """For each click the columns that may not be its negatives: distinct, and never its target,
    which is none of its negatives anyway. Most have none, so these are lists and no [B, U] mask.
    """

    columns: Ints
    """[F], one list after the other."""

    offsets: Ints
    """[B + 1]: where each click's list begins."""

    @classmethod
    def nothing(cls, rows: int) -> "Forbidden":
        return cls(np.zeros(0, np.int64), np.zeros(rows + 1, np.int64))

    def lengths(self) -> Ints:
        """[B]"""
        return np.diff(self.offsets)

    def between(self, begin: int, end: int) -> tuple[Ints, Ints]:
        """Row, counted from `begin`, and column of each that these rows forbid."""
        lengths = self.lengths()[begin:end]
        columns = self.columns[self.offsets[begin] : self.offsets[begin + len(lengths)]]
        return np.repeat(np.arange(len(lengths)), lengths), columns


@dataclass(frozen=True)
class Choices:
    """What a loss needs to know of a batch besides its vectors."""

    target: Ints
    """[B]: the column of each click's item."""

    log_q: Floats | None = None
    """[U]: log probability that a column is in the batch; None corrects for nothing."""

    forbidden: Forbidden | None = None
    """None forbids nothing."""

    drawn: Ints | None = None
    """[B, N]: the columns that are each click's negatives; None for all that are not forbidden."""

    weights: Floats | None = None
    """[B]: what each click counts; None for 1 each."""

    def negatives(self, columns: int) -> Ints:
        """[B]: how many of so many columns each click may have as negatives."""
        others = np.full(len(self.target), columns - 1)
        return others if self.forbidden is None else others - self.forbidden.lengths()


def draw(choices: Choices, item_keys: Keys, count: int) -> Ints:
    """[B, count]: columns drawn evenly from those that each click may have, with replacement.

    A function of the batch alone, so that whoever learns it again draws the same. A click that may
    have none gets any.
    """
    seen = item_keys.tobytes() + choices.target.tobytes()
    seed = int.from_bytes(hashlib.blake2b(seen, digest_size=16).digest(), "little")
    allowed = np.maximum(choices.negatives(len(item_keys)), 1)[:, None]
    drawn = np.random.default_rng(seed).integers(0, allowed, (len(choices.target), count))
    # The k-th column that is allowed: step over each that is not, lowest first.
    for excluded in _excluded(choices, len(item_keys)).T:
        drawn += drawn >= excluded[:, None]
    return np.minimum(drawn, len(item_keys) - 1)


def _excluded(choices: Choices, columns: int) -> Ints:
    """[B, E]: each click's target and forbidden columns in order, filled up with `columns`."""
    forbidden = choices.forbidden or Forbidden.nothing(len(choices.target))
    rows, which = forbidden.between(0, len(choices.target))
    place = 1 + np.arange(len(which)) - forbidden.offsets[rows]
    excluded = np.full((len(choices.target), 1 + forbidden.lengths().max(initial=0)), columns)
    excluded[:, 0] = choices.target
    excluded[rows, place] = which
    excluded.sort(axis=1)
    return excluded

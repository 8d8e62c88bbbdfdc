"""What each click of a batch is judged against: its own column, and those it may have as negatives.

Shapes: B clicks, U candidate columns, one for each distinct item.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twintide.keys import Keys

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Lists:
    """For each click some columns: distinct, and never its target. Most have none, so these are
    lists and no [B, U] mask.
    """

    columns: Ints
    """[F], one list after the other."""

    offsets: Ints
    """[B + 1]: where each click's list begins."""

    @classmethod
    def nothing(cls, rows: int) -> "Lists":
        return cls(np.zeros(0, np.int64), np.zeros(rows + 1, np.int64))

    def lengths(self) -> Ints:
        """[B]"""
        return np.diff(self.offsets)

    def take(self, rows: Ints) -> "Lists":
        """The lists of these clicks."""
        lengths = self.lengths()[rows]
        ends = np.cumsum(lengths)
        within = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        columns = self.columns[np.repeat(self.offsets[rows], lengths) + within]
        return Lists(columns, np.concatenate(([0], ends)))

    def between(self, begin: int, end: int) -> tuple[Ints, Ints]:
        """Row, counted from `begin`, and column of each that is in the lists of these rows."""
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

    open: Bools | None = None
    """[U]: the columns that all clicks may have as negatives; None opens all. The others are in the
    batch as some clicks' own item, or as their hard negatives.
    """

    forbidden: Lists | None = None
    """Columns that are open and yet may not be a click's negatives; None forbids nothing."""

    drawn: Ints | None = None
    """[B, N]: the columns that are each click's negatives; None for all that it may have."""

    hard: Lists | None = None
    """Columns that are a click's negatives for certain and nobody else's, whether open or not."""

    hard_share: float = 0.5
    """What its hard negatives are of the loss of a click that has some; the rest is the others'."""

    weights: Floats | None = None
    """[B]: what each click counts; None for 1 each."""

    numbers: Floats | None = None
    """[B]: the number that each click's score is to be, where that is what a loss learns. Then
    nothing but the click's own column matters.
    """

    def take(self, rows: Ints) -> "Choices":
        """Those of these clicks, before any are drawn."""
        return replace(
            self,
            target=self.target[rows],
            forbidden=None if self.forbidden is None else self.forbidden.take(rows),
            hard=None if self.hard is None else self.hard.take(rows),
            weights=None if self.weights is None else self.weights[rows],
            numbers=None if self.numbers is None else self.numbers[rows],
        )

    def negatives(self, columns: int) -> Ints:
        """[B]: how many of so many columns each click may have as negatives, hard ones apart."""
        if self.open is None:
            others = np.full(len(self.target), columns - 1)
            return others if self.forbidden is None else others - self.forbidden.lengths()
        others = np.count_nonzero(self.open) - self.open[self.target].astype(np.int64)
        if self.forbidden is None:
            return others
        rows, which = self.forbidden.between(0, len(self.target))
        return others - np.bincount(rows[self.open[which]], minlength=len(others))


def draw(choices: Choices, item_keys: Keys, count: int) -> Ints:
    """[B, count]: columns drawn evenly from those that each click may have, with replacement.

    A function of the batch alone, so that whoever learns it again draws the same. A click that may
    have none gets any.
    """
    seen = item_keys.tobytes() + choices.target.tobytes()
    seed = int.from_bytes(hashlib.blake2b(seen, digest_size=16).digest(), "little")
    allowed = np.maximum(choices.negatives(len(item_keys)), 1)[:, None]
    drawn = np.random.default_rng(seed).integers(0, allowed, (len(choices.target), count))
    is_open = np.ones(len(item_keys), bool) if choices.open is None else choices.open
    columns = np.flatnonzero(is_open) if is_open.any() else np.arange(len(item_keys))
    # The k-th open column that is allowed: step over each that is not, lowest first.
    for excluded in _excluded(choices, is_open).T:
        drawn += drawn >= excluded[:, None]
    return columns[np.minimum(drawn, len(columns) - 1)]


def _excluded(choices: Choices, is_open: Bools) -> Ints:
    """[B, E]: the place among the open columns of each click's target and forbidden columns, in
    order, filled up with their number.
    """
    count = np.count_nonzero(is_open)
    place = np.where(is_open, np.cumsum(is_open) - 1, count)
    forbidden = choices.forbidden or Lists.nothing(len(choices.target))
    rows, which = forbidden.between(0, len(choices.target))
    at = 1 + np.arange(len(which)) - forbidden.offsets[rows]
    excluded = np.full((len(choices.target), 1 + forbidden.lengths().max(initial=0)), count)
    excluded[:, 0] = place[choices.target]
    excluded[rows, at] = place[which]
    excluded.sort(axis=1)
    return excluded

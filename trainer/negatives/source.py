"""What a source of negatives does: it draws for a batch, and says how probable each item was."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainer.negatives.stock import Ints, Moment

Doubles = npt.NDArray[np.float64]


class Draws(Protocol):
    """A source that is drawn from. Items are rows of the catalogue."""

    def draw(self, moment: Moment, generator: np.random.Generator) -> Ints:
        """Items for a batch; the same one may come more than once."""

    def log_missed(self, rows: Ints, moment: Moment) -> Doubles:
        """[n]: log(1 − Q), the log probability that a draw for a batch of that moment does not
        bring an item: 0 where it never does.
        """


def chance_missed(share: Doubles, count: int) -> Doubles:
    """Log probability that `count` draws with replacement miss what each one hits with probability
    `share`.
    """
    with np.errstate(divide="ignore"):  # what is all there is to draw is never missed
        missed: Doubles = count * np.log1p(-share)
    return missed

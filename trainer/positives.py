"""Which clicks are learnt, and how often: decided of each by where it lies in the log."""

import numpy as np

from trainer.epoch import Rows
from trainer.negatives.stock import Ints, Stock
from twintide.derived.catalogue import UNKNOWN
from twintide.keys import mixed
from twintide.modelspec import ModelSpec

_SALT = np.uint64(0x8EBC6AF09C88C6E3)
_STEPS = 53
"""Bits of an even number in [0, 1)."""


def sampled(rows: Rows, model: ModelSpec, stock: Stock | None) -> Rows:
    """The rows as often as they are declared to be learnt, in their order."""
    chosen = chosen_of(rows, model, stock)
    return rows if chosen is None else rows.take(chosen)


def chosen_of(rows: Rows, model: ModelSpec, stock: Stock | None) -> Ints | None:
    """Numbers of the rows as often as they are declared to be learnt, ascending; None for all of
    them once. Items count as many clicks as they have had after what a run learns together.
    """
    if model.positives is None:
        return None
    if stock is None or stock.clicks is None:
        raise ValueError("the state counts no clicks of items")
    items = stock.rows_of(rows.item_keys)
    clicks = np.where(items == UNKNOWN, 0, stock.clicks[items])
    chance = (mixed(rows.events ^ _SALT) >> np.uint64(64 - _STEPS)) / 2.0**_STEPS
    copies = model.positives.copies(clicks, int(stock.clicks.sum()), chance)
    return np.repeat(np.arange(len(rows)), copies)

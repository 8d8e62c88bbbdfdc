"""Hard negatives: items that a click's event itself lists, dropped before its user saw them.

They are negatives of that click for certain and of no other: what was dropped for one user says
nothing of the next. An item that the catalogue did not know by the click's time is left out.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from trainer.choices import Lists
from trainer.epoch import Rows
from trainer.negatives.stock import Ints, Stock
from twintide.derived.catalogue import UNKNOWN
from twintide.keys import NO_KEY, NO_KEYS
from twintide.ragged import Ids


@dataclass(frozen=True)
class HardItems:
    """Those of the N clicks of a run."""

    items: Ids
    """[N]: rows of the catalogue."""

    left_out: int
    """Listed items that the catalogue did not know."""

    @classmethod
    def known(cls, rows: Rows, stock: Stock) -> Self:
        """What of the rows' lists the catalogue knew by each click's unit."""
        listed = rows.hard or Ids(NO_KEYS, np.zeros(len(rows) + 1, np.int64))
        found = stock.rows_of(listed.keys)
        known = found != UNKNOWN
        since_ms = stock.known_since_ms[found[known]]
        known[known] = since_ms <= rows.unit_ms[listed.row_of_key()[known]]
        items = Ids(found.astype(np.uint64), listed.offsets).only(known)
        return cls(items, int(np.count_nonzero(~known & (listed.keys != NO_KEY))))

    def of(self, numbers: Ints) -> Ints:
        """Rows of the catalogue: those of these clicks, one after the other."""
        return self.items.take(numbers).keys.astype(np.int64)

    def among(self, columns: Ints, numbers: Ints) -> Lists:
        """Of each of these clicks the columns, whose items are these rows of the catalogue."""
        own = self.items.take(numbers)
        order = np.argsort(columns)
        place = np.searchsorted(columns, own.keys.astype(np.int64), sorter=order)
        return Lists(order[place], own.offsets)

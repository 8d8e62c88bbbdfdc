"""What negatives are drawn from: the catalogue as it was at any moment of the clicks being learnt.

It is made once for the rows that a run learns together (a slice by the hour, a day by night), which
costs as the catalogue does; what is asked for each batch costs as the batch does.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer.epoch import Rows
from twintide.derived.catalogue import UNKNOWN, Catalogue, Order
from twintide.derived.clicks import (
    ClickCounter,
    ItemClicks,
    counted_statistics,
    oldest_bucket,
    refreshed_ms,
)
from twintide.derived.state import DerivedState
from twintide.features import Feature
from twintide.features.item_statistics import ItemStatistics
from twintide.keys import Keys
from twintide.listed import Listing
from twintide.ragged import Encoded, Numbers
from twintide.slices import IS_CLICK, ITEM_KEY, UNIT

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Moment:
    """When a batch is learnt."""

    known: int
    """Items that the catalogue had by then: the first ones of a stock."""

    step: int
    """Batches of this run before it."""

    at_ms: int
    """Time of its newest click."""

    refreshed_ms: int
    """Item statistics are as of this instant."""

    oldest: int
    """The oldest bucket that counts in them."""


@dataclass(frozen=True)
class Stock:
    """The catalogue after the rows, and what tells how it was before. Its items are numbered in
    the order in which they were known.
    """

    catalogue: Catalogue
    clicks: Ints | None
    """[items]: clicks so far, where the model counts them."""

    statistics: ItemStatistics | None
    counter: ClickCounter | None
    candidate: tuple[Feature, ...] = ()
    """What the model declares of items."""

    listing: Listing | None = None
    """What a source of items says of them."""

    order: Order | None = None
    """Which row of the catalogue each item has; None where its number is its row."""

    @classmethod
    def of(
        cls,
        clicks_before: ItemClicks,
        after: DerivedState,
        rows: pa.Table,
        *,
        listing: Listing | None = None,
    ) -> Self:
        """`rows` are the slices' that lead from those clicks to that state. It holds for as long as
        the state takes in no more.
        """
        return cls.after(after, counted(clicks_before, rows, after), listing=listing)

    @classmethod
    def after(
        cls, state: DerivedState, clicks: ItemClicks, *, listing: Listing | None = None
    ) -> Self:
        """The same where the clicks are counted already."""
        spec, model = state.model.item_statistics(), state.model
        order = state.catalogue.in_order()
        so_far = state.catalogue.clicks if model.counts_clicks() else None
        if so_far is not None and order is not None:
            so_far = so_far[order.rows]
        counter = clicks.counter() if spec else None
        return cls(state.catalogue, so_far, spec, counter, model.candidate, listing, order)

    @property
    def known_since_ms(self) -> Ints:
        """Ascending: by when each item was known."""
        return self.order.known_since_ms if self.order else self.catalogue.known_since_ms

    def moment(self, rows: Rows, numbers: Ints, step: int) -> Moment:
        """That of a batch: of its newest click."""
        at_ms, unit_ms = rows.at_ms[numbers], rows.unit_ms[numbers]
        known = int(np.searchsorted(self.known_since_ms, unit_ms.max(), side="right"))
        if self.statistics is None:
            return Moment(known, step, int(at_ms.max()), 0, 0)
        newest = int(np.argmax(refreshed_ms(at_ms, unit_ms, self.statistics)))
        just = slice(newest, newest + 1)
        return Moment(
            known,
            step,
            int(at_ms.max()),
            int(refreshed_ms(at_ms[just], unit_ms[just], self.statistics)[0]),
            int(oldest_bucket(unit_ms[just], self.statistics)[0]),
        )

    def rows_of(self, keys: Keys) -> Ints:
        """int64 [n]: the number of each item, UNKNOWN for one that the catalogue has not."""
        rows = self.catalogue.rows_of(keys)
        if self.order is None or not len(self.order.places):
            return rows
        return np.where(rows == UNKNOWN, UNKNOWN, self.order.places[rows])

    def keys_of(self, items: Ints) -> Keys:
        """[n]: the key of each."""
        return self.catalogue.keys[self._rows(items)]

    def _rows(self, items: Ints) -> Ints:
        """In the catalogue."""
        return items if self.order is None else self.order.rows[items]

    def features(self, items: Ints, moment: Moment) -> Encoded:
        """What the candidate tower sees of these items: attributes as they were said last, and item
        statistics as of the moment; and what a source of items says in their place.
        """
        rows = self._rows(items)
        told = self._told_by_clicks(rows, moment)
        if self.listing is None:
            return told
        return self.listing.overlaid(
            told,
            self.candidate,
            self.catalogue.keys[rows],
            at_ms=np.full(len(rows), moment.at_ms),
            refreshed_ms=np.full(len(rows), moment.refreshed_ms),
        )

    def _told_by_clicks(self, rows: Ints, moment: Moment) -> Encoded:
        encoded = self.catalogue.attributes(rows)
        if self.statistics is None or self.counter is None:
            return encoded
        numbers = counted_statistics(
            self.counter,
            rows,
            self.catalogue.first_seen_ms[rows],
            np.full(len(rows), moment.refreshed_ms),
            self.statistics,
            oldest=np.full(len(rows), moment.oldest),
        )
        return encoded | {self.statistics.name: Numbers(numbers)}


def counted(before: ItemClicks, rows: pa.Table, after: DerivedState) -> ItemClicks:
    """Those clicks and the ones that are among these rows of slices, none dropped. The state has
    taken the rows in.
    """
    spec = after.model.item_statistics()
    if spec is None:
        return before
    clicks, both = rows.filter(rows[IS_CLICK]), before.copy()
    items = after.catalogue.rows_of(clicks[ITEM_KEY].to_numpy())
    both.add(items, clicks[UNIT].cast(pa.int64()).to_numpy(), spec)
    return both

"""What Q is: how probable it is that an item is a candidate of a batch, estimated from the stream.

Streaming frequency estimation (Yi et al., RecSys 2019, algorithms 2 and 3), counted in clicks and
not in batches: an item's mean gap between two clicks of its own, in clicks of all, is 1 / p,
whatever the batches are. A batch of B clicks has one column per distinct item, so

    Q(B) = 1 − (1 − p)^B

of any B that is asked: a night's whole batch, an hour's last one. It follows popularity as that
changes. Two things are added. Until an item has been clicked 1 / α times its gap is the plain mean
so far, where a constant α would let one sample of high variance rule every rare item. And a first
click ends no gap: in its first batch an item with one click counts as the batch's others do. Their
mean is too frequent for most newcomers, and what a model then finds of items that nobody has
clicked is twice what it finds by their true rate (docs/decisions/0021). Until the second click it
is taken to be as frequent as newcomers have turned out to be, which `Newcomers` counts; of several
clicks in its first batch, as these say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.frequency import Estimated, Exact, Hashed
from twintide.keyedrows import KEYS, KeyedRows
from twintide.keys import Keys, mixed
from twintide.rowstore import INDEX, Column, Parts, RowStore

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

COLUMNS = {
    "last_click": Column(np.int64),
    "mean_gap": Column(np.float32),
    "sightings": Column(np.int32),
}
"""Of a cell, in clicks: A, the newest that it has seen; B, the mean gap; and how many it has seen,
one more than the gaps that the mean is of.
"""

MOST_SIGHTINGS = 1 << 30
HORIZON = 8192
"""Clicks for which a newcomer tells what newcomers are like, as a mean life."""

MEMORY = 4 * HORIZON
"""Clicks for which what newcomers told is remembered, as a mean life."""

STORE = "estimator"
PREFIX = f"{STORE}."


class Cells(Protocol):
    """Where the means are: rows that know which were touched."""

    @property
    def store(self) -> RowStore:
        """The rows."""

    @property
    def index(self) -> RowStore | None:
        """Where each item's cell is, where that is not a function of its key."""

    @classmethod
    def of(cls, declared: Any, store: RowStore, index: RowStore | None) -> Self | None:
        """Those that were saved; None where they are other ones than declared."""

    def held(self, item_keys: Keys) -> Ints:
        """int64 [m, n]: the cells of items that a batch holds, made where they are missing."""

    def known(self, item_keys: Keys) -> Ints:
        """The same of items that may have none; changes nothing."""


class KeyedCells:
    """One cell for each item; cell 0 is that of items that have none."""

    columns = COLUMNS | {KEYS: Column(np.uint64)}

    def __init__(
        self, declared: Exact, store: RowStore | None = None, index: RowStore | None = None
    ) -> None:
        self._most = declared.most_items
        self._cells = KeyedRows(RowStore.empty(self.columns) if store is None else store, index)

    @property
    def store(self) -> RowStore:
        return self._cells.store

    @property
    def index(self) -> RowStore:
        return self._cells.index

    @classmethod
    def of(cls, declared: Exact, store: RowStore, index: RowStore | None) -> Self | None:
        return cls(declared, store, index) if set(store.names) == set(cls.columns) else None

    def held(self, item_keys: Keys) -> Ints:
        cells = self._cells.rows_of(item_keys)
        missing = cells == 0
        if missing.any():
            if len(self.store) + np.count_nonzero(missing) > self._most:
                self._forget_half()
            self._cells.add(item_keys)
            cells = self._cells.rows_of(item_keys)
        return cells[None, :]

    def known(self, item_keys: Keys) -> Ints:
        return self._cells.rows_of(item_keys)[None, :]

    def _forget_half(self) -> None:
        """Keep the half that was clicked last: the others have become the rarest."""
        oldest = np.argsort(self.store["last_click"][1:], kind="stable") + 1
        kept = np.concatenate(([0], np.sort(oldest[len(oldest) // 2 :])))
        self._cells = KeyedRows(RowStore.of({n: self.store[n][kept] for n in self.columns}))


class HashedCells:
    """Arrays of slots, one after the other; one hash function for each."""

    def __init__(self, declared: Hashed, store: RowStore | None = None) -> None:
        self._mask = np.uint64(declared.slots - 1)
        self._salts = mixed(np.arange(1, declared.arrays + 1, dtype=np.uint64))[:, None]
        self._begins = np.arange(declared.arrays)[:, None] * declared.slots
        self.store = RowStore.empty(COLUMNS) if store is None else store
        if not len(self.store):
            self.store.grow(declared.arrays * declared.slots)

    @property
    def index(self) -> None:
        return None

    @classmethod
    def of(cls, declared: Hashed, store: RowStore, index: RowStore | None) -> Self | None:
        del index
        fits = set(store.names) == set(COLUMNS)
        fits = fits and len(store) == declared.arrays * declared.slots
        return cls(declared, store) if fits else None

    def held(self, item_keys: Keys) -> Ints:
        slots = mixed(item_keys[None, :] ^ self._salts) & self._mask
        cells: Ints = slots.astype(np.int64) + self._begins
        return cells

    def known(self, item_keys: Keys) -> Ints:
        return self.held(item_keys)


@dataclass
class Newcomers:
    """How frequent items turn out to be that have been clicked once: clicks on them, for each click
    of all that came while one was young.
    """

    young: float = 0.0
    """Items that were clicked once so far, each weighing what its age leaves of it."""

    came_again: float = 0.0
    """Clicks on such, by weight."""

    exposure: float = 0.0
    """Clicks of all, times the young that could have had them."""

    def rate(self, clicks: int) -> float:
        """Clicks on a newcomer for each click of all; `clicks` is how many there were so far. Where
        there were no newcomers, as if one had come again in that time.
        """
        return (self.came_again + 1.0) / (self.exposure + min(max(clicks, 1), MEMORY))

    def after(self, rows: int, *, ages: Ints, clicks: Ints) -> None:
        """Take a batch of so many clicks that held young items, of these ages before it."""
        weights = np.exp(-ages / HORIZON)
        remembered = np.exp(-rows / MEMORY)
        self.came_again = float(self.came_again * remembered + (weights * clicks).sum())
        self.exposure = float(self.exposure * remembered + self.young * rows)
        self.young = float(max(self.young - weights.sum(), 0.0) * np.exp(-rows / HORIZON))


class FrequencyEstimator:
    """Clicks on an item for each click of all, of every item; from there Q of a batch."""

    def __init__(
        self,
        declared: Estimated,
        cells: Cells,
        *,
        clicks: int = 0,
        newcomers: Newcomers | None = None,
    ) -> None:
        """`clicks`: how many it has seen."""
        self._learning_rate = declared.learning_rate
        self._newcomers_as_batch = declared.newcomers == "as_batch"
        self.cells = cells
        self.clicks = clicks
        self.newcomers = newcomers or Newcomers()

    @classmethod
    def fresh(cls, declared: Estimated | None = None) -> Self:
        """One that has seen nothing."""
        declared = declared or Exact()
        return cls(declared, _CELLS[type(declared)](declared))

    def observe(self, item_keys: Keys, clicks: Ints, *, of: int | None = None) -> Floats:
        """Take the next batch: its distinct items and how many of its clicks each has; returns log
        Q of each, float32 [U], in a batch of so many clicks, or of `of`, where some are not new.
        """
        rows = int(clicks.sum())
        began, self.clicks = self.clicks, self.clicks + rows
        places = self.cells.held(item_keys)
        cells = self.cells.store.touch(places.ravel())
        last, before, seen = (cells[name][places] for name in COLUMNS)

        mean = self._mean_after(before, seen, self.clicks - last, clicks)
        mean = np.where(seen == 0, rows / clicks, mean)
        cells["mean_gap"][places] = mean
        cells["last_click"][places] = self.clicks
        cells["sightings"][places] = np.minimum(seen + clicks, MOST_SIGHTINGS)

        # Collisions can only add sightings and shrink a gap: the hash with the fewest, and that
        # with the widest gap, are nearest to the truth.
        fewest = seen.min(axis=0)
        is_new, is_young = fewest == 0, fewest == 1
        first = np.take_along_axis(last, seen.argmin(axis=0)[None, :], axis=0)[0]
        self.newcomers.after(rows, ages=began - first[is_young], clicks=clicks[is_young])
        rate = 1.0 / np.maximum(mean.max(axis=0), 1.0)
        once = is_new & (clicks == 1)
        rate[is_new] = clicks[is_new] / rows
        rate[once] = min(self.newcomers.rate(self.clicks), 1.0)
        self.newcomers.young += np.count_nonzero(once)
        log_q = log_inclusion(rate, of or rows)
        if self._newcomers_as_batch and once.any() and not once.all():
            log_q[once] = log_q[~once].mean()
        return log_q

    def expected(self, item_keys: Keys, rows: int) -> Floats:
        """Log Q of items that the batch just observed, of so many clicks, does not hold, float32
        [n]; changes nothing.

        A gap that is still open counts once it is longer than the mean: what is clicked no more is
        ever less probable. An item that was clicked once, or never, is as a newcomer, and no more
        frequent than it can be for how long it was missed.
        """
        places = self.cells.known(item_keys)
        cells = self.cells.store.at(places.ravel())
        last, before, seen = (cells[name][places] for name in COLUMNS)
        still_open = self.clicks - last
        mean = self._mean_after(before, seen, np.maximum(still_open, before), 1)
        of_newcomers = 1.0 / self.newcomers.rate(self.clicks)
        mean = np.where(seen <= 1, np.maximum(still_open, of_newcomers), mean)
        return log_inclusion(1.0 / np.maximum(mean.max(axis=0, initial=1.0), 1.0), rows)

    def _mean_after(
        self, before: Floats, seen: npt.NDArray[np.int32], gap: Any, clicks: Ints | int
    ) -> Doubles:
        """The mean gap once clicks that share this gap evenly are in it."""
        gaps = np.maximum(seen - 1, 0)
        share = np.maximum(clicks / (gaps + clicks), 1.0 - (1.0 - self._learning_rate) ** clicks)
        mean: Doubles = before + share * (gap / clicks - before)
        return mean

    def parts(self) -> Parts:
        """All that it goes on from."""
        told = self.newcomers
        arrays: Arrays = {
            f"{PREFIX}clicks": np.array([self.clicks]),
            f"{PREFIX}newcomers": np.array([told.young, told.came_again, told.exposure]),
        }
        index = self.cells.index
        indexes = {} if index is None else {f"{STORE}{INDEX}": index}
        return Parts({STORE: self.cells.store} | indexes, arrays)

    @classmethod
    def from_parts(cls, declared: Estimated, parts: Parts) -> Self:
        """What `parts` gave, in whole arrays or not. One of another kind or size, or of an older
        program, begins anew.
        """
        store = parts.stores.get(STORE) or _store_of(parts.arrays)
        clicks, newcomers = (
            parts.arrays.get(f"{PREFIX}{name}") for name in ("clicks", "newcomers")
        )
        cells = (
            None
            if store is None
            else _CELLS[type(declared)].of(declared, store, parts.stores.get(f"{STORE}{INDEX}"))
        )
        if clicks is None or newcomers is None or cells is None:
            return cls.fresh(declared)
        told = Newcomers(*newcomers.tolist())
        return cls(declared, cells, clicks=int(clicks[0]), newcomers=told)


def _store_of(arrays: Arrays) -> RowStore | None:
    """The cells, where they lie in whole arrays of one length."""
    found = {
        name: arrays[f"{PREFIX}{name}"].copy()
        for name in KeyedCells.columns
        if f"{PREFIX}{name}" in arrays
    }
    return RowStore.of(found) if len(set(map(len, found.values()))) == 1 else None


def log_inclusion(rate: Doubles, rows: int) -> Floats:
    """Log probability that a batch of so many clicks holds an item with this rate: log Q(B)."""
    with np.errstate(divide="ignore"):  # an item that every click is on is missed by none
        found: Floats = np.log(-np.expm1(rows * np.log1p(-rate))).astype(np.float32)
    return found


_CELLS: Mapping[type[Estimated], Any] = {Exact: KeyedCells, Hashed: HashedCells}

"""In which order the rows of a run are learnt, and what one batch of them is.

The hourly pass takes them in time order. The nightly epoch takes every row of the day exactly
once, shuffled by a recorded seed. Where the model uses item statistics, the rows of a nightly
batch come from one refresh window (an item is one column of a batch and has one value of its
statistics there); they are shuffled within the window, and the batches over the day. A window of
few clicks joins its neighbour: a batch of one click has no negatives and teaches nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainer import labels
from trainer.choices import Bools, Lists
from trainer.labels import Labels
from twintide.derived.clicks import refreshed_ms
from twintide.features.columns import from_columns
from twintide.keys import NO_KEYS, Keys, mixed
from twintide.listed import Listing
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids, keys_from_lists, take
from twintide.slices import EVENT_TIME, HARD, ITEM_KEY, OFFSET, PARTITION, UNIT

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

SMALL_WINDOW = 8
"""A refresh window with less than one in so many of a batch's rows joins its neighbour."""


@dataclass(frozen=True)
class Rows:
    """Rows of slices, encoded: N of them, clicks and other positives."""

    name: str
    """For error messages: the slices that they come from."""

    at_ms: Ints
    unit_ms: Ints
    """When each row's unit begins."""

    item_keys: Keys
    query: Encoded
    candidate: Encoded
    log_q: Floats | None = None
    """[N]: log probability that a row's item is in its batch, where the draw is known; where it
    is not, the estimator says.
    """

    labels: Mapping[str, Labels] = field(default_factory=dict)
    """By objective: what the rows are to it. To one that is not named, all are positives."""

    hard: Ids | None = None
    """[N]: keys of each one's hard negatives, where the model has such."""

    events: Keys = field(default_factory=lambda: NO_KEYS)
    """[N]: a hash of where each lies in the log, of which random draws are a function; or
    none, of rows that are out of no log.
    """

    replayed: Bools | None = None
    """[N]: those that were learnt before, and are learnt again beside new ones. They count as
    nothing new; None where there are none.
    """

    def __len__(self) -> int:
        return len(self.item_keys)

    def new(self) -> "Rows":
        """Without those that were learnt before."""
        return self if self.replayed is None else self.take(self.new_among(np.arange(len(self))))

    def new_among(self, numbers: Ints) -> Ints:
        """Of these numbers those of rows that were not learnt before."""
        return numbers if self.replayed is None else numbers[~self.replayed[numbers]]

    @classmethod
    def of(cls, rows: pa.Table, model: ModelSpec, *, name: str) -> "Rows":
        return cls(
            name=name,
            at_ms=rows[EVENT_TIME].cast(pa.int64()).to_numpy(),
            unit_ms=rows[UNIT].cast(pa.int64()).to_numpy(),
            item_keys=rows[ITEM_KEY].to_numpy(),
            query=from_columns(rows, model.query, "query"),
            candidate=from_columns(rows, model.candidate, "candidate"),
            labels=labels.from_columns(rows, model),
            hard=keys_from_lists(rows[HARD].combine_chunks()) if model.hard() else None,
            events=_places_of(rows),
        )

    def take(self, rows: Ints) -> "Rows":
        """The rows with these numbers."""
        return Rows(
            name=self.name,
            at_ms=self.at_ms[rows],
            unit_ms=self.unit_ms[rows],
            item_keys=self.item_keys[rows],
            query=take(self.query, rows),
            candidate=take(self.candidate, rows),
            log_q=None if self.log_q is None else self.log_q[rows],
            labels={name: each.take(rows) for name, each in self.labels.items()},
            hard=None if self.hard is None else self.hard.take(rows),
            events=self.events[rows] if len(self.events) else self.events,
            replayed=None if self.replayed is None else self.replayed[rows],
        )

    def batch(self, rows: Ints) -> "Batch":
        """These rows as one step: one candidate column per distinct item."""
        own = self.distinct(rows)
        return Batch(
            name=f"{self.name}, clicks {rows.min()} to {rows.max()}",
            query=take(self.query, rows),
            candidate=take(self.candidate, rows[own.first]),
            target=own.column,
            item_keys=own.item_keys,
            clicks=own.clicks,
            replayed=own.replayed,
            log_q=None if self.log_q is None else self.log_q[rows[own.first]],
            labels={name: each.take(rows) for name, each in self.labels.items()},
        )

    def distinct(self, rows: Ints) -> "Distinct":
        """The items of these rows. A row that is learnt twice in a row is one click on its item:
        its copies come into one batch together.
        """
        keys, first, column = np.unique(
            self.item_keys[rows], return_index=True, return_inverse=True
        )
        counts = np.ones(len(rows), np.bool_)
        if len(self.events):
            events = self.events[rows]
            counts[1:] = events[1:] != events[:-1]
        clicks, replayed = np.bincount(column[counts], minlength=len(keys)), 0
        if self.replayed is not None:
            again = self.replayed[rows] & counts
            clicks -= np.bincount(column[again], minlength=len(keys))
            replayed = int(again.sum())
        return Distinct(keys, first, column.astype(np.int64), clicks, replayed)


@dataclass(frozen=True)
class Distinct:
    """The U distinct items of B rows."""

    item_keys: Keys
    """[U], ascending."""

    first: Ints
    """[U]: number of the first row of each."""

    column: Ints
    """[B]: the item of each row."""

    clicks: Ints
    """[U]: how many each has that are new."""

    replayed: int = 0
    """Clicks of the B rows that were learnt before."""


def as_listed(rows: Rows, listing: Listing, model: ModelSpec) -> Rows:
    """Clicks whose items are what a source of items says, where it says something."""
    statistics = model.item_statistics()
    candidate = listing.overlaid(
        rows.candidate,
        model.candidate,
        rows.item_keys,
        at_ms=rows.at_ms,
        refreshed_ms=refreshed_ms(rows.at_ms, rows.unit_ms, statistics)
        if statistics
        else rows.at_ms,
    )
    return replace(rows, candidate=candidate)


@dataclass(frozen=True)
class Added:
    """What other sources of negatives than the clicks themselves make of the columns of a batch."""

    first: int
    """Columns from this one on are no click's own item."""

    log_missed: npt.NDArray[np.float64]
    """[U]: log probability that none of these sources has brought it."""

    in_batch: bool
    """Whether clicks bring columns for others too."""

    open: Bools | None = None
    """[U]: columns that all clicks may have as negatives; None for all."""

    hard: Lists | None = None
    """Each click's hard negatives."""

    log_q: Floats | None = None
    """[U - first]: log probability that the item of a column is in the batch as some click's, where
    it was estimated beforehand.
    """


@dataclass(frozen=True)
class Batch:
    """One step. B rows, U distinct items."""

    name: str
    query: Encoded
    """B rows."""

    candidate: Encoded
    """U rows."""

    target: Ints
    """[B]: the column of each row's item."""

    item_keys: Keys
    """[U], distinct."""

    clicks: Ints
    """How many new ones are on each of the columns that are the clicks' own, which come first."""

    log_q: Floats | None
    """Of the columns that are the clicks' own."""

    forbidden: Lists | None = None
    """Columns that a row may not have as negatives; None forbids nothing but its own."""

    labels: Mapping[str, Labels] = field(default_factory=dict)
    """By objective: what the rows are to it. To one that is not named, all are positives."""

    replayed: int = 0
    """Clicks that were learnt before: of all columns together."""

    added: Added | None = None
    """None: the columns are the clicks' own, each a negative of all other clicks."""


def in_order(count: int, *, batch_rows: int) -> Iterator[Ints]:
    """Row numbers of each batch, first to last."""
    yield from _evenly(np.arange(count), batch_rows)


def beside(replayed: Bools, *, batch_rows: int, share: float) -> Iterator[Ints]:
    """The same where some rows are learnt again: new ones from first to last, and others, as they
    come, spread evenly over their batches; of a whole batch they are this share.
    """
    batches = _evenly(np.flatnonzero(~replayed), max(1, round(batch_rows * (1.0 - share))))
    again = np.array_split(np.flatnonzero(replayed), max(1, len(batches)))
    for new, others in zip(batches, again, strict=False):
        yield np.concatenate((new, others))


def windows_of(rows: Rows, model: ModelSpec) -> Ints:
    """[N]: the refresh window of each row; without item statistics all are in one."""
    statistics = model.item_statistics()
    if statistics is None:
        return np.zeros(len(rows), np.int64)
    return refreshed_ms(rows.at_ms, rows.unit_ms, statistics)


def home_first(windows: Ints, batch: Ints) -> Ints:
    """The same rows, first those of the window that most of them are in: an item's column has its
    statistics as they were there, and not as some late click had them.
    """
    own = windows[batch]
    if (own == own[:1]).all():
        return batch
    distinct, counts = np.unique(own, return_counts=True)
    is_home = own == distinct[np.argmax(counts)]
    return np.concatenate((batch[is_home], batch[~is_home]))


def shuffled(windows: Ints, *, batch_rows: int, seed: int | tuple[int, ...]) -> list[Ints]:
    """Every row once; a batch stays within one window, or within neighbours that have few rows;
    rows and batches are drawn uniformly.
    """
    generator = np.random.default_rng(seed)
    batches = cut(windows, batch_rows=batch_rows, generator=generator)
    return [batches[number] for number in generator.permutation(len(batches))]


def cut(windows: Ints, *, batch_rows: int, generator: np.random.Generator) -> list[Ints]:
    """The batches of `shuffled`, still in the order of their windows."""
    return [
        home_first(windows, batch)
        for rows in _of_windows(windows, at_least=batch_rows // SMALL_WINDOW)
        for batch in _evenly(generator.permutation(rows), batch_rows)
    ]


def _of_windows(windows: Ints, *, at_least: int) -> list[Ints]:
    """The rows of each group of windows, in order."""
    _, window, counts = np.unique(windows, return_inverse=True, return_counts=True)
    group = joined_windows(counts, at_least=at_least)[window]
    ends = np.cumsum(np.bincount(group))
    return np.split(np.argsort(group, kind="stable"), ends[:-1])


def joined_windows(counts: Ints, *, at_least: int) -> Ints:
    """The group of each window, from 0. One of few rows, such as those that came hours late, is
    taken together with the windows after it until they have enough; the last, with those before.
    """
    joined, number, rows = np.zeros(len(counts), np.int64), 0, 0
    for place, count in enumerate(counts.tolist()):
        joined[place] = number
        rows += count
        if rows >= at_least:
            number, rows = number + 1, 0
    if rows and number:
        joined[joined == number] = number - 1
    return joined


def _places_of(rows: pa.Table) -> Keys:
    """[N]: a hash of partition and offset."""
    partitions, offsets = (
        rows[name].cast(pa.int64()).to_numpy().view(np.uint64) for name in (PARTITION, OFFSET)
    )
    return mixed(mixed(partitions + np.uint64(1)) ^ offsets)


def _evenly(rows: Ints, batch_rows: int) -> list[Ints]:
    """Batches of nearly equal size: a tiny last one would learn from hardly any negatives."""
    if not len(rows):
        return []
    return np.array_split(rows, -(-len(rows) // batch_rows))

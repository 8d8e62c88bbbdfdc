"""A day that does not fit into memory, shuffled as exactly as one that does.

Pass 1 goes along the day and spreads its rows over files by lot, pass 2 shuffles each file and
learns it: every order of the rows is as probable as every other (Sandelius, 1962). Each pass has
one slice, or one file, in memory.

Where the model uses item statistics a batch stays within a refresh window, so the files of pass 1
are runs of windows. They are cut into batches in the order of time, which is when log Q is
estimated, and the batches are spread by lot: pass 2 shuffles those. Which batch comes when is drawn
over the whole day there too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainer.epoch import SMALL_WINDOW, Ints, Rows, cut, joined_windows
from trainer.gathered import Gathered, windows_in
from trainer.negatives.stock import Stock, counted
from trainer.positives import chosen_of
from trainer.prepared import Prepared, prepared
from trainer.rates import Rates
from trainer.run import Begun
from twintide.scratch import Scratch

LOG_Q = "log_q"
_SPREAD, _CUT, _DEAL, _ORDER = range(1, 5)
"""What a generator draws, so that no two draw the same."""


@dataclass(frozen=True)
class Shelves:
    """Which file each refresh window goes to: whole groups of windows, as many as fit together. A
    group that does not fit has several files of its own, over which lots are drawn.
    """

    windows: Ints
    """Ascending."""

    first: Ints
    """[windows]: number of the first file of each."""

    files: Ints
    """[windows]: how many it has."""

    count: int

    @classmethod
    def of(cls, window_rows: Mapping[int, int], *, at_least: int, most_rows: int) -> "Shelves":
        """For windows of so many rows each, of which groups have `at_least` so many."""
        windows = np.array(sorted(window_rows), np.int64)
        rows = np.array([window_rows[each] for each in windows.tolist()], np.int64)
        group = joined_windows(rows, at_least=at_least)
        group_rows = np.bincount(group, rows).astype(np.int64)
        first, files = np.zeros_like(group_rows), -(-group_rows // most_rows)
        number, filled = -1, most_rows
        for place, count in enumerate(group_rows.tolist()):
            if filled + count > most_rows:
                number, filled = number + 1, 0
            first[place] = number
            number, filled = number + int(files[place]) - 1, filled + count
        return cls(windows, first[group], files[group], number + 1)

    def lots(self, windows: Ints, generator: np.random.Generator) -> Ints:
        """[N]: the file of each row, whose window is given."""
        place = np.searchsorted(self.windows, windows)
        drawn: Ints = self.first[place] + generator.integers(self.files[place])
        return drawn


def in_files(
    begun: Begun, gathered: Gathered, rates: Rates, folder: Path, *, name: str, seed: int
) -> Iterator[Prepared]:
    """The day in as many parts as its rows need, each to be learnt before the next is asked for.
    The files lie below `folder`.
    """
    most_rows = max(gathered.most_rows, rates.batch_rows)
    shelves = Shelves.of(
        gathered.window_rows, at_least=rates.batch_rows // SMALL_WINDOW, most_rows=most_rows
    )
    scratch = Scratch(folder / "rows")
    stock = _spread(begun, gathered, shelves, rates, scratch, name=name, seed=seed)
    if begun.learner.model.spec.item_statistics() is None:
        for number in range(shelves.count):
            if (table := scratch.take(number)) is not None:
                yield prepared(
                    begun.learner,
                    begun.rows_of(table, name=name),
                    batch_rows=rates.batch_rows,
                    stock=stock,
                    seed=seed,
                    shuffle_seed=(seed, _ORDER, number),
                )
        return
    dealt = _Dealt(Scratch(folder / "batches"), -(-gathered.rows // most_rows), seed)
    for number in range(shelves.count):
        if (table := scratch.take(number)) is not None:
            generator = np.random.default_rng((seed, _CUT, number))
            _cut_and_deal(begun, table, rates, generator, dealt, name=name)
    for rows, order in dealt.files(begun, name=name):
        # What other sources bring is as probable as at the end of the day.
        yield Prepared(rows, order, begun.learner.union_for(rows, order, stock, seed=seed))


def _spread(
    begun: Begun,
    gathered: Gathered,
    shelves: Shelves,
    rates: Rates,
    scratch: Scratch,
    *,
    name: str,
    seed: int,
) -> Stock | None:
    """Go along the day, and let everything see its rows that sees them in the order of time."""
    model, generator = begun.learner.model.spec, np.random.default_rng((seed, _SPREAD))
    clicks = gathered.clicks_before
    state_after = Stock.after(begun.state, clicks, listing=begun.listing)
    for every_row in gathered.tables():
        if model.needs_stock():
            clicks = counted(clicks, every_row, begun.state)
        rows = begun.rows_of(every_row, name=name)
        chosen = chosen_of(rows, model, state_after)
        taught = every_row if chosen is None else every_row.take(chosen)
        if chosen is not None:
            rows = rows.take(chosen)
        begun.taught += len(rows)
        begun.learner.observe(rows)
        begun.learner.grow(rows, rates)
        scratch.spread(taught, shelves.lots(windows_in(taught, model), generator))
    if not model.needs_stock():
        return None
    return Stock.after(begun.state, clicks, listing=begun.listing)


class _Dealt:
    """Batches in files, over which lots are drawn."""

    def __init__(self, scratch: Scratch, count: int, seed: int) -> None:
        self._scratch = scratch
        self._lengths: list[list[int]] = [[] for _ in range(count)]
        self._seed = seed
        self._generator = np.random.default_rng((seed, _DEAL))

    def deal(self, table: pa.Table, batches: list[Ints]) -> None:
        """Give each batch of these rows to a file."""
        lots = self._generator.integers(len(self._lengths), size=len(batches))
        numbers = [np.zeros(0, np.int64)]
        for batch, lot in zip(batches, lots.tolist(), strict=True):
            self._lengths[lot].append(len(batch))
            numbers.append(batch)
        of_row = np.repeat(lots, [len(batch) for batch in batches])
        self._scratch.spread(table.take(np.concatenate(numbers)), of_row)

    def files(self, begun: Begun, *, name: str) -> Iterator[tuple[Rows, list[Ints]]]:
        """The rows of each file, and its batches in an order drawn by lot."""
        for number, lengths in enumerate(self._lengths):
            if (table := self._scratch.take(number)) is None:
                continue
            generator = np.random.default_rng((self._seed, _ORDER, number))
            batches = np.split(np.arange(len(table)), np.cumsum(lengths)[:-1])
            rows = begun.rows_of(table, name=name)
            log_q = table[LOG_Q].to_numpy()
            yield (
                replace(rows, log_q=log_q),
                [batches[each] for each in generator.permutation(len(batches))],
            )


def _cut_and_deal(
    begun: Begun,
    table: pa.Table,
    rates: Rates,
    generator: np.random.Generator,
    dealt: _Dealt,
    *,
    name: str,
) -> None:
    """The batches of a file of windows, with log Q as it is in their order of time."""
    windows = windows_in(table, begun.learner.model.spec)
    batches = cut(windows, batch_rows=rates.batch_rows, generator=generator)
    by_time = sorted(batches, key=lambda batch: int(windows[batch[0]]))
    log_q = begun.learner.estimate_log_q(begun.rows_of(table, name=name), by_time)
    dealt.deal(table.append_column(LOG_Q, pa.array(log_q)), by_time)

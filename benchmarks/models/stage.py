"""What a contestant is shown and asked: real slices, by day and hour, and the catalogue then.

Nothing here depends on weights, so all contestants of one set of features share it.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from evaluation.clicked import Clicked
from streaming.offline import write_shards
from trainer.epoch import Rows
from trainer.negatives.stock import Stock
from trainer.slicing import Slicer
from twintide.clock import HeldClock, from_unix_ms
from twintide.config import Deployment
from twintide.datafile import read_data
from twintide.days import Calendar
from twintide.derived.clicks import ItemClicks
from twintide.derived.state import DerivedState
from twintide.features.columns import from_columns
from twintide.keys import Keys, keys_of
from twintide.ragged import Encoded
from twintide.slices import IS_CLICK, ITEM_ID, USER_KEY, Contents, Slice


@dataclass(frozen=True)
class Catalogue:
    """Every item that was clicked before an instant. U of them."""

    items: Keys
    encoded: Encoded


@dataclass(frozen=True)
class Hour:
    """The clicks of one hour, and what there was to find them in when it began."""

    at: datetime
    rows: Rows
    """What is learnt of it: clicks, and other positives where the model has some."""

    clicked: Clicked
    catalogue: Catalogue | None
    """None where the hour is learnt and not scored."""

    stock: Stock | None
    """What negatives are drawn from while the hour is learnt, where the model draws any."""


@dataclass(frozen=True)
class Day:
    """One training day."""

    day: date
    rows: Rows
    hours: tuple[Hour, ...]
    is_scored: bool
    stock: Stock | None


def make_shards(deployment: Deployment, events: Path, *, days: int | None) -> int:
    """Write the first `days` days of a file as shards; returns how many events those are."""
    table = read_data(deployment, events)
    calendar = Calendar.of(deployment.training)
    at_ms = table[deployment.events.time].cast(pa.int64()).to_numpy()
    if days is not None:
        first = calendar.day_of(from_unix_ms(int(at_ms[0])))
        end = calendar.start_of(date.fromordinal(first.toordinal() + days))
        table = table.slice(0, int((at_ms < end.timestamp() * 1000).sum()))
    write_shards(deployment, table)
    return len(table)


def days_of(deployment: Deployment, *, scored: int) -> list[Day]:
    """The days of the shards, oldest first; the last `scored` ones are to be scored."""
    chain = _sliced(deployment)
    days = [list(group) for _, group in groupby(chain, key=lambda each: each.footer.day)]
    state = DerivedState.empty(deployment)
    found = []
    for number, slices in enumerate(days):
        is_scored = number >= len(days) - scored
        tables = [each.read() for each in slices]
        hours: list[Hour] = []
        began = state.item_clicks.copy()
        for each, table in zip(slices, tables, strict=True):
            catalogue = _catalogue(state, deployment, each) if is_scored else None
            before = state.item_clicks.copy()
            state.fold(Contents(table))
            stock = _stock(deployment, before, state, table) if is_scored else None
            hours += _hours(deployment, each, table, catalogue, stock)
        day, table = slices[0].footer.day, pa.concat_tables(tables)
        rows = Rows.of(table, deployment.model, name=f"day {day}")
        stock = _stock(deployment, began, state, table)
        found.append(Day(day, rows, tuple(hours), is_scored, stock))
    return found


def _sliced(deployment: Deployment) -> list[Slice]:
    clock = HeldClock(Calendar.of(deployment.training).end_of(date(2100, 1, 1)))
    slicer = Slicer(deployment, DerivedState.empty(deployment), {}, clock=clock)
    slicer.extend(clock.now())
    return slicer.chain


def _catalogue(state: DerivedState, deployment: Deployment, next_slice: Slice) -> Catalogue:
    """As a version has it that goes live when the hour begins."""
    table = state.catalogue_table(next_slice.footer.hour_at)
    encoded = from_columns(table, deployment.model.candidate, "candidate")
    return Catalogue(keys_of(table[ITEM_ID]), encoded)


def _stock(
    deployment: Deployment, before: ItemClicks, after: DerivedState, rows: pa.Table
) -> Stock | None:
    """The state goes on, and this stays as it is."""
    if not deployment.model.needs_stock():
        return None
    stock = Stock.of(before, after, rows)
    clicks = None if stock.clicks is None else stock.clicks.copy()
    return replace(stock, catalogue=deepcopy(stock.catalogue), clicks=clicks)


def _hours(
    deployment: Deployment,
    each: Slice,
    table: pa.Table,
    catalogue: Catalogue | None,
    stock: Stock | None,
) -> Iterator[Hour]:
    if len(table):
        name, clicks = f"slice {each.name}", table.filter(table[IS_CLICK])
        rows = Rows.of(table, deployment.model, name=name)
        scored = Rows.of(clicks, deployment.model, name=name)
        clicked = Clicked(scored, clicks[USER_KEY].to_numpy())
        yield Hour(each.footer.hour_at, rows, clicked, catalogue, stock)

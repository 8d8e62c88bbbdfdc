"""Negatives that the clicks of a batch do not bring: one file for each source, and their union.

A source that is drawn from is made for the rows that a run learns together, and named here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.epoch import Rows
from trainer.negatives.hard import HardItems
from trainer.negatives.pool import PoolDraws
from trainer.negatives.popularity import PopularityDraws
from trainer.negatives.source import Draws
from trainer.negatives.stock import Ints, Stock
from trainer.negatives.uniform import UniformDraws
from trainer.negatives.union import Union
from twintide.keys import Keys
from twintide.modelspec import ModelSpec
from twintide.negatives import Drawn, Pool, Popularity, Source, Uniform


@dataclass(frozen=True)
class Run:
    """What a source may be made of."""

    stock: Stock
    rows: Rows
    order: list[Ints]
    """Row numbers of each batch, as they are learnt."""

    pool: Keys
    """Items of the clicks that were learnt last, before this run."""


def _uniform(declared: Uniform, _: Run) -> Draws:
    return UniformDraws(declared)


def _popularity(declared: Popularity, run: Run) -> Draws:
    if run.stock.clicks is None:
        raise ValueError("the state counts no clicks of items")
    return PopularityDraws.of(declared, run.stock.clicks)


def _pool(declared: Pool, run: Run) -> Draws:
    items = run.stock.rows_of(run.rows.item_keys)
    learnt = [items[run.rows.new_among(numbers)] for numbers in run.order]
    return PoolDraws.of(declared, run.stock.rows_of(run.pool), learnt)


_MADE: Mapping[type[Source], Callable[[Any, Run], Draws]] = {
    Uniform: _uniform,
    Popularity: _popularity,
    Pool: _pool,
}


def union_of(model: ModelSpec, run: Run, *, seed: int) -> Union:
    """What is declared, for one run."""
    return Union(
        stock=run.stock,
        drawn={each.kind: _MADE[type(each)](each, run) for each in model.sources(Drawn)},
        in_batch=model.has_in_batch(),
        seed=seed,
        hard=HardItems.known(run.rows, run.stock) if model.hard() else None,
    )

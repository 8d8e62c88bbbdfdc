"""How a run goes over its slices: in order as an hour does, or shuffled as a night does."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa

from trainer.derived import ItemClicks
from trainer.epoch import Rows, home_first, in_order, shuffled, windows_of
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.negatives.union import Union
from trainer.positives import sampled
from trainer.rates import Rates, hourly_rates, nightly_rates
from trainer.run import Begun, OnStep
from trainer.slicing import Taken
from twintide.config import Deployment
from twintide.telemetry import get_log

log = get_log("trainer")

OnRows = Callable[[int, float], None]
"""Called after each step with clicks learnt and loss."""


def learn_in_order(
    deployment: Deployment,
    begun: Begun,
    taken: Iterable[Taken],
    on_step: OnStep | None,
    *,
    rows_to_come: Callable[[], int] = lambda: 0,
) -> list[float]:
    """Slice by slice, first click to last. What is in memory is one slice. `rows_to_come` says how
    many there are at most behind the one that is being learnt.
    """
    losses: list[float] = []
    learnt = 0
    for each in taken:
        to_learn = learnt + len(each.rows) + rows_to_come()
        table = begun.to_teach(each.rows)
        stock = _stock(begun, each.clicks_before, table)
        rows = _taught(begun, table, stock, name=f"slice {each.slice_.name}")
        counted = _counted(on_step, learnt, to_learn)
        losses += rows_in_order(deployment, begun.learner, rows, stock=stock, on_step=counted)
        learnt += len(each.rows)
        begun.has_learnt(each.slice_, table)
    return losses


def learn_shuffled(
    deployment: Deployment,
    begun: Begun,
    taken: list[Taken],
    *,
    day: date,
    seed: int,
    on_step: OnStep | None,
) -> list[float]:
    """Every click of the slices once, in an order given by the seed."""
    tables = [begun.to_teach(each.rows) for each in taken]
    table = pa.concat_tables(tables)
    stock = _stock(begun, taken[0].clicks_before, table)
    rows = _taught(begun, table, stock, name=f"day {day}")
    counted = _counted(on_step, 0, len(rows))
    losses = rows_shuffled(deployment, begun.learner, rows, seed=seed, stock=stock, on_step=counted)
    for each, one in zip(taken, tables, strict=True):
        begun.has_learnt(each.slice_, one)
    return losses


def _taught(begun: Begun, table: pa.Table, stock: Stock | None, *, name: str) -> Rows:
    """The rows of slices as often as they are to be learnt."""
    rows = sampled(begun.rows_of(table, name=name), begun.learner.model.spec, stock)
    begun.taught += len(rows)
    return rows


def _stock(begun: Begun, clicks_before: ItemClicks, table: pa.Table) -> Stock | None:
    """The catalogue while these rows are learnt, where the model draws from it or goes by it."""
    if not begun.learner.model.spec.needs_stock():
        return None
    return Stock.of(clicks_before, begun.state, table, listing=begun.listing)


def rows_in_order(
    deployment: Deployment,
    learner: Learner,
    rows: Rows,
    *,
    stock: Stock | None = None,
    on_step: OnRows,
) -> list[float]:
    """First click to last; the summed loss of each batch. A model that draws negatives from the
    catalogue needs `stock`.
    """
    seed, rates = deployment.training.seed, hourly_rates(deployment)
    windows = windows_of(rows, deployment.model)
    batches = in_order(len(rows), batch_rows=rates.batch_rows)
    order = [home_first(windows, batch) for batch in batches]
    union = learner.union_for(rows, order, stock, seed=seed)
    return _steps(learner, rows, order, rates, seed=seed, union=union, on_step=on_step)


def rows_shuffled(
    deployment: Deployment,
    learner: Learner,
    rows: Rows,
    *,
    seed: int,
    stock: Stock | None = None,
    on_step: OnRows,
) -> list[float]:
    """Every click once, in an order given by the seed; the summed loss of each batch. A model that
    draws negatives from the catalogue needs `stock`.
    """
    windows = windows_of(rows, deployment.model)
    rates = nightly_rates(deployment)
    order = shuffled(windows, batch_rows=rates.batch_rows, seed=seed)
    by_time = sorted(range(len(order)), key=lambda step: int(windows[order[step][0]]))
    union = learner.union_for(rows, order, stock, seed=seed)
    if union is None:
        log_q = learner.estimate_log_q(rows, (order[step] for step in by_time))
        rows = replace(rows, log_q=log_q)
    else:
        rows, union = learner.estimate_union(rows, order, by_time, union)
    learner.observe(rows)
    return _steps(learner, rows, order, rates, seed=seed, union=union, on_step=on_step)


def _steps(
    learner: Learner,
    rows: Rows,
    order: list[np.ndarray],
    rates: Rates,
    *,
    seed: int,
    union: Union | None,
    on_step: OnRows,
) -> list[float]:
    if union is not None and union.hard is not None and union.hard.left_out:
        log.info("hard_negatives_left_out", rows=rows.name, left_out=union.hard.left_out)
    learner.grow(rows, rates)
    losses: list[float] = []
    learnt = 0
    steps = learner.learn(rows, order, rates, seed=seed, union=union)
    for numbers, loss in zip(order, steps, strict=True):
        learnt += len(numbers)
        losses.append(loss * len(numbers))
        on_step(learnt, loss)
    return losses


def _counted(on_step: OnStep | None, before: int, to_learn: int) -> OnRows:
    def step(learnt: int, loss: float) -> None:
        if on_step:
            on_step(before + learnt, to_learn, loss)

    return step

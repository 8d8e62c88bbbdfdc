"""How a run goes over its slices: in order as an hour does, or shuffled as a night does."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa

from trainer.epoch import Rows, in_order, shuffled, windows_of
from trainer.learner import Learner
from trainer.rates import Rates, hourly_rates, nightly_rates
from trainer.run import Begun, OnStep
from twintide.config import Deployment
from twintide.slices import Slice


def learn_in_order(
    deployment: Deployment, begun: Begun, due: list[Slice], on_step: OnStep | None
) -> list[float]:
    """Slice by slice, first click to last. What is in memory is one slice."""
    config = deployment.training.hourly
    rates = hourly_rates(deployment)
    to_learn = sum(each.footer.rows for each in due)
    losses: list[float] = []
    learnt = 0
    for each in due:
        table = begun.to_learn(each)
        rows = Rows.of(table, deployment.model, name=f"slice {each.name}")
        order = list(in_order(len(rows), batch_rows=config.batch_rows))
        counted = _counted(on_step, learnt, to_learn)
        losses += _steps(
            begun.learner, rows, order, rates, seed=deployment.training.seed, on_step=counted
        )
        learnt += len(rows)
        begun.has_learnt(each, table)
    return losses


def learn_shuffled(
    deployment: Deployment,
    begun: Begun,
    due: list[Slice],
    *,
    day: date,
    seed: int,
    on_step: OnStep | None,
) -> list[float]:
    """Every click of the slices once, in an order given by the seed."""
    config = deployment.training.nightly
    tables = [begun.to_learn(each) for each in due]
    rows = Rows.of(pa.concat_tables(tables), deployment.model, name=f"day {day}")
    windows = windows_of(rows, deployment.model)
    order = shuffled(windows, batch_rows=config.batch_rows, seed=seed)
    by_time = sorted(order, key=lambda numbers: int(windows[numbers[0]]))
    log_q = begun.learner.estimate_log_q(rows, by_time)
    begun.learner.model.observe(rows.query, "query")
    begun.learner.model.observe(rows.candidate, "candidate")
    losses = _steps(
        begun.learner,
        replace(rows, log_q=log_q),
        order,
        nightly_rates(deployment),
        seed=seed,
        on_step=_counted(on_step, 0, len(rows)),
    )
    for table, each in zip(tables, due, strict=True):
        begun.has_learnt(each, table)
    return losses


def _steps(
    learner: Learner,
    rows: Rows,
    order: list[np.ndarray],
    rates: Rates,
    *,
    seed: int,
    on_step: Callable[[int, float], None],
) -> list[float]:
    learner.grow(rows.query, "query", rates)
    learner.grow(rows.candidate, "candidate", rates)
    losses: list[float] = []
    learnt = 0
    steps = learner.learn(rows, order, rates, seed=seed)
    for numbers, loss in zip(order, steps, strict=True):
        learnt += len(numbers)
        losses.append(loss * len(numbers))
        on_step(learnt, loss)
    return losses


def _counted(on_step: OnStep | None, before: int, to_learn: int) -> Callable[[int, float], None]:
    def step(learnt: int, loss: float) -> None:
        if on_step:
            on_step(before + learnt, to_learn, loss)

    return step

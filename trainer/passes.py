"""How a run goes over its slices: in order as an hour does, or shuffled as a night does."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainer import largeday
from trainer.epoch import Ints, Rows, beside, home_first, in_order, shuffled, windows_of
from trainer.gathered import Gathered
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.positives import sampled
from trainer.prepared import Prepared, prepared
from trainer.rates import Rates, hourly_rates, nightly_rates
from trainer.replayed import Replayed
from trainer.run import Begun, OnStep, newest_click
from trainer.saves import Saves, going_on
from trainer.slicing import Taken
from twintide.config import Deployment
from twintide.derived.clicks import ItemClicks
from twintide.scratch import scratch_folder
from twintide.slices import chain_dir
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
    replayed_from: int | None = None,
) -> list[float]:
    """Slice by slice, first click to last. What is in memory is one slice, and what of others is
    learnt again. `rows_to_come` says how many there are at most behind the one that is being
    learnt, `replayed_from` from which slice on the lineage learns again.
    """
    losses: list[float] = []
    learnt = 0
    replayed = _replayed(deployment, begun, since=replayed_from)
    for each in taken:
        to_learn = learnt + len(each.rows) + rows_to_come()
        table = begun.to_teach(each.rows)
        again = replayed.beside(each.slice_, len(table)) if replayed else None
        stock = _stock(begun, each.clicks_before, table)
        rows = _taught(begun, table, stock, name=f"slice {each.slice_.name}", again=again)
        counted = _counted(on_step, learnt, to_learn)
        losses += rows_in_order(deployment, begun.learner, rows, stock=stock, on_step=counted)
        learnt += len(each.rows)
        begun.has_learnt(each.slice_, len(table), newest_click(table))
        begun.replayed_from = replayed.oldest if replayed else None
    return losses


def _replayed(deployment: Deployment, begun: Begun, *, since: int | None) -> Replayed | None:
    declared = deployment.training.hourly.replay
    if declared is None:
        return None
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    seed = deployment.training.seed
    return Replayed(root, declared, seed=seed, since=since, to_teach=begun.to_teach)


def learn_shuffled(
    deployment: Deployment,
    begun: Begun,
    gathered: Gathered,
    *,
    day: date,
    seed: int,
    folder: Path,
    saves: Saves | None,
    on_step: OnStep | None,
) -> list[float]:
    """Every click of the slices once, in an order given by the seed. What does not fit into memory
    is spread over files in `folder`, which nobody else uses and which goes afterwards.

    Where `saves` has one of this epoch, the batches before it are passed over: what there is of
    them is in it.
    """
    losses, learnt, rates = list[float](), 0, nightly_rates(deployment, gathered.rows)
    save = saves.newest() if saves else None
    begun.learner.begin()
    with scratch_folder(folder) as scratch:
        for part in _parts(begun, gathered, rates, scratch, day=day, seed=seed):
            known = 0
            if save is not None:
                known = min(save.batches - len(losses), len(part.order))
                learnt += sum(map(len, part.order[:known]))
                losses = save.losses[: len(losses) + known]
            if known == len(part.order):
                begun.learner.has_learnt(part.rows)
                continue
            if save is not None:
                begun.learner, save = going_on(deployment, begun, save), None
                log.info("epoch_resumed", day=str(day), batches=len(losses), rows=learnt)
            steps = _steps(begun.learner, part, rates, seed=seed, first=known)
            for step, (rows, loss) in enumerate(steps, start=known + 1):
                learnt += rows
                losses.append(loss * rows)
                if on_step:
                    on_step(learnt, begun.taught, loss)
                if saves and step < len(part.order):  # behind the last, `learn` has more to do
                    saves.has_learnt(rows, losses, begun.learner)
    for each in gathered.slices:
        begun.has_learnt(each.slice_, each.rows, each.newest_at)
    return losses


def _parts(
    begun: Begun, gathered: Gathered, rates: Rates, scratch: Path, *, day: date, seed: int
) -> Iterator[Prepared]:
    """What an epoch consists of; all of it together is every row once."""
    name = f"day {day}"
    by_windows = begun.learner.model.spec.item_statistics() is not None
    shuffled = "by refresh window" if by_windows else "uniformly"
    log.info(
        "day_shuffled",
        day=str(day),
        rows=gathered.rows,
        shuffled=shuffled,
        within="memory" if gathered.fits else "files",
    )
    if not gathered.fits:
        yield from largeday.in_files(begun, gathered, rates, scratch, name=name, seed=seed)
        return
    table = pa.concat_tables(gathered.tables())
    stock = _stock(begun, gathered.clicks_before, table)
    rows = _taught(begun, table, stock, name=name)
    yield _whole(begun.learner, rows, rates, seed=seed, stock=stock)


def _taught(
    begun: Begun,
    table: pa.Table,
    stock: Stock | None,
    *,
    name: str,
    again: pa.Table | None = None,
) -> Rows:
    """Rows of slices as often as they are to be learnt, and behind them those to learn again."""
    if again is None:
        rows = begun.rows_of(table, name=name)
    else:
        rows = begun.rows_of(pa.concat_tables([table, again]), name=name)
        rows = replace(rows, replayed=np.arange(len(rows)) >= len(table))
    rows = sampled(rows, begun.learner.model.spec, stock)
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
    """First click to last, or as `training.hourly.order` says; the summed loss of each batch. A
    model that draws negatives from the catalogue needs `stock`.
    """
    seed, rates = deployment.training.seed, hourly_rates(deployment, len(rows))
    order = _batches(deployment, rows, batch_rows=rates.batch_rows)
    union = learner.union_for(rows, order, stock, seed=seed)
    learner.begin()
    learner.grow(rows, rates)
    steps = _steps(learner, Prepared(rows, order, union), rates, seed=seed)
    return _told(steps, on_step, new=(len(rows.new_among(numbers)) for numbers in order))


def _batches(deployment: Deployment, rows: Rows, *, batch_rows: int) -> list[Ints]:
    """Those of an hourly pass over these rows."""
    hourly, windows = deployment.training.hourly, windows_of(rows, deployment.model)
    if hourly.order == "shuffled" and len(rows):
        seed = (deployment.training.seed, int(rows.at_ms.max()))
        return shuffled(windows, batch_rows=batch_rows, seed=seed)
    if rows.replayed is None or hourly.replay is None:
        batches = in_order(len(rows), batch_rows=batch_rows)
    else:
        batches = beside(rows.replayed, batch_rows=batch_rows, share=hourly.replay.share)
    return [home_first(windows, batch) for batch in batches]


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
    rates = nightly_rates(deployment, len(rows))
    learner.begin()
    part = _whole(learner, rows, rates, seed=seed, stock=stock)
    steps = _steps(learner, part, rates, seed=seed)
    return _told(steps, on_step, new=map(len, part.order))


def _whole(
    learner: Learner, rows: Rows, rates: Rates, *, seed: int, stock: Stock | None
) -> Prepared:
    """An epoch whose rows are in memory."""
    part = prepared(
        learner, rows, batch_rows=rates.batch_rows, stock=stock, seed=seed, shuffle_seed=seed
    )
    learner.observe(rows)
    learner.grow(rows, rates)
    return part


def _steps(
    learner: Learner, part: Prepared, rates: Rates, *, seed: int, first: int = 0
) -> Iterator[tuple[int, float]]:
    """Learn the batches from number `first` on; rows and mean loss of each."""
    rows, order, union = part.rows, part.order, part.union
    if union is not None and union.hard is not None and union.hard.left_out:
        log.info("hard_negatives_left_out", rows=rows.name, left_out=union.hard.left_out)
    losses = learner.learn(rows, order, rates, seed=seed, union=union, first=first)
    for numbers, loss in zip(order[first:], losses, strict=True):
        yield len(numbers), loss


def _told(
    steps: Iterator[tuple[int, float]], on_step: OnRows, *, new: Iterable[int]
) -> list[float]:
    """Take these steps, tell of each, which have so many new rows; the summed loss of each."""
    losses, learnt = list[float](), 0
    for (rows, loss), own in zip(steps, new, strict=True):
        learnt += own
        losses.append(loss * rows)
        on_step(learnt, loss)
    return losses


def _counted(on_step: OnStep | None, before: int, to_learn: int) -> OnRows:
    def step(learnt: int, loss: float) -> None:
        if on_step:
            on_step(before + learnt, to_learn, loss)

    return step

"""How a run goes over its slices: in order as an hour does, or shuffled as a night does."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa

from trainer import largeday
from trainer.epoch import Rows, home_first, in_order, windows_of
from trainer.gathered import Gathered
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.positives import sampled
from trainer.prepared import Prepared, prepared
from trainer.rates import Rates, hourly_rates, nightly_rates
from trainer.run import Begun, OnStep, newest_click
from trainer.saves import Saves, going_on
from trainer.slicing import Taken
from twintide.config import Deployment
from twintide.derived.clicks import ItemClicks
from twintide.scratch import scratch_folder
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
        begun.has_learnt(each.slice_, len(table), newest_click(table))
    return losses


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
    losses, learnt, rates = list[float](), 0, nightly_rates(deployment)
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
    learner.begin()
    learner.grow(rows, rates)
    return _told(_steps(learner, Prepared(rows, order, union), rates, seed=seed), on_step)


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
    rates = nightly_rates(deployment)
    learner.begin()
    part = _whole(learner, rows, rates, seed=seed, stock=stock)
    return _told(_steps(learner, part, rates, seed=seed), on_step)


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


def _told(steps: Iterator[tuple[int, float]], on_step: OnRows) -> list[float]:
    """Take these steps, tell of each; the summed loss of each."""
    losses, learnt = list[float](), 0
    for rows, loss in steps:
        learnt += rows
        losses.append(loss * rows)
        on_step(learnt, loss)
    return losses


def _counted(on_step: OnStep | None, before: int, to_learn: int) -> OnRows:
    def step(learnt: int, loss: float) -> None:
        if on_step:
            on_step(before + learnt, to_learn, loss)

    return step

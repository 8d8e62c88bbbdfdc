"""Rows that are learnt together, shuffled, with all that is known of them before the first step."""

from dataclasses import dataclass, replace

from trainer.epoch import Ints, Rows, shuffled, windows_of
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.negatives.union import Union


@dataclass(frozen=True)
class Prepared:
    """What is learnt with nothing in between."""

    rows: Rows
    order: list[Ints]
    """Row numbers of each batch."""

    union: Union | None


def prepared(
    learner: Learner,
    rows: Rows,
    *,
    batch_rows: int,
    stock: Stock | None,
    seed: int,
    shuffle_seed: int | tuple[int, ...],
) -> Prepared:
    """Every row once, in an order given by `shuffle_seed`. Log Q is estimated in time order, as far
    as refresh windows say what that is. A model that draws negatives needs `stock`.
    """
    windows = windows_of(rows, learner.model.spec)
    order = shuffled(windows, batch_rows=batch_rows, seed=shuffle_seed)
    by_time = sorted(range(len(order)), key=lambda step: int(windows[order[step][0]]))
    union = learner.union_for(rows, order, stock, seed=seed)
    if union is None:
        log_q = learner.estimate_log_q(rows, (order[step] for step in by_time))
        return Prepared(replace(rows, log_q=log_q), order, None)
    rows, union = learner.estimate_union(rows, order, by_time, union)
    return Prepared(rows, order, union)

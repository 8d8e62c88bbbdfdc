"""Our learner as a contestant: ids to rows, log Q, a look at every loss and gradient included.

Its tables have a row for every user and item, as those of the peers do.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.peers.answering import THREADS, Contestant, Task, main
from benchmarks.train import Stream, keys_of_range, small_spec
from trainer.epoch import in_order
from trainer.learner import Learner
from trainer.rates import Rates

TABLES = ("user", "item")
AT_ONCE = 1_000_000


class Ours:
    """The learner, as a run of it learns."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(THREADS)
        spec, clicks = small_spec(), task.clicks
        rows = Stream(users=clicks.users, items=clicks.items).rows()
        self._rows = replace(
            rows,
            query={each.name: rows.query[each.name] for each in spec.query},
            candidate={each.name: rows.candidate[each.name] for each in spec.candidate},
        )
        self._order = list(in_order(len(rows), batch_rows=task.batch_rows))
        self._is_nightly = task.is_nightly
        dense = 1e-3 if task.is_nightly else None
        self._rates = Rates(TABLES, 0.1, dense, task.batch_rows)
        self._learner = Learner.untrained(spec, seed=1)
        for table, count in (("user", clicks.users), ("item", clicks.items)):
            self._fill(table, count)

    def _fill(self, table: str, count: int) -> None:
        keys = keys_of_range(count)
        for begin in range(0, count, AT_ONCE):
            some = keys[begin : begin + AT_ONCE]
            self._learner.model.tables[table].sight(some, np.zeros(len(some), np.int64))

    def learn(self) -> Sequence[float]:
        """Before an epoch log Q is estimated, in an hourly pass it is as it goes."""
        learner, rows = self._learner, self._rows
        log_q = learner.estimate_log_q(rows, self._order) if self._is_nightly else None
        return list(learner.learn(replace(rows, log_q=log_q), self._order, self._rates, seed=1))


made: Callable[[Task], Contestant] = Ours

if __name__ == "__main__":
    main(made, {"torch": torch.__version__})

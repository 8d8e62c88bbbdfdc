"""What all declared sources bring to a batch, and how probable each column was: Q of the union.

An item is one column, whoever brought it. Sources draw independently, so it is missing where each
of them misses it: Q = 1 − Π (1 − Q of the source), whichever of them brought it this time.
"""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from trainer.epoch import Added, Batch, Floats, Rows
from trainer.negatives.hard import HardItems
from trainer.negatives.source import Doubles, Draws
from trainer.negatives.stock import Ints, Moment, Stock
from twintide.keys import Keys
from twintide.ragged import joined

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Union:
    """What is declared, ready to be drawn from for the batches of one run."""

    stock: Stock
    drawn: dict[str, Draws]
    """Sources that bring columns, by kind."""

    in_batch: bool
    """Whether the items of a batch's other clicks are negatives too."""

    seed: int

    log_q: dict[int, Floats] = field(default_factory=dict)
    """By step: log probability that the item of each column that is brought is in the batch as some
    click's, where it was estimated beforehand.
    """

    hard: HardItems | None = None

    def brought(self, rows: Rows, step: int, numbers: Ints) -> Keys:
        """The items of the columns that join the clicks' own at a step."""
        own = self.stock.rows_of(np.unique(rows.item_keys[numbers]))
        drawn = self._drawn(rows, numbers, self.stock.moment(rows, numbers, step))
        return self.stock.keys_of(np.setdiff1d(self._joining(drawn, numbers), own))

    def batch(self, rows: Rows, step: int, numbers: Ints) -> Batch:
        """These clicks as one step, with the columns that join their own."""
        batch, moment = rows.batch(numbers), self.stock.moment(rows, numbers, step)
        own = self.stock.rows_of(batch.item_keys)
        drawn = self._drawn(rows, numbers, moment)
        others = np.setdiff1d(self._joining(drawn, numbers), own)
        columns = np.concatenate((own, others))
        is_open = np.isin(columns, drawn)
        if self.in_batch:
            is_open[: len(own)] = True
        return replace(
            batch,
            candidate=joined(batch.candidate, self.stock.features(others, moment)),
            item_keys=np.concatenate((batch.item_keys, self.stock.keys_of(others))),
            added=Added(
                first=len(own),
                log_missed=self._log_missed(columns, moment),
                in_batch=self.in_batch,
                open=None if is_open.all() else is_open,
                hard=None if self.hard is None else self.hard.among(columns, numbers),
                log_q=self.log_q.get(step),
            ),
        )

    def _joining(self, drawn: Ints, numbers: Ints) -> Ints:
        """Items that are to have a column, drawn or somebody's hard negatives."""
        return drawn if self.hard is None else np.union1d(drawn, self.hard.of(numbers))

    def _drawn(self, rows: Rows, numbers: Ints, moment: Moment) -> Ints:
        """Distinct items, as rows of the catalogue."""
        where = rows.events[numbers]
        drawn = [each.draw(moment, self._generator(kind, where)) for kind, each in self._each()]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *drawn]))

    def _each(self) -> list[tuple[str, Draws]]:
        return sorted(self.drawn.items())

    def _generator(self, kind: str, events: Keys) -> np.random.Generator:
        """A function of the run's seed and of where the batch's clicks lie in the log: whoever
        learns them again draws the same.
        """
        said = f"{self.seed} {kind} ".encode() + events.tobytes()
        seed = int.from_bytes(hashlib.blake2b(said, digest_size=16).digest(), "little")
        return np.random.default_rng(seed)

    def _log_missed(self, columns: Ints, moment: Moment) -> Doubles:
        missed = np.zeros(len(columns))
        for _, each in self._each():
            missed += each.log_missed(columns, moment)
        return missed


def log_q_of(added: Added, in_batch: Floats) -> Floats:
    """float32 [U]: log probability that each column is in the batch by one source or the other.

    `in_batch` [U]: log probability that it is there as the item of some click. What no source can
    have brought (somebody's hard negative, or own item) is not there by chance: 0.
    """
    missed = added.log_missed.copy()
    with np.errstate(divide="ignore"):
        if added.in_batch:
            missed += np.log1p(-np.exp(np.minimum(in_batch.astype(np.float64), 0.0)))
        found = np.where(missed < 0, np.log(-np.expm1(missed)), 0.0)
    return found.astype(np.float32)

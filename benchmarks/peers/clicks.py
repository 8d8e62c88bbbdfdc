"""The clicks that every contestant learns, as rows of tables, in one file.

This runs in the environments of others too: it needs numpy alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Consecutive clicks. B clicks, N items of histories, S statistics."""

    user: Ints
    item: Ints
    history: Ints
    """[N]: those of click b are the ones from offsets[b] to offsets[b + 1]."""

    offsets: Ints
    statistics: Floats
    """[B, S], of the item."""

    log_q: Floats
    """[B]: log probability that a click is of this item, as if it were known."""


@dataclass(frozen=True)
class Clicks:
    """All clicks of the benchmark, in order. I items of the catalogue."""

    size: Ints
    """How many users and how many items there are."""

    user: Ints
    item: Ints
    history: Ints
    offsets: Ints
    statistics: Floats
    """[I, S]"""

    log_q: Floats
    """[I]"""

    @property
    def users(self) -> int:
        """Rows of the users' table."""
        return int(self.size[0])

    @property
    def items(self) -> int:
        """Rows of the items' table."""
        return int(self.size[1])

    def save(self, path: Path) -> None:
        np.savez(path, **{each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Clicks":
        with np.load(path) as arrays:
            return cls(**{each.name: arrays[each.name] for each in fields(cls)})

    def batches(self, batch_rows: int) -> Iterator[Batch]:
        """In order; the last one may be smaller."""
        for begin in range(0, len(self.user), batch_rows):
            item = self.item[begin : begin + batch_rows]
            offsets = self.offsets[begin : begin + batch_rows + 1]
            yield Batch(
                user=self.user[begin : begin + batch_rows],
                item=item,
                history=self.history[offsets[0] : offsets[-1]],
                offsets=offsets - offsets[0],
                statistics=self.statistics[item],
                log_q=self.log_q[item],
            )

"""Rows of the last hours that an hourly pass learns again, beside new ones, against forgetting.

Which ones is a function of the chain of slices, the declaration and the seed: of the slices before
the one that is learnt, back for some hours, so many rows are drawn, each as probable as the other.
Only slices of which a row was drawn are read. They are marked in `Rows.replayed`, and count as
nothing that is new.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainer.epoch import Ints
from twintide.config import ReplayConfig
from twintide.errors import Refused
from twintide.recentslices import slices_of_hours
from twintide.slices import Slice

_SALT = 0x5EEDA6A1


class Replayed:
    """What there is to be learnt again, along the chain."""

    def __init__(
        self,
        root: Path,
        declared: ReplayConfig,
        *,
        seed: int,
        since: int | None,
        to_teach: Callable[[pa.Table], pa.Table],
    ) -> None:
        """`since`: number of the oldest slice to draw from, where a lineage says it; None: as far
        back as there are slices. `to_teach` takes away what is left out.
        """
        self._root = root
        self._declared = declared
        self._seed = seed
        self._since = since
        self._to_teach = to_teach
        self.oldest: int | None = None
        """Number of the oldest slice that rows could be drawn from so far, or of the first that
        was learnt; None before that.
        """

    def beside(self, new: Slice, rows: int) -> pa.Table | None:
        """Rows to learn again beside so many new ones of a slice, in the order of a lot; None where
        there are none. Raises Refused where slices are gone that the lineage draws from.
        """
        recent = self._before(new.footer.sequence)
        share = self._declared.share
        ends = np.cumsum([each.footer.rows for each in recent])
        total = int(ends[-1]) if recent else 0
        wanted = min(round(rows * share / (1.0 - share)), total)
        if not wanted:
            return None
        generator = np.random.default_rng((self._seed, _SALT, new.footer.sequence))
        drawn = np.sort(generator.choice(total, wanted, replace=False, shuffle=False))
        table = self._to_teach(_read(recent, ends, drawn))
        return table.take(generator.permutation(len(table)))

    def _before(self, number: int) -> list[Slice]:
        """Slices of the hours before that one."""
        found = slices_of_hours(self._root, before=number, hours=self._declared.hours)
        if self._since is not None:
            found = [each for each in found if each.footer.sequence >= self._since]
        first = found[0].footer.sequence if found else number
        if self.oldest is None and self._since not in {None, first}:
            raise Refused(
                f"rows were drawn from slice {self._since:08d} on, to be learnt again, and it is "
                f"not below {self._root}",
                hint="a training run makes slices anew from the shards, where these are there",
            )
        self.oldest = first if self.oldest is None else self.oldest
        return found


def _read(slices: list[Slice], ends: Ints, drawn: Ints) -> pa.Table:
    """The rows with these numbers, counted over all slices."""
    of_slice = np.searchsorted(ends, drawn, side="right")
    tables = []
    for place in np.unique(of_slice).tolist():
        first = int(ends[place]) - slices[place].footer.rows
        tables.append(slices[place].read().take(drawn[of_slice == place] - first))
    return pa.concat_tables(tables)

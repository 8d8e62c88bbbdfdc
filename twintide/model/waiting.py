"""Ids that a table does not know yet: how often each was seen, until it has earned a row.

An id is admitted in an hour that sees it, once hours before have seen it often enough. So who has a
row at the end of an hour follows from the log, however many runs the hour was learnt in.
"""

import numpy as np

from twintide.keyedrows import KEYS, KeyedRows
from twintide.keys import Keys
from twintide.rowstore import Column, RowNumbers, RowStore

COLUMNS = {
    KEYS: Column(np.uint64),
    "sightings": Column(np.int64),
    "earned": Column(np.int64),
    "seen": Column(np.int64),
}
"""How often it was seen; in which hour that was enough, 0 before; on which day it was seen last.
Row 0 holds the newest day.
"""

DAYS = 7
"""After which an id that is seen no more is forgotten, where no row of its table ever is."""


class Waiting:
    """Ids, and what they lack."""

    def __init__(self, store: RowStore | None = None, index: RowStore | None = None) -> None:
        self.rows = KeyedRows(RowStore.empty(COLUMNS) if store is None else store, index)

    def begin_day(self, day: int, *, days: int | None) -> None:
        """Forget, once a day, who was not seen for so many days."""
        store = self.rows.store
        top = np.zeros(1, np.int64)
        if day <= int(store.at(top)["seen"][0]):
            return
        columns = store.columns()
        gone = (columns[KEYS] != 0) & (columns["seen"] < day - (days or DAYS))
        self.rows.remove(np.flatnonzero(gone))
        store.touch(top)["seen"][0] = day

    def sight(self, keys: Keys, counts: RowNumbers, *, hour: int, enough: int) -> Keys:
        """See these keys, which are distinct, so often in an hour; returns those that have earned a
        row in hours before, in their order.
        """
        rows = self.rows.rows_of(keys)
        new = rows == 0
        rows[new] = self.rows.give(keys[new])
        columns = self.rows.store.touch(rows)
        earned = columns["earned"][rows]
        columns["sightings"][rows] += counts
        columns["seen"][rows] = np.maximum(columns["seen"][rows], hour // 24)
        columns["earned"][rows] = np.where(
            (earned == 0) & (columns["sightings"][rows] >= enough), hour, earned
        )
        admitted: Keys = keys[(earned != 0) & (earned < hour)]
        return admitted

    def leave(self, keys: Keys) -> None:
        """Let these go: they have their row."""
        self.rows.remove(np.sort(self.rows.rows_of(keys)))

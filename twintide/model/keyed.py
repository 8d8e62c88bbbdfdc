"""Rows that ids come to and leave: a store of rows with the vocabulary that finds them.

Row 0 belongs to no id. An id that leaves gives back its row with all that stood in it, and the
lowest free row is the next one's, so that who has which row follows from who came and left when.
"""

import numpy as np

from twintide.keys import NO_KEY, Keys
from twintide.model.vocabulary import Vocabulary
from twintide.rowstore import RowNumbers, RowStore

KEYS = "keys"
"""The column that says whose a row is."""


class KeyedRows:
    """A store with a column of keys; a row without one is free."""

    def __init__(self, store: RowStore, index: RowStore | None = None) -> None:
        """`index`: the slots of its vocabulary; without, they are made of the keys."""
        self.store = store
        if not len(store):
            store.grow(1)
        self._vocabulary = Vocabulary.of(store[KEYS]) if index is None else Vocabulary(index)
        self._free: RowNumbers | None = None

    def __len__(self) -> int:
        """How many ids have a row."""
        return len(self._vocabulary)

    @property
    def index(self) -> RowStore:
        """The slots of its vocabulary."""
        return self._vocabulary.store

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for one that has none."""
        return self._vocabulary.rows_of(keys)

    def new_among(self, keys: Keys) -> Keys:
        """Keys without a row, each once, in the order of their first appearance."""
        return self._vocabulary.new_among(keys)

    def add(self, keys: Keys) -> RowNumbers:
        """Give a row of zeros to each of these keys, which are distinct and have none."""
        if not len(keys):
            return np.zeros(0, np.int64)
        free = self._free_rows()
        again, self._free = free[: len(keys)], free[len(keys) :]
        first = self.store.grow(len(keys) - len(again))
        rows = np.concatenate((again, np.arange(first, len(self.store))))
        self._vocabulary.insert(keys, rows)
        self.store.touch(rows)[KEYS][rows] = keys
        return rows

    def remove(self, rows: RowNumbers) -> None:
        """Take these rows from their ids, which are then unknown."""
        if not len(rows):
            return
        free = self._free_rows()
        columns = self.store.touch(rows)
        self._vocabulary.remove(columns[KEYS][rows])
        for column in columns.values():
            column[rows] = 0
        self._free = np.union1d(free, rows)

    def _free_rows(self) -> RowNumbers:
        if self._free is None:
            has_free = len(self) < len(self.store) - 1
            keys = self.store[KEYS][1:] if has_free else np.ones(0, np.uint64)
            self._free = np.flatnonzero(keys == NO_KEY) + 1
        return self._free

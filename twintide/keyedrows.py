"""Which row is whose: users or items by key, numbered from 1 in the order in which they came.

Row 0 is nobody's. Others hold what they know of each by these rows.
"""

import numpy as np

from twintide.keys import NO_KEY, Keys
from twintide.model.vocabulary import Vocabulary
from twintide.rowstore import Column, RowNumbers, RowStore


class KeyedRows:
    """Key -> row, and row -> key; it grows."""

    def __init__(self) -> None:
        self._vocabulary = Vocabulary()
        self._rows = RowStore.empty({"key": Column(np.uint64)})
        self._rows.grow(1)

    @classmethod
    def of(cls, keys: Keys) -> "KeyedRows":
        """Of distinct keys, from row 1 on. None of the rows counts as touched."""
        made = cls()
        made._rows.grow(len(keys))
        made._rows["key"][1:] = keys
        made._rows.saved()
        made._vocabulary = Vocabulary.of(made._rows["key"])
        return made

    def __len__(self) -> int:
        """Rows, that of nobody included."""
        return len(self._rows)

    @property
    def keys(self) -> Keys:
        """uint64 [rows]: NO_KEY first."""
        found: Keys = self._rows["key"]
        return found

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for one that has none."""
        return self._vocabulary.rows_of(keys)

    def add(self, keys: Keys) -> int:
        """Give a row to each key that has none, in order of appearance; returns how many are new.
        NO_KEY gets none.
        """
        new = self._vocabulary.new_among(keys[keys != NO_KEY])
        first = self._rows.grow(len(new))
        self._rows["key"][first:] = new
        self._vocabulary.insert(new, np.arange(first, first + len(new)))
        return len(new)

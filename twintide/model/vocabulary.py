"""How an id becomes a row: key -> row number of an embedding table.

Open addressing with linear probing over numpy arrays, all keys of a batch in step. Row 0 is the
default row of ids that the table does not know. A row is given at the first sighting and kept.
"""

import numpy as np

from twintide.keys import NO_KEY, Keys
from twintide.rowstore import RowNumbers

DEFAULT_ROW = 0


class Vocabulary:
    """Key -> row, growing. `keys[row]` is the key of a row; row 0 belongs to no key."""

    def __init__(self, keys: Keys | None = None) -> None:
        """With `keys`: a saved vocabulary, in row order, row 0 included."""
        self._keys = np.zeros(1, np.uint64) if keys is None else np.array(keys, np.uint64)
        self._size = len(self._keys)
        self._rebuild(self._size)

    def __len__(self) -> int:
        """Number of rows, the default row included."""
        return self._size

    @property
    def keys(self) -> Keys:
        """uint64 [rows]: the key of each row, in row order."""
        return self._keys[: self._size]

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for a key that the table does not know."""
        found = np.zeros(len(keys), np.int64)
        slots = (keys & self._mask).astype(np.int64)
        pending = np.arange(len(keys))
        while len(pending):
            rows = self._slots[slots]
            wanted = keys[pending]
            hit = (self._keys[rows] == wanted) & (rows != DEFAULT_ROW)
            found[pending[hit]] = rows[hit]
            onward = ~hit & (rows != DEFAULT_ROW)
            pending = pending[onward]
            slots = (slots[onward] + 1) & int(self._mask)
        return found

    def add(self, keys: Keys) -> RowNumbers:
        """Give a row to each key that has none, in order of appearance; returns the new rows."""
        unknown = keys[(self.rows_of(keys) == DEFAULT_ROW) & (keys != NO_KEY)]
        if not len(unknown):
            return np.zeros(0, np.int64)
        distinct, first_seen_at = np.unique(unknown, return_index=True)
        new = distinct[np.argsort(first_seen_at)]
        rows = np.arange(self._size, self._size + len(new))
        self._append(new)
        if 2 * self._size > len(self._slots):
            self._rebuild(self._size)
        else:
            self._insert(rows)
        return rows

    def _append(self, new: Keys) -> None:
        needed = self._size + len(new)
        if needed > len(self._keys):
            self._keys = np.concatenate((self._keys, np.zeros(max(needed, 1024), np.uint64)))
        self._keys[self._size : needed] = new
        self._size = needed

    def _rebuild(self, rows: int) -> None:
        """Slots for four times the rows: ids may double at least once until the next rebuild."""
        self._slots = np.zeros(1 << max(10, (4 * rows - 1).bit_length()), np.int64)
        self._mask = np.uint64(len(self._slots) - 1)
        self._insert(np.arange(1, rows))

    def _insert(self, rows: RowNumbers) -> None:
        slots = (self._keys[rows] & self._mask).astype(np.int64)
        while len(rows):
            free = self._slots[slots] == DEFAULT_ROW
            self._slots[slots[free]] = rows[free]  # of several, the last one written has the slot
            onward = self._slots[slots] != rows
            rows = rows[onward]
            slots = (slots[onward] + 1) & int(self._mask)

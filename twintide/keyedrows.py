"""Which row is whose: a store of rows with the vocabulary that finds them by key.

Row 0 is nobody's. A key that leaves gives back its row with all that stood in it, and the lowest
free row is the next one's, so that who has which row follows from who came and left when; where
none leaves, rows are numbered in the order in which keys came.
"""

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt
from twintide.freerows import FreeRows
from twintide.keys import NO_KEY, Keys
from twintide.model.vocabulary import Vocabulary
from twintide.rowstore import INDEX, Column, Parts, RowNumbers, RowStore

KEYS = "keys"
"""The column that says whose a row is."""

FREE = ".free"
"""How the name of a store ends that says which rows of another one are free."""


class KeyedRows:
    """A store with a column of keys; a row without one is free."""

    def __init__(
        self,
        store: RowStore | None = None,
        index: RowStore | None = None,
        free: RowStore | None = None,
    ) -> None:
        """`store`: without, one of keys alone; `index`: the slots of its vocabulary, `free`: which
        rows are; without, they are made of the keys.
        """
        self.store = RowStore.empty({KEYS: Column(np.uint64)}) if store is None else store
        if not len(self.store):
            self.store.grow(1)
        self._vocabulary = Vocabulary.of(self.store[KEYS]) if index is None else Vocabulary(index)
        self._free = None if free is None else FreeRows(free)

    @classmethod
    def of(cls, keys: Keys) -> "KeyedRows":
        """Of distinct keys, from row 1 on. None of the rows counts as touched."""
        return cls(RowStore.of({KEYS: np.concatenate(([NO_KEY], keys))}))

    @classmethod
    def in_parts(cls, parts: Parts, name: str) -> "KeyedRows":
        """Those of a checkpoint: they go on in its stores. Raises Corrupt where they are missing or
        have no keys.
        """
        store, index = parts.store_of(name), parts.store_of(name + INDEX)
        keys = store.at(slice(0)).get(KEYS)
        if not len(store) or keys is None or keys.dtype != np.uint64:
            raise Corrupt(f"{name} are no rows with keys")
        return cls(store, index, parts.stores.get(name + FREE))

    def __len__(self) -> int:
        """Rows, that of nobody and free ones included."""
        return len(self.store)

    @property
    def taken(self) -> int:
        """How many keys have a row."""
        return len(self._vocabulary)

    @property
    def keys(self) -> Keys:
        """uint64 [rows]: whose each is; NO_KEY first, and for free ones."""
        found: Keys = self.store[KEYS]
        return found

    @property
    def index(self) -> RowStore:
        """The slots of its vocabulary."""
        return self._vocabulary.store

    @property
    def free(self) -> RowStore:
        """Which rows are free, as a checkpoint has it."""
        return self._free_rows().words

    def has_key(self) -> npt.NDArray[np.bool_]:
        """[rows]: whether a row is somebody's."""
        found: npt.NDArray[np.bool_] = self.keys != NO_KEY
        return found

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for one that has none."""
        return self._vocabulary.rows_of(keys)

    def new_among(self, keys: Keys) -> Keys:
        """Keys without a row, each once, in the order of their first appearance. NO_KEY is none."""
        return self._vocabulary.new_among(keys)

    def add(self, keys: Keys) -> int:
        """Give a row to each key that has none, in order of appearance; returns how many are new.
        NO_KEY gets none.
        """
        return len(self.give(self.new_among(keys)))

    def give(self, keys: Keys) -> RowNumbers:
        """Give a row of zeros to each of these keys, which are distinct and have none."""
        if not len(keys):
            return np.zeros(0, np.int64)
        again = self._free_rows().take(len(keys))
        first = self.store.grow(len(keys) - len(again))
        rows = np.concatenate((again, np.arange(first, len(self.store))))
        self._vocabulary.insert(keys, rows)
        self.store.touch(rows)[KEYS][rows] = keys
        return rows

    def remove(self, rows: RowNumbers) -> None:
        """Take these rows from their keys, which are then unknown."""
        if not len(rows):
            return
        free = self._free_rows()  # as they were before
        columns = self.store.touch(rows)
        self._vocabulary.remove(columns[KEYS][rows])
        for column in columns.values():
            column[rows] = 0
        free.add(rows)

    def _free_rows(self) -> FreeRows:
        if self._free is None:
            has_free = self.taken < len(self.store) - 1
            keys = self.store[KEYS][1:] if has_free else np.ones(0, np.uint64)
            self._free = FreeRows.of(np.flatnonzero(keys == NO_KEY) + 1)
        return self._free

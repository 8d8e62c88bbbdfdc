"""How an id becomes a row: key -> row number of an embedding table.

Open addressing with linear probing, all keys of a batch in step. A slot holds a key beside its row,
so that one look finds both. The slots lie in a store of rows, which a checkpoint saves as all
others: a start neither reads nor makes what nobody asks for. Row 0 is the default row of ids that
the table does not know.
"""

import numpy as np

from twintide.errors import Corrupt
from twintide.keys import NO_KEY, Keys
from twintide.rowstore import Column, RowNumbers, RowStore

DEFAULT_ROW = 0
PAIRS = "pairs"
"""uint64 [slots + 1, 2]: key and row; row 0 where a slot is free, `_LEFT` where it was. Behind the
slots stand how many are not free, and how many are taken.
"""

_LEFT = np.uint64(2**64 - 1)
_FEWEST = 1024
_AT_ONCE = 1 << 15
"""Keys of a step, so that what it computes with stays near the processor."""

_FULL = 5 / 8
"""Share of the slots from which on there are twice as many: probes are short below it."""


class Vocabulary:
    """Key -> row. Whose row is whose is the table's to say."""

    def __init__(self, slots: RowStore | None = None) -> None:
        """With `slots`: saved ones. Raises Corrupt where they are none."""
        self._slots = _no_slots(_FEWEST) if slots is None else slots
        count = len(self._slots) - 1
        pairs = self._slots.at(slice(0)).get(PAIRS)
        if pairs is None or pairs.dtype != np.uint64 or pairs.shape[1:] != (2,):
            raise Corrupt("the slots of a vocabulary are not pairs of key and row")
        if count < 1 or count & (count - 1):
            raise Corrupt(f"a vocabulary has {count} slots, which is no power of two")

    @classmethod
    def of(cls, keys: Keys) -> "Vocabulary":
        """Of keys in the order of their rows, where a row without an id has none."""
        made = cls()
        rows = np.flatnonzero(keys != NO_KEY)
        made.insert(keys[rows], rows)
        return made

    @property
    def store(self) -> RowStore:
        """Its slots."""
        return self._slots

    def __len__(self) -> int:
        """How many ids it knows."""
        return self._counts()[1]

    def rows_of(self, keys: Keys) -> RowNumbers:
        """int64 [n]: the row of each key, 0 for a key that it does not know."""
        parts = range(0, len(keys), _AT_ONCE)
        found = [self._found(keys[begin : begin + _AT_ONCE])[1] for begin in parts]
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.int64), *found])

    def _found(self, keys: Keys) -> tuple[RowNumbers, RowNumbers]:
        """The slot where the search for each key ended, and its row."""
        slots = self._first_slots(keys)
        pairs = self._slots.at(slots)[PAIRS].take(slots, axis=0)
        rows = pairs[:, 1].astype(np.int64)
        pending = np.flatnonzero((pairs[:, 0] != keys) & (rows != DEFAULT_ROW))
        wanted, slots_there = keys[pending], slots[pending]
        for _ in range(len(self._slots)):
            if not len(pending):
                rows[keys == NO_KEY] = DEFAULT_ROW
                return slots, rows
            slots_there = self._next(slots_there)
            pairs = self._slots.at(slots_there)[PAIRS].take(slots_there, axis=0)
            there = pairs[:, 1].astype(np.int64)
            rows[pending], slots[pending] = there, slots_there
            goes_on = (pairs[:, 0] != wanted) & (there != DEFAULT_ROW)
            pending, wanted = pending[goes_on], wanted[goes_on]
            slots_there = slots_there[goes_on]
        raise Corrupt("no slot of a vocabulary is free, so that a search has no end")

    def new_among(self, keys: Keys) -> Keys:
        """Keys that it does not know, each once, in the order of their first appearance."""
        unknown = keys[(self.rows_of(keys) == DEFAULT_ROW) & (keys != NO_KEY)]
        distinct, first_seen_at = np.unique(unknown, return_index=True)
        return distinct[np.argsort(first_seen_at)]

    def insert(self, keys: Keys, rows: RowNumbers) -> None:
        """Know these keys, which are distinct and new, by these rows."""
        if not len(keys):
            return
        used, taken = self._counts()
        if used + len(keys) > _FULL * (len(self._slots) - 1):
            self._remake(taken + len(keys))
        self._put(keys, rows)

    def remove(self, keys: Keys) -> None:
        """Know these keys, each of which it knows, no more."""
        slots, _ = self._found(keys)
        self._slots.touch(slots)[PAIRS][slots] = (NO_KEY, _LEFT)
        used, taken = self._counts()
        self._count(used, taken - len(keys))

    def _put(self, keys: Keys, rows: RowNumbers) -> None:
        """Each into the first slot that is not taken; of several that want one, the last has it."""
        used, taken = self._counts()
        self._count(used, taken + len(keys))
        slots, numbers = self._first_slots(keys), rows.astype(np.uint64)
        while len(keys):
            pairs = self._slots.touch(slots)[PAIRS]
            before = pairs[slots, 1]
            is_open = (before == DEFAULT_ROW) | (before == _LEFT)
            pairs[slots[is_open], 1] = numbers[is_open]
            is_mine = is_open & (pairs[slots, 1] == numbers)
            pairs[slots[is_mine], 0] = keys[is_mine]
            used += int(np.count_nonzero(before[is_mine] == DEFAULT_ROW))
            keys, numbers = keys[~is_mine], numbers[~is_mine]
            slots = self._next(slots[~is_mine])
        self._count(used, self._counts()[1])

    def _remake(self, ids: int) -> None:
        """Slots for so many ids, and a half more until the next time; without those that were left
        behind.
        """
        pairs = self._slots[PAIRS][:-1]
        pairs = pairs[(pairs[:, 1] != DEFAULT_ROW) & (pairs[:, 1] != _LEFT)]
        wanted = int(1.5 * ids / _FULL)
        self._slots = _no_slots(max(_FEWEST, 1 << (wanted - 1).bit_length()))
        self._put(pairs[:, 0], pairs[:, 1].astype(np.int64))

    def _first_slots(self, keys: Keys) -> RowNumbers:
        return (keys & np.uint64(len(self._slots) - 2)).astype(np.int64)

    def _next(self, slots: RowNumbers) -> RowNumbers:
        return (slots + 1) & (len(self._slots) - 2)

    def _counts(self) -> tuple[int, int]:
        last = np.array([len(self._slots) - 1])
        used, taken = self._slots.at(last)[PAIRS][last[0]].tolist()
        return used, taken

    def _count(self, used: int, taken: int) -> None:
        last = np.array([len(self._slots) - 1])
        self._slots.touch(last)[PAIRS][last[0]] = (used, taken)


def _no_slots(count: int) -> RowStore:
    store = RowStore.empty({PAIRS: Column(np.uint64, (2,))})
    store.grow(count + 1)
    return store

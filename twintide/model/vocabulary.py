"""How an id becomes a row: key -> row number of an embedding table.

Open addressing with linear probing, all keys of a batch in step. A slot holds a key beside its row,
so that one look finds both. Of two keys that want one slot, that of the lower row has it: so where
a key lies follows from who has which row, and not from when or with whom it came. The slots lie in
a store of rows, which a checkpoint saves as all others: a start neither reads nor makes what nobody
asks for. Row 0 is the default row of ids that the table does not know.
"""

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt
from twintide.keys import NO_KEY, Keys
from twintide.rowstore import Column, RowNumbers, RowStore

DEFAULT_ROW = 0
PAIRS = "pairs"
"""uint64 [slots + 1, 2]: key and row; row 0 where a slot is free. Behind the slots stands how many
are taken, twice: older programs left slots that were neither free nor taken, and counted them too.
"""

_LEFT = np.uint64(2**64 - 1)
_FEWEST = 1024
_FEW = 64
"""Keys that a request looks up at once, at most about so many."""

_AT_ONCE = 1 << 15
"""Keys of a step, so that what it computes with stays near the processor."""

_SOME = 4096
"""Slots that are looked at for some key or other."""

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
        used, taken = self._counts()
        if used != taken:
            self._remake(taken)

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
        if len(keys) == 1:
            return np.array([self.row_of(int(keys[0]))], np.int64)
        if len(keys) <= _FEW and (rows := self._rows_of_few(keys)) is not None:
            return rows
        parts = range(0, len(keys), _AT_ONCE)
        found = [self._found(keys[begin : begin + _AT_ONCE])[1] for begin in parts]
        return found[0] if len(found) == 1 else np.concatenate([np.zeros(0, np.int64), *found])

    def row_of(self, key: int) -> int:
        """The same of one key, as requests ask, in a third of the time."""
        if key == NO_KEY:
            return DEFAULT_ROW
        last = len(self._slots) - 2
        slot = key & last
        for _ in range(last + 1):
            there, row = self._slots.one(PAIRS, slot)
            if there == key or row == DEFAULT_ROW:
                return int(row)
            slot = (slot + 1) & last
        raise _without_end()

    def _rows_of_few(self, keys: Keys) -> RowNumbers | None:
        """The same of a few keys, in half the time, where each is in its own slot or not there;
        None where one is not.
        """
        slots = self._first_slots(keys)
        pairs = self._slots.take(PAIRS, slots).tolist()
        rows = []
        for (there, row), key in zip(pairs, keys.tolist(), strict=True):
            if there != key and row != DEFAULT_ROW:
                return None
            rows.append(row)
        return np.array(rows, np.int64)

    def _found(self, keys: Keys) -> tuple[RowNumbers, RowNumbers]:
        """The slot where the search for each key ended, and its row."""
        slots = self._first_slots(keys)
        pairs = self._slots.take(PAIRS, slots)
        rows = pairs[:, 1].astype(np.int64)
        pending = np.flatnonzero((pairs[:, 0] != keys) & (rows != DEFAULT_ROW))
        wanted, slots_there = keys[pending], slots[pending]
        for _ in range(len(self._slots)):
            if not len(pending):
                rows[keys == NO_KEY] = DEFAULT_ROW
                return slots, rows
            slots_there = self._next(slots_there)
            pairs = self._slots.take(PAIRS, slots_there)
            there = pairs[:, 1].astype(np.int64)
            rows[pending], slots[pending] = there, slots_there
            goes_on = (pairs[:, 0] != wanted) & (there != DEFAULT_ROW)
            pending, wanted = pending[goes_on], wanted[goes_on]
            slots_there = slots_there[goes_on]
        raise _without_end()

    def some(self) -> Keys:
        """Keys that it knows: those in the first slots, or all where there are none."""
        for end in (_SOME, len(self._slots) - 1):
            slots = np.arange(min(end, len(self._slots) - 1))
            pairs = self._slots.at(slots)[PAIRS][slots]
            found: Keys = pairs[pairs[:, 1] != DEFAULT_ROW, 0]
            if len(found):
                break
        return found

    def new_among(self, keys: Keys) -> Keys:
        """Keys that it does not know, each once, in the order of their first appearance."""
        unknown = keys[(self.rows_of(keys) == DEFAULT_ROW) & (keys != NO_KEY)]
        distinct, first_seen_at = np.unique(unknown, return_index=True)
        return distinct[np.argsort(first_seen_at)]

    def insert(self, keys: Keys, rows: RowNumbers) -> None:
        """Know these keys, which are distinct and new, by these rows."""
        if not len(keys):
            return
        taken = len(self) + len(keys)
        if taken > _FULL * (len(self._slots) - 1):
            self._remake(taken)
        self._put(np.stack((keys, rows.astype(np.uint64)), axis=1))
        self._count(taken)

    def remove(self, keys: Keys) -> None:
        """Know these keys, each of which it knows, no more. Whoever stands behind them moves up."""
        slots, _ = self._found(keys)
        self._slots.touch(slots)[PAIRS][slots] = (NO_KEY, DEFAULT_ROW)
        behind, there = [slots[:0]], self._next(slots)
        while len(there := there[self._slots.at(there)[PAIRS][there, 1] != DEFAULT_ROW]):
            behind.append(there)
            there = self._next(there)
        slots = np.concatenate(behind)
        pairs = self._slots.touch(slots)[PAIRS]
        moving = pairs[slots]
        pairs[slots] = (NO_KEY, DEFAULT_ROW)
        self._put(moving)
        self._count(len(self) - len(keys))

    def _put(self, pairs: npt.NDArray[np.uint64]) -> None:
        """Each into the first slot from its own on that holds no lower row; whoever stood there
        goes on behind it.
        """
        for begin in range(0, len(pairs), _AT_ONCE):
            some = pairs[begin : begin + _AT_ONCE]
            self._put_at_once(some, self._first_slots(some[:, 0]))

    def _put_at_once(self, pairs: npt.NDArray[np.uint64], slots: RowNumbers) -> None:
        while len(pairs):
            rows = pairs[:, 1]
            before = self._slots.take(PAIRS, slots)
            is_open = (before[:, 1] == DEFAULT_ROW) | (before[:, 1] > rows)
            # Of several that are written to one slot the last one stays: the lowest.
            by_row = np.flatnonzero(is_open)
            by_row = by_row[np.argsort(~rows[by_row])]
            there = self._slots.touch(slots[by_row])[PAIRS]
            there[slots[by_row]] = pairs[by_row]
            is_in = is_open & (there[slots, 1] == rows)
            is_out = is_in & (before[:, 1] != DEFAULT_ROW)
            pairs = np.concatenate((pairs[~is_in], before[is_out]))
            slots = self._next(np.concatenate((slots[~is_in], slots[is_out])))

    def _remake(self, ids: int) -> None:
        """As few slots as hold so many ids."""
        pairs = self._slots[PAIRS][:-1]
        pairs = pairs[(pairs[:, 1] != DEFAULT_ROW) & (pairs[:, 1] != _LEFT)]
        count = len(self._slots) - 1
        while ids > _FULL * count:
            count *= 2
        self._slots = _no_slots(count)
        self._put(pairs)
        self._count(len(pairs))

    def _first_slots(self, keys: Keys) -> RowNumbers:
        return (keys & np.uint64(len(self._slots) - 2)).astype(np.int64)

    def _next(self, slots: RowNumbers) -> RowNumbers:
        return (slots + 1) & (len(self._slots) - 2)

    def _counts(self) -> tuple[int, int]:
        last = np.array([len(self._slots) - 1])
        used, taken = self._slots.at(last)[PAIRS][last[0]].tolist()
        return used, taken

    def _count(self, taken: int) -> None:
        last = np.array([len(self._slots) - 1])
        self._slots.touch(last)[PAIRS][last[0]] = (taken, taken)


def _without_end() -> Corrupt:
    return Corrupt("no slot of a vocabulary is free, so that a search has no end")


def _no_slots(count: int) -> RowStore:
    store = RowStore.empty({PAIRS: Column(np.uint64, (2,))})
    store.grow(count + 1)
    return store

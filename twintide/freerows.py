"""Which rows of a store are free: one bit for each, so that the lowest ones are found at once.

The bits lie in a store of their own, which a checkpoint saves as all others: a start neither looks
through rows for free ones nor reads their keys.
"""

import numpy as np

from twintide.errors import Corrupt
from twintide.rowstore import Column, RowNumbers, RowStore

BITS = "bits"
"""uint64: the row 64 n + b is free where word n has bit b. Behind the last word no row is."""

_BITS = {BITS: Column(np.uint64)}
_OF_A_WORD = 64


class FreeRows:
    """Numbers of rows, each there or not."""

    def __init__(self, words: RowStore | None = None) -> None:
        """With `words`: saved ones. Raises Corrupt where they are none."""
        self.words = RowStore.empty(_BITS) if words is None else words
        bits = self.words.at(slice(0)).get(BITS)
        if bits is None or bits.dtype != np.uint64 or bits.ndim != 1:
            raise Corrupt("the words that say which rows are free are no bits")

    @classmethod
    def of(cls, rows: RowNumbers) -> "FreeRows":
        """These distinct rows."""
        made = cls()
        made.add(rows)
        return made

    def add(self, rows: RowNumbers) -> None:
        """Have these distinct rows, none of which is there."""
        if len(rows):
            self.words.grow(max(0, int(rows.max()) // _OF_A_WORD + 1 - len(self.words)))
            self._flip(rows)

    def take(self, count: int) -> RowNumbers:
        """Have the lowest `count` rows no more, or as many as there are; returns them ascending."""
        if not count or not len(self.words):
            return np.zeros(0, np.int64)
        words = self.words[BITS]
        some = np.flatnonzero(words)[:count]
        up_to = np.cumsum(np.bitwise_count(words[some]), dtype=np.int64)
        some = some[: np.searchsorted(up_to, count) + 1]
        each_byte = words[some].astype("<u8").view(np.uint8).reshape(-1, 8)
        place, bit = np.nonzero(np.unpackbits(each_byte, axis=1, bitorder="little"))
        rows = (some[place] * _OF_A_WORD + bit)[:count]
        self._flip(rows)
        return rows

    def _flip(self, rows: RowNumbers) -> None:
        words = rows // _OF_A_WORD
        bits = self.words.touch(np.unique(words))[BITS]
        np.bitwise_xor.at(bits, words, np.uint64(1) << (rows % _OF_A_WORD).astype(np.uint64))

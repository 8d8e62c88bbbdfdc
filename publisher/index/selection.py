"""Which items a search may answer with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from publisher.index.searched import Bools, Positions
from twintide.keys import Keys

NONE: Positions = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Mask:
    """Some of the items, a bit for each: in memory an eighth of an array of truths, and what Faiss
    is told.
    """

    bits: npt.NDArray[np.uint8]
    items: int
    count: int
    """How many they are."""

    @classmethod
    def all(cls, items: int) -> "Mask":
        """Every item."""
        bits = np.full(-(-items // 8), 255, np.uint8)
        bits[items // 8 :] = (1 << items % 8) - 1
        return cls(bits, items, items)

    @classmethod
    def of(cls, among: Bools) -> "Mask":
        """Those that are true of [items]."""
        return cls(np.packbits(among, bitorder="little"), len(among), int(np.count_nonzero(among)))

    def without(self, positions: Positions) -> "Mask":
        """The others; positions are distinct."""
        places, bits = positions >> 3, (1 << (positions & 7)).astype(np.uint8)
        left = self.bits.copy()
        there = int(np.count_nonzero(left[places] & bits))
        np.bitwise_and.at(left, places, ~bits)
        return Mask(left, self.items, self.count - there)

    def has(self, positions: Positions) -> Bools:
        """Which of these are among them."""
        found: Bools = (self.bits[positions >> 3] >> (positions & 7) & 1).astype(np.bool_)
        return found

    def __and__(self, other: "Mask") -> "Mask":
        bits = self.bits & other.bits
        return Mask(bits, self.items, int(np.bitwise_count(bits).sum()))

    def positions(self) -> Positions:
        """Of each of them."""
        return np.flatnonzero(np.unpackbits(self.bits, count=self.items, bitorder="little"))


@dataclass(frozen=True)
class Selection:
    """What an answer may hold."""

    without: Positions = field(default_factory=lambda: NONE)
    """Not these, each once. They may be the best, so an inverted file looks further for each."""

    among: Mask | None = None
    """Only these; None for all."""

    having: Mapping[str, Keys] = field(default_factory=dict)
    """What `among` says, in words: of each of these columns one of the keys. For an index that lies
    elsewhere, and is not sent a bit for every item.
    """

    blocked: Positions = field(default_factory=lambda: NONE)
    """What else `among` leaves out."""

    def mask(self, items: int) -> Mask | None:
        """Every item that may be answered; None for all."""
        if not len(self.without):
            return self.among
        return (self.among or Mask.all(items)).without(self.without)


EVERYTHING = Selection()

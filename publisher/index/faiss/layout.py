"""Whether bytes are laid out as the two kinds of index that Twintide writes.

Faiss believes the numbers that it reads: a changed count made it search for minutes, allocate what
no machine has, or end the process. So every number is compared with what it must be first, and
Faiss parses nothing else. A release of Faiss that lays files out otherwise is noticed by the
publisher, which reads what it wrote before anything is promoted.

    flat  head("IxFI", d, items), count of floats, floats
    ivf   head("IwSq", d, items), lists, probes, a flat index of the centres, no direct map,
          half-precision quantizer, code size, "ilar", lists, code size, "full", size of each list,
          and for each list its codes and the position of each
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt

Bytes = bytes | memoryview
Positions = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

_INNER_PRODUCT = 0
_UNUSED = 1 << 20
_HALF_PRECISION = 4
_HEAD_BYTES = 37


def check_layout(data: Bytes) -> None:
    """Raises Corrupt where any number in an index is not what it must be."""
    kind = data[:4]
    if kind == b"IxFI":
        _flat(data, 0, len(data))
    elif kind == b"IwSq":
        inverted_file(data)
    else:
        _corrupt("it begins with no word that Twintide writes")


def _flat(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Width and items of a flat index at [at, end)."""
    width, items = _head(data, at, b"IxFI")
    _expect(data, at + _HEAD_BYTES, struct.pack("<q", items * width), "the count of its floats")
    if end - at != _HEAD_BYTES + 8 + 4 * items * width:
        _corrupt("its floats are more or fewer than its head says")
    return width, items


@dataclass(frozen=True)
class List:
    """What one list holds."""

    ids: Positions
    """[items of the list]: the position of each."""

    codes: Codes
    """[items of the list, bytes of a vector]"""


@dataclass(frozen=True)
class InvertedFile:
    """Where the parts of an inverted file lie, which was checked."""

    data: Bytes
    width: int
    items: int
    sizes: Positions
    end_of_head: int
    """Where the sizes of the lists begin."""

    def lists(self) -> Iterator[List]:
        """Each of them, in order."""
        at, code = self.end_of_head + 8 * len(self.sizes), 2 * self.width
        for size in self.sizes.tolist():
            codes = np.frombuffer(self.data, np.uint8, size * code, at).reshape(size, code)
            yield List(np.frombuffer(self.data, "<i8", size, at + size * code), codes)
            at += size * (code + 8)

    def centres(self) -> npt.NDArray[np.float32]:
        """[lists, width]"""
        at, count = _HEAD_BYTES + 16 + _HEAD_BYTES + 8, len(self.sizes)
        flat = np.frombuffer(self.data, "<f4", count * self.width, at)
        return flat.reshape(count, self.width)

    def head_without_count(self) -> bytes:
        """All before the lists but how many items there are: two that are alike have the same
        centres, and are searched alike.
        """
        head = bytes(self.data[: self.end_of_head])
        return head[:_COUNT_AT] + head[_COUNT_AT + 8 :]

    def with_lists(self, ids: Sequence[Positions], codes: Iterable[Sequence[Codes]]) -> memoryview:
        """The same file with other lists: of each its positions, and its codes in parts."""
        sizes = np.array([len(each) for each in ids], "<i8")
        items, head = int(sizes.sum()), bytearray(self.data[: self.end_of_head])
        head[_COUNT_AT : _COUNT_AT + 8] = struct.pack("<q", items)
        begin = bytes(head) + sizes.tobytes()
        made = np.empty(len(begin) + items * (2 * self.width + 8), np.uint8)
        made[: len(begin)] = np.frombuffer(begin, np.uint8)
        at = len(begin)
        for positions, parts in zip(ids, codes, strict=True):
            for part in (*parts, positions.astype("<i8", copy=False).view(np.uint8)):
                made[at : at + part.size] = part.reshape(-1)
                at += part.size
        return made.data


_COUNT_AT = 8
"""Where a head says how many items there are."""


def inverted_file(data: Bytes, *, is_delta: bool = False) -> InvertedFile:
    """Raises Corrupt where any number in an inverted file is not what it must be. One that is a
    delta may hold fewer items than it has lists.
    """
    width, items = _head(data, 0, b"IwSq")
    lists, probes = _numbers(data, _HEAD_BYTES, "<qq")
    if not 1 <= probes <= lists <= max(items, is_delta << 32):
        _corrupt(f"it has {items} items in {lists} lists and looks into {probes}")
    at = _HEAD_BYTES + 16
    end = at + _HEAD_BYTES + 8 + 4 * lists * width
    if _flat(data, at, min(end, len(data))) != (width, lists):
        _corrupt("its centres are not those of its lists")
    code = 2 * width
    fixed = struct.pack(
        "<Bq iifqqq qB 4sqq 4sq",
        *(0, 0),
        *(_HALF_PRECISION, 0, 0.0, width, code, 0),
        *(code, 1),
        *(b"ilar", lists, code),
        *(b"full", lists),
    )
    _expect(data, end, fixed, "a number of its lists")
    sizes = _lists(data, end + len(fixed), lists=lists, items=items, code=code)
    return InvertedFile(data, width, items, sizes, end + len(fixed))


def _lists(data: Bytes, at: int, *, lists: int, items: int, code: int) -> Positions:
    """The size of each. Every item stands in one list, once."""
    if len(data) != at + 8 * lists + items * (code + 8):
        _corrupt("its lists are longer or shorter than its head says")
    sizes = np.frombuffer(data, "<i8", lists, at)
    if not lists or sizes.min() < 0 or sizes.max() > items or sizes.sum() != items:
        _corrupt("its lists do not hold all of its items")
    found = np.zeros(items, np.bool_)
    at += 8 * lists
    for size in sizes.tolist():
        positions = np.frombuffer(data, "<i8", size, at + size * code)
        if size and (positions.min() < 0 or positions.max() >= items):
            _corrupt("a list holds an item that there is not")
        found[positions] = True
        at += size * (code + 8)
    if not found.all():
        _corrupt("an item stands in two lists")
    return sizes


def _head(data: Bytes, at: int, word: bytes) -> tuple[int, int]:
    width, items = _numbers(data, at + 4, "<iq")
    if width < 1 or items < 0:
        _corrupt(f"it holds {items} vectors of width {width}")
    fixed = struct.pack("<4siqqqBi", word, width, items, _UNUSED, _UNUSED, 1, _INNER_PRODUCT)
    _expect(data, at, fixed, "a number of its head")
    return width, items


def _numbers(data: Bytes, at: int, layout: str) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error:
        _corrupt("it ends too soon")


def _expect(data: Bytes, at: int, fixed: bytes, what: str) -> None:
    if data[at : at + len(fixed)] != fixed:
        _corrupt(f"{what} is not what it must be")


def _corrupt(why: str) -> NoReturn:
    raise Corrupt(f"the item index cannot be read: {why}")

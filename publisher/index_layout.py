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
from typing import NoReturn

import numpy as np

from twintide.errors import Corrupt

Bytes = bytes | memoryview

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
        _inverted_file(data)
    else:
        _corrupt("it begins with no word that Twintide writes")


def _flat(data: Bytes, at: int, end: int) -> tuple[int, int]:
    """Width and items of a flat index at [at, end)."""
    width, items = _head(data, at, b"IxFI")
    _expect(data, at + _HEAD_BYTES, struct.pack("<q", items * width), "the count of its floats")
    if end - at != _HEAD_BYTES + 8 + 4 * items * width:
        _corrupt("its floats are more or fewer than its head says")
    return width, items


def _inverted_file(data: Bytes) -> None:
    width, items = _head(data, 0, b"IwSq")
    lists, probes = _numbers(data, _HEAD_BYTES, "<qq")
    if not 1 <= probes <= lists <= items:
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
    _lists(data, end + len(fixed), lists=lists, items=items, code=code)


def _lists(data: Bytes, at: int, *, lists: int, items: int, code: int) -> None:
    """Every item stands in one list, once."""
    if len(data) != at + 8 * lists + items * (code + 8):
        _corrupt("its lists are longer or shorter than its head says")
    sizes = np.frombuffer(data, "<i8", lists, at)
    if sizes.min() < 0 or sizes.max() > items or sizes.sum() != items:
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

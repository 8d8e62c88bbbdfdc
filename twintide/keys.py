"""Ids to keys: a stable 64-bit hash, the same on every machine and in every version.

Everything behind a slice speaks keys: one user, item or category is one uint64. Key 0 means "no
id". Integers map one to one; strings collide with odds of 3e-6 at ten million ids.
"""

import struct
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Keys = npt.NDArray[np.uint64]

NO_KEY = np.uint64(0)
NO_KEYS: Keys = np.zeros(0, np.uint64)
"""Not a single one."""

_Number = TypeVar("_Number", np.uint64, np.int64)
_GOLDEN_INT = 0x9E3779B97F4A7C15
_GOLDEN = np.uint64(_GOLDEN_INT)
_ALL_BITS = 2**64 - 1
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""What keeps so many bytes of a word."""

_AT_ONCE = 1 << 14
"""Strings of a step, so that what it computes with stays near the processor."""

_FEW = 16
"""A step of numpy costs as much as this many in plain Python."""


def keys_of(ids: pa.Array | pa.ChunkedArray) -> Keys:
    """One key for each string, integer or boolean of `ids`, shape [n]; null is key 0."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    if pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type):
        keys = _hash_strings(ids.cast(pa.large_string()))
    else:
        numbers = pc.fill_null(ids.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        keys = mixed(numbers.view(np.uint64) + _GOLDEN)
    keys[keys == NO_KEY] = 1
    if ids.null_count:
        keys[np.asarray(ids.is_null())] = NO_KEY
    return keys


def key_of(value: int | str | None) -> int:
    """The same of one id, which takes a tenth of the time. Raises OverflowError of a number beyond
    64 bits, UnicodeError of a text that is none.
    """
    if value is None:
        return int(NO_KEY)
    if isinstance(value, str):
        data = value.encode()
        return _hash_on(_mixed(len(data) + _GOLDEN_INT), data) or 1
    if not -(2**63) <= value < 2**63:
        raise OverflowError(value)
    return _mixed(value + _GOLDEN_INT) or 1


def mixed(values: Keys) -> Keys:
    """splitmix64's finaliser (Steele et al., OOPSLA 2014): a bijection that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def places_of(
    keys: npt.NDArray[_Number], ascending: npt.NDArray[_Number]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where each key stands among others in ascending order, and whether it does; any place for one
    that does not.
    """
    if not len(ascending):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), np.bool_)
    places = ascending.searchsorted(keys)
    np.minimum(places, len(ascending) - 1, out=places)
    return places, ascending[places] == keys


def among(keys: Keys, few: Keys) -> npt.NDArray[np.bool_]:
    """[n]: whether each key is one of few others, which are ascending. Nearly all that are not are
    known by their first bits, which takes a tenth of looking each up.
    """
    begins = np.zeros(1 << 20, np.bool_)
    begins[few >> _BEHIND] = True
    found: npt.NDArray[np.bool_] = begins[keys >> _BEHIND]
    places = np.flatnonzero(found)
    found[places] = places_of(keys[places], few)[1]
    return found


_BEHIND = np.uint64(44)
"""Bits of a key behind its first ones."""


def distinct(keys: Keys) -> Keys:
    """These keys, ascending, each once; `np.unique` hashes them, which takes ten to fifty times as
    long.
    """
    ascending = np.sort(keys)
    is_first = np.ones(len(ascending), np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=is_first[1:])
    return ascending[is_first]


def with_more(ascending: Keys, keys: Keys) -> Keys:
    """Ascending keys and these, each once: what is new is put in between."""
    more = distinct(keys)
    new = more[~places_of(more, ascending)[1]]
    return np.insert(ascending, ascending.searchsorted(new), new)


GONE = -1
"""In place of where a key stands, of one that does not."""


def standing(before: Keys, now: Keys) -> npt.NDArray[np.int64]:
    """int64 [before]: where each of these keys stands now; GONE for one that does not, and for
    NO_KEY. What only came behind the others moves none, which is seen at once.
    """
    if len(before) <= len(now) and np.array_equal(before, now[: len(before)]):
        return np.where(before != NO_KEY, np.arange(len(before)), GONE)
    order = np.argsort(now)
    found, is_known = places_of(before, now[order])
    return np.where(is_known & (before != NO_KEY), order[found], GONE)


def _hash_strings(strings: pa.LargeStringArray) -> Keys:
    """Hash the UTF-8 bytes, eight at a time, many strings in step: no Python object is made."""
    _, offset_buffer, data_buffer = strings.buffers()
    begin, count = strings.offset, len(strings)
    keys = np.zeros(count, np.uint64)
    if count == 0:
        return keys
    offsets = np.frombuffer(offset_buffer, np.int64)[begin : begin + count + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer else np.zeros(0, np.uint8)
    first, last = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(last - first + 8, np.uint8)
    padded[: last - first] = data[first:last]
    for begin in range(0, count, _AT_ONCE):
        some = offsets[begin : begin + _AT_ONCE + 1] - first
        keys[begin : begin + _AT_ONCE] = _hash_some(padded, some[:-1], np.diff(some))
    return keys


def _hash_some(
    padded: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
) -> Keys:
    """The strings that lie there: [n] where each starts, and its length in bytes."""
    # 1. the eight bytes from any place on, as one number
    words = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded.data, strides=(1,))
    keys = mixed(lengths.astype(np.uint64) + _GOLDEN)
    # 2. words that every string has, whole or a part of it
    longest = int(lengths.max())
    shortest = int(lengths.min()) if len(lengths) > _FEW else 0
    for done in range(0, shortest, 8):
        kept = _FIRST_BYTES[np.minimum(lengths - done, 8)]
        keys = mixed((keys ^ (words[starts + done] & kept)) + _GOLDEN)
    # 3. words that only some have
    active = np.arange(len(keys))
    for done in range(-(-shortest // 8) * 8, longest, 8):
        active = active[lengths[active] > done]
        if len(active) <= _FEW:
            for index in active.tolist():
                begin, end = int(starts[index]) + done, int(starts[index] + lengths[index])
                keys[index] = _hash_on(int(keys[index]), padded[begin:end].tobytes())
            break
        kept = _FIRST_BYTES[np.minimum(lengths[active] - done, 8)]
        keys[active] = mixed((keys[active] ^ (words[starts[active] + done] & kept)) + _GOLDEN)
    return keys


def _hash_on(key: int, data: bytes) -> int:
    """The same for the rest of one string, without numpy: a step for every word of the longest one
    of all would take seconds where that is a megabyte.
    """
    padded = data + bytes(-len(data) % 8)
    for (word,) in struct.iter_unpack("<Q", padded):
        key = _mixed((key ^ word) + _GOLDEN_INT)
    return key


def _mixed(value: int) -> int:
    """`mixed`, of one number."""
    value &= _ALL_BITS
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _ALL_BITS
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _ALL_BITS
    return value ^ (value >> 31)

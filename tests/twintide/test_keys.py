"""Keys are the same on every machine and in every version: these values never change."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.clock import monotonic_seconds
from twintide.keys import among, distinct, key_of, keys_of, mixed, places_of, with_more
from twintide.model.table import first_values

PINNED: dict[str, tuple[pa.Array, list[int]]] = {
    "strings": (
        pa.array(["", "a", "u42", "12345678", "123456789", "żółw", "🙂" * 5, "x" * 100, None]),
        [
            0xE220A8397B1DCDAF,
            0x5E025F9ADE9EAF3E,
            0x62088853F3647B5E,
            0x83DBEC76B33F9CA3,
            0x7CF46F00F45FA22A,
            0xDEEC9D6C18A4E1C4,
            0xF1AF36043C140033,
            0x4A5A4EB781588A2B,
            0,
        ],
    ),
    "large strings": (pa.array(["u42"], pa.large_string()), [0x62088853F3647B5E]),
    "whole numbers": (
        pa.array([0, 1, -1, 42, 2**63 - 1, -(2**63), None]),
        [
            0xE220A8397B1DCDAF,
            0x910A2DEC89025CC1,
            0xE4D971771B652C20,
            0xBDD732262FEB6E95,
            0x2A67D7552E039EA7,
            0x481EC0A212A9F3DB,
            0,
        ],
    ),
    "truths": (pa.array([False, True, None]), [0xE220A8397B1DCDAF, 0x910A2DEC89025CC1, 0]),
}
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def plain_mixed(value: int) -> int:
    """splitmix64's finaliser in whole numbers without end."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def plain_key(value: str | int | None) -> int:
    """One key, in a plain loop."""
    if value is None:
        return 0
    if isinstance(value, int):
        return plain_mixed((value + GOLDEN) & MASK) or 1
    data = value.encode()
    key = plain_mixed((len(data) + GOLDEN) & MASK)
    for begin in range(0, len(data), 8):
        word = int.from_bytes(data[begin : begin + 8], "little")
        key = plain_mixed(((key ^ word) + GOLDEN) & MASK)
    return key or 1


@pytest.mark.parametrize(("ids", "keys"), PINNED.values(), ids=PINNED)
def test_keys_of_every_id_type_are_those_of_every_version(ids: pa.Array, keys: list[int]) -> None:
    """What a checkpoint of last year calls an item is what today's slice calls it."""
    assert keys_of(ids).tolist() == keys


@settings(max_examples=50, deadline=None)
@given(
    ids=st.lists(st.none() | st.text(max_size=40))
    | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))
)
def test_keys_equal_a_plain_loop_however_the_ids_lie_in_memory(ids: Sequence[str | int]) -> None:
    """As one array, in chunks, as a slice of a longer one, and as large strings."""
    expected = [plain_key(each) for each in ids]
    kind = pa.string() if any(isinstance(each, str) for each in ids) else pa.int64()
    array = pa.array(ids, kind)
    longer = pa.concat_arrays([pa.array([None], kind), array, pa.array([None], kind)])

    assert keys_of(array).tolist() == expected
    assert keys_of(pa.chunked_array([array[:2], array[2:]], kind)).tolist() == expected
    assert keys_of(longer[1:-1]).tolist() == expected
    if kind == pa.string():
        assert keys_of(array.cast(pa.large_string())).tolist() == expected


def test_one_very_long_id_holds_up_nobody() -> None:
    """Anybody can send one: it costs what a plain loop over it costs, and not a step of all ids for
    each of its words.
    """
    ids = ["short", "\u017c" * 100_000, *(f"u{number}" * 20 for number in range(50))]
    began = monotonic_seconds()
    expected = [plain_key(each) for each in ids]
    plain_seconds = monotonic_seconds() - began
    keys = keys_of(pa.array(ids)).tolist()

    assert keys == expected
    assert monotonic_seconds() - began < 5 * plain_seconds + 0.1


def test_a_string_of_digits_is_no_number() -> None:
    """So a table of both would hold rows that never meet; the declaration refuses it."""
    assert keys_of(pa.array(["7"])).tolist() != keys_of(pa.array([7])).tolist()


def test_no_two_of_a_hundred_thousand_ids_share_a_key() -> None:
    """Whole numbers cannot, and strings have odds of 3e-10."""
    numbers = pa.array(np.arange(100_000))

    assert len(np.unique(keys_of(numbers))) == 100_000
    assert len(np.unique(keys_of(numbers.cast(pa.string())))) == 100_000


def test_the_finaliser_is_the_published_one() -> None:
    """splitmix64 from state 0 gives these (Steele et al., OOPSLA 2014)."""
    states = (np.arange(1, 4, dtype=np.uint64)) * np.uint64(GOLDEN)

    assert [hex(each) for each in mixed(states).tolist()] == [
        "0xe220a8397b1dcdaf",
        "0x6e789e6aa1b965f4",
        "0x6c45d188009454f",
    ]


def test_a_row_begins_with_the_same_numbers_in_every_version() -> None:
    """They are a function of the id alone."""
    found = first_values(keys_of(pa.array(["u42"])), 4)[0]

    assert found.tolist() == [
        0.11443183571100235,
        -0.053633954375982285,
        -0.12937381863594055,
        0.14368999004364014,
    ]


@pytest.mark.parametrize("ascending", [[], [7], [3, 7, 9, 2**64 - 1]])
def test_each_key_is_found_where_it_stands_and_no_other(ascending: list[int]) -> None:
    """Before the first, between two, behind the last, and among none at all."""
    keys = np.array([0, 3, 4, 7, 7, 9, 2**64 - 1], np.uint64)

    places, is_known = places_of(keys, np.array(ascending, np.uint64))

    assert is_known.tolist() == [int(key) in ascending for key in keys]
    assert [ascending[each] for each in places[is_known]] == keys[is_known].tolist()


@pytest.mark.parametrize(
    "ids",
    [
        [None, 0, 1, -1, 17, 2**63 - 1, -(2**63), -0x9E3779B97F4A7C15 + 2**64],
        [None, "", "a", "seven77", "eight888", "nine 9999", "ü" * 20, "\x00", "𝄞"],
    ],
)
def test_one_id_alone_has_the_key_that_it_has_in_a_column(ids: list[int | str | None]) -> None:
    """Numbers and texts of all lengths, and null."""
    assert [key_of(each) for each in ids] == keys_of(pa.array(ids)).tolist()


@pytest.mark.parametrize("wrong", [2**63, -(2**63) - 1, "\ud800"])
def test_what_no_column_holds_has_no_key(wrong: int | str) -> None:
    """A number beyond 64 bits, and half a character."""
    with pytest.raises((OverflowError, UnicodeError)):
        key_of(wrong)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.integers(0, 2**64 - 1)))
def test_a_key_is_among_few_others_or_it_is_not(keys: list[int], few: list[int]) -> None:
    """Also next to one of them, and where there are none."""
    all_keys = np.array([*keys, *few, *(each ^ 1 for each in few)], np.uint64)

    found = among(all_keys, distinct(np.array(few, np.uint64)))

    assert found.tolist() == [key in set(few) for key in all_keys.tolist()]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 3)))
def test_distinct_keys_ascend(values: list[int]) -> None:
    """Each once, also of none."""
    assert distinct(np.array(values, np.uint64)).tolist() == sorted(set(values))


@given(st.lists(st.integers(0, 20)), st.lists(st.integers(0, 20)))
def test_more_keys_are_put_between_those_that_ascend(before: list[int], more: list[int]) -> None:
    """As a set has them, in order."""
    ascending = np.array(sorted(set(before)), np.uint64)

    found = with_more(ascending, np.array(more, np.uint64))

    assert found.tolist() == sorted({*before, *more})

"""Lists that are changed in place are lists; what they take and touch follows what is in them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.rowlists import Entries, RowLists

LONGEST = 20
CHANGES = st.lists(
    st.tuples(st.integers(0, 40), st.dictionaries(st.integers(0, 60), st.integers(0, 30))),
    max_size=15,
)


def entries_of(lists: list[list[int]]) -> tuple[Entries, np.ndarray]:
    """One list after the other; a second column tells entries of one value apart from others."""
    values = np.array([each for one in lists for each in one], np.int64)
    lengths = [len(one) for one in lists]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return {"item": values.astype(np.uint64), "at_ms": -values}, offsets


def as_lists(lists: RowLists) -> list[list[int]]:
    entries, offsets = lists.read(np.arange(len(lists)))
    np.testing.assert_array_equal(entries["at_ms"], -entries["item"].astype(np.int64))
    return [part.tolist() for part in np.split(entries["item"], offsets[1:-1])][: len(lists)]


@pytest.mark.parametrize("longest", [None, LONGEST])
@settings(max_examples=20)
@given(changes=CHANGES)
def test_lists_in_place_are_a_list_of_lists(
    longest: int | None, changes: list[tuple[int, dict[int, int]]]
) -> None:
    """However they grow, shrink and are given up; loaded anew they are the same."""
    lists = RowLists.empty({"item": np.uint64, "at_ms": np.int64}, longest=longest)
    plain: list[list[int]] = []
    for number, (count, lengths) in enumerate(changes):
        assert lists.add(count) == len(plain)
        plain += [[] for _ in range(count)]
        some = {row: length for row, length in lengths.items() if row < len(plain)}
        new = [
            [number * 1000 + each for each in range(min(length, longest or length))]
            for length in some.values()
        ]
        entries, offsets = entries_of(new)
        lists.replace(np.array(list(some), np.int64), offsets, entries)
        for row, one in zip(some, new, strict=True):
            plain[row] = one

        assert as_lists(lists) == plain
    entries, offsets = lists.read(np.arange(len(lists)))
    again = RowLists.of(entries, offsets, longest=longest)
    assert as_lists(again) == plain
    assert not len(again.touched())
    newest = [again.newest_of(row, 3)["item"].tolist() for row in range(len(plain))]
    assert newest == [one[-3:] for one in plain]
    last, is_any = again.last(np.arange(len(plain)), "item")
    assert is_any.tolist() == [bool(one) for one in plain]
    assert last[is_any].tolist() == [one[-1] for one in plain if one]


def test_only_lists_that_are_replaced_count_as_touched() -> None:
    """Whatever is in them, and as often as it is; what has no block grows none."""
    lists = RowLists.empty({"item": np.uint64, "at_ms": np.int64})
    lists.add(3)
    entries, offsets = entries_of([[1, 2, 3, 4, 5], [6], [7, 8]])
    lists.replace(np.arange(3), offsets, entries)
    lists.saved()
    cells = len(lists.cells)

    entries, offsets = entries_of([[1, 2, 3, 4, 5, 9], []])
    for _ in range(2):
        lists.replace(np.array([0, 2]), offsets, entries)

    assert lists.touched().tolist() == [0, 2]
    assert len(lists.cells) == cells


@pytest.mark.promise("T12")
def test_what_lists_take_follows_their_entries() -> None:
    """Users that come and click, few of them often: while it goes on less than three cells for each
    click that is kept, and saved none more than there are clicks.
    """
    rng = np.random.default_rng(3)
    lists = RowLists.empty({"item": np.uint64, "at_ms": np.int64}, longest=LONGEST)
    plain: list[list[int]] = []
    for _ in range(300):
        lists.add(100)
        plain += [[] for _ in range(100)]
        rows = np.unique(np.minimum(rng.zipf(1.3, 150), len(plain)) * -1) + len(plain)
        for row in rows.tolist():
            plain[row] = [*plain[row], 7][-LONGEST:]
        entries, offsets = entries_of([plain[row] for row in rows.tolist()])
        lists.replace(rows, offsets, entries)

    kept = sum(len(one) for one in plain)
    assert as_lists(lists) == plain
    assert len(lists.cells) <= 3 * kept
    assert {each.name: len(each.values) for each in lists.base()} == {
        "block": len(plain),
        "item": kept,
        "at_ms": kept,
    }

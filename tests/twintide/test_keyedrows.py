"""Rows by key are a dict that knows in which order its keys came."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.keyedrows import KeyedRows
from twintide.rowstore import RowStore


@settings(max_examples=20)
@given(batches=st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8))
def test_keys_have_rows_in_the_order_in_which_they_came(batches: list[list[int]]) -> None:
    """From 1 on, each once, and key 0 has none; made again from its keys it is the same."""
    rows, plain = KeyedRows(), dict[int, int]()
    for batch in batches:
        before = len(plain)
        for key in batch:
            if key:
                plain.setdefault(key, len(plain) + 1)
        assert rows.add(np.array(batch, np.uint64)) == len(plain) - before
    every = np.arange(31).astype(np.uint64)

    for made in (rows, KeyedRows.of(rows.keys[1:])):
        assert made.rows_of(every).tolist() == [plain.get(key, 0) for key in range(31)]
        assert made.keys.tolist() == [0, *plain]
        assert len(made) == len(plain) + 1


Step = tuple[list[int], list[int]]
"""Keys that come, then keys that go."""

STEPS = st.lists(
    st.tuples(st.lists(st.integers(1, 200), max_size=150), st.lists(st.integers(1, 200))),
    max_size=8,
)


@settings(max_examples=30)
@given(steps=STEPS)
def test_a_row_that_is_given_back_is_the_next_ones_the_lowest_first(steps: list[Step]) -> None:
    """Through any coming and going, and in stores that were saved in between or are made of keys:
    nobody has the row of another, and no row is taken while a lower one is free.
    """
    rows, plain, most = KeyedRows(), dict[int, int](), 0
    for came, went in steps:
        for key in came:
            lowest = min(set(range(1, len(plain) + 2)) - set(plain.values()))
            plain.setdefault(key, lowest)
        most = max(most, len(plain))
        rows.add(np.array(came, np.uint64))
        going = sorted({plain.pop(key) for key in went if key in plain})
        rows.remove(np.array(going, np.int64))
        assert rows.rows_of(np.arange(201).astype(np.uint64)).tolist() == [
            plain.get(key, 0) for key in range(201)
        ]
        anew = rows.keys.copy()
        rows = KeyedRows(rows.store, rows.index, rows.free)
        assert KeyedRows.of(anew[1:]).free["bits"].tolist() == _without_trailing(rows.free["bits"])
    assert len(rows) == 1 + most
    assert int(rows.has_key().sum()) == rows.taken == len(plain)


@pytest.mark.promise("T12")
def test_a_new_key_is_given_a_free_row_without_a_look_at_others() -> None:
    """In a store that was saved: what is checked before it is used is that row alone."""
    saved, looked_at = KeyedRows.of(np.arange(1, 5001).astype(np.uint64)), list[Any]()
    saved.remove(np.array([3, 7, 3000]))
    store = RowStore(saved.store.columns(), len(saved), make_sure=looked_at.append)
    rows = KeyedRows(store, saved.index, saved.free)

    assert rows.give(np.array([6000, 6001], np.uint64)).tolist() == [3, 7]
    assert sorted({row for each in looked_at for row in each.tolist()}) == [3, 7]


def _without_trailing(words: npt.NDArray[np.uint64]) -> list[int]:
    taken = np.flatnonzero(words)
    found: list[int] = words[: int(taken[-1]) + 1 if len(taken) else 0].tolist()
    return found

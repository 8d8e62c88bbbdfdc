"""A store of rows is arrays that are changed in place, and that know what of them changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.rowstore import FEWEST, Column, RowStore

COLUMNS = {"weights": Column(np.float32, (3,)), "seen": Column(np.int64)}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grow", "write", "save"]),
        st.integers(0, 2000),
        st.lists(st.floats(0, 1, exclude_max=True), max_size=8),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_store_is_a_list_of_rows_that_knows_which_changed(
    steps: list[tuple[str, int, list[float]]],
) -> None:
    """Through growth over its room, writes and saves: every number, and every touched row."""
    store = RowStore.empty(COLUMNS)
    plain: list[tuple[list[float], int]] = []
    changed: set[int] = set()
    for number, (step, count, places) in enumerate(steps, start=1):
        rows = np.array([int(place * len(plain)) for place in places if plain], np.int64)
        if step == "grow":
            assert store.grow(count) == len(plain)
            changed |= set(range(len(plain), len(plain) + count))
            plain += [([0.0] * 3, 0)] * count
        elif step == "write":
            columns = store.touch(rows)
            columns["weights"][rows] = number
            columns["seen"][rows] = number
            changed |= set(rows.tolist())
            for row in rows.tolist():
                plain[row] = ([float(number)] * 3, number)
        else:
            store.saved()
            changed = set()

        assert len(store) == len(plain)
        assert store.touched().tolist() == sorted(changed)
    assert store["weights"].tolist() == [weights for weights, _ in plain]
    assert store["seen"].tolist() == [seen for _, seen in plain]


def test_a_store_changes_arrays_where_they_lie_while_there_is_room() -> None:
    """They are adopted with the room behind their rows, of which none counts as touched."""
    room = np.full(10, 7, np.int64)
    store = RowStore({"seen": room}, 4)

    assert store.touched().tolist() == []
    assert store.grow(2) == 4
    store.touch(np.array([0]))["seen"][0] = 1

    assert room.tolist() == [1, 7, 7, 7, 0, 0, 7, 7, 7, 7]
    assert store.touched().tolist() == [0, 4, 5]


def test_growth_moves_rows_seldom() -> None:
    """So that a million ids that come one at a time are not copied for each."""
    store = RowStore.empty(COLUMNS)
    rooms = set()
    for _ in range(100):
        store.grow(FEWEST)
        rooms.add(store.capacity)

    assert len(rooms) < 30
    assert store.capacity < 1.3 * len(store)


def test_columns_of_one_store_have_equally_many_rows() -> None:
    """A row is one row of each."""
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        RowStore.of({"weights": np.zeros((2, 3), np.float32), "seen": np.zeros(3, np.int64)})


def test_a_slice_is_touched_as_its_rows_are() -> None:
    """And not what lies behind the last row."""
    store = RowStore.of({"seen": np.zeros(5, np.int64)})
    store.touch(slice(3, None))

    assert store.touched().tolist() == [3, 4]

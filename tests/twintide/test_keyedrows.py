"""Rows by key are a dict that knows in which order its keys came."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.keyedrows import KeyedRows


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

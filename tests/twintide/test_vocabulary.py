"""A vocabulary answers as a dict would, whatever is added in whatever order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.keys import Keys
from twintide.model.vocabulary import Vocabulary

COLLIDING = st.integers(0, 30).map(lambda number: (number << 40) | 7)
"""All of them want the same slot."""

KEYS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 60) | COLLIDING, max_size=60)


def keys(values: list[int]) -> Keys:
    return np.array(values, np.uint64)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(KEYS, max_size=8), asked=KEYS)
def test_a_vocabulary_is_a_dict(batches: list[list[int]], asked: list[int]) -> None:
    """Rows in order of first appearance, row 0 for what is unknown and for no id at all."""
    vocabulary, plain = Vocabulary(), dict[int, int]()
    for batch in batches:
        new = [each for each in dict.fromkeys(batch) if each not in plain and each != 0]
        plain |= {each: len(plain) + 1 + at for at, each in enumerate(new)}

        assert vocabulary.add(keys(batch)).tolist() == [plain[each] for each in new]
        assert len(vocabulary) == len(plain) + 1
    everything = [*asked, *plain]

    assert vocabulary.rows_of(keys(everything)).tolist() == [plain.get(e, 0) for e in everything]
    assert vocabulary.keys.tolist() == [0, *plain]
    again = Vocabulary(vocabulary.keys)
    assert again.rows_of(keys(everything)).tolist() == [plain.get(e, 0) for e in everything]


def test_a_vocabulary_grows_to_a_hundred_thousand_ids() -> None:
    """Through many rebuilds, by small and large batches; nothing is lost or moved."""
    rng = np.random.default_rng(3)
    every = np.unique(rng.integers(1, 2**63, 100_000)).astype(np.uint64)
    rng.shuffle(every)
    vocabulary = Vocabulary()
    begin = 0
    for size in (1, 10, 1000, 3, 30_000, len(every)):
        vocabulary.add(every[begin : begin + size])
        begin += size

    assert np.array_equal(vocabulary.rows_of(every), np.arange(1, len(every) + 1))
    assert not vocabulary.rows_of(every + np.uint64(2**63)).any()

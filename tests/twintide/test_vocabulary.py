"""A vocabulary answers as a dict would, whatever is added and removed in whatever order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.errors import Corrupt
from twintide.keys import Keys, mixed
from twintide.model.vocabulary import PAIRS, Vocabulary
from twintide.rowstore import Column, RowStore

COLLIDING = st.integers(0, 30).map(lambda number: (number << 40) | 7)
"""All of them want the same slot."""

KEYS = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 60) | COLLIDING, max_size=60)


def keys(values: list[int]) -> Keys:
    return np.array(values, np.uint64)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.tuples(KEYS, st.integers(0, 4)), max_size=8), asked=KEYS)
def test_a_vocabulary_is_a_dict(batches: list[tuple[list[int], int]], asked: list[int]) -> None:
    """New ids in the order of their first appearance, row 0 for what is unknown, was removed, or is
    no id at all; and the same of its slots, as a checkpoint has them.
    """
    vocabulary, plain, next_row = Vocabulary(), dict[int, int](), 1
    for batch, removing in batches:
        new = [each for each in dict.fromkeys(batch) if each not in plain and each != 0]
        rows = range(next_row, next_row + len(new))
        next_row += len(new)
        plain |= dict(zip(new, rows, strict=True))

        assert vocabulary.new_among(keys(batch)).tolist() == new
        vocabulary.insert(keys(new), np.arange(rows.start, rows.stop))
        going = list(plain)[: removing * len(plain) // 5]
        vocabulary.remove(keys(going))
        plain = {key: row for key, row in plain.items() if key not in going}
        assert len(vocabulary) == len(plain)
    everything = [*asked, *plain, *(key for batch, _ in batches for key in batch)]
    expected = [plain.get(each, 0) for each in everything]

    assert vocabulary.rows_of(keys(everything)).tolist() == expected
    again = Vocabulary(RowStore.of(vocabulary.store.columns()))
    assert again.rows_of(keys(everything)).tolist() == expected


@pytest.mark.parametrize(
    "rounds", [30, pytest.param(2_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_a_vocabulary_stays_a_dict_as_ids_come_and_go(rounds: int) -> None:
    """Through growths, and through slots that were left and are taken again; in the long run over
    millions of ids.
    """
    rng = np.random.default_rng(rounds)
    vocabulary, plain, next_row = Vocabulary(), dict[int, int](), 1
    for number in range(rounds):
        named = rng.integers(1, 40 * rounds, int(rng.integers(1, 3000)))
        batch = mixed(named.astype(np.uint64) << np.uint64(3))
        new = vocabulary.new_among(batch)
        rows = np.arange(next_row, next_row + len(new))
        next_row += len(new)
        vocabulary.insert(new, rows)
        plain.update(zip(new.tolist(), rows.tolist(), strict=True))
        if number % 3 == 2:
            going = rng.choice(np.fromiter(plain, np.uint64, len(plain)), len(plain) // 3, False)  # noqa: FBT003
            vocabulary.remove(going)
            for each in going.tolist():
                del plain[each]
        asked = np.concatenate((batch, np.fromiter(plain, np.uint64, len(plain))[:2000]))
        assert vocabulary.rows_of(asked).tolist() == [plain.get(each, 0) for each in asked.tolist()]
    assert len(vocabulary) == len(plain)
    assert len(vocabulary.store) < 1024 + 8 * max(len(plain), 3000)


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(3))
def test_slots_follow_from_who_has_which_row(seed: int) -> None:
    """Ids that come, go and come in the place of others, one by one, all at once or in pieces: the
    same slots, to the byte, and the same ones touched by those that came.
    """
    rng = np.random.default_rng(seed)
    every = mixed(rng.choice(1 << 20, 2000, replace=False).astype(np.uint64) + np.uint64(1))
    every[::50] = every[::50] << np.uint64(40) | np.uint64(5)
    rows = np.arange(1, 2001)
    going = rng.choice(1900, 300, replace=False)
    instead = mixed(every[going] + np.uint64(1 << 30))
    found = []
    for pieces in (1000, 1, 20):
        vocabulary = Vocabulary()
        for first in (slice(0, 1400), slice(1400, 2000)):
            vocabulary.store.saved()
            for part in np.array_split(np.arange(2000)[first], pieces):
                vocabulary.insert(every[part], rows[part])
        states = [vocabulary.store.touched().tolist(), vocabulary.store[PAIRS].tolist()]
        for part in np.array_split(going, pieces):
            vocabulary.remove(every[part])
        states.append(vocabulary.store[PAIRS].tolist())
        for part in np.array_split(rng.permutation(300), pieces):
            vocabulary.insert(instead[part], rows[going[part]])
        found.append([*states, vocabulary.store[PAIRS].tolist()])

    assert found[0] == found[1] == found[2]


def test_a_vocabulary_grows_to_a_hundred_thousand_ids() -> None:
    """Through many growths, by small and large batches; nothing is lost or moved."""
    rng = np.random.default_rng(3)
    every = np.unique(rng.integers(1, 2**63, 100_000)).astype(np.uint64)
    rng.shuffle(every)
    vocabulary, begin = Vocabulary(), 0
    for size in (1, 10, 1000, 3, 30_000, len(every)):
        some = every[begin : begin + size]
        vocabulary.insert(some, np.arange(begin + 1, begin + 1 + len(some)))
        begin += size

    assert np.array_equal(vocabulary.rows_of(every), np.arange(1, len(every) + 1))
    assert not vocabulary.rows_of(every + np.uint64(2**63)).any()
    of_keys = Vocabulary.of(np.concatenate((np.zeros(1, np.uint64), every)))
    assert np.array_equal(of_keys.rows_of(every), np.arange(1, len(every) + 1))


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        (Column(np.uint64, (2,)), 0),
        (Column(np.uint64, (2,)), 1),
        (Column(np.uint64, (2,)), 1024),
        (Column(np.uint64, (3,)), 1025),
        (Column(np.int64, (2,)), 1025),
        (Column(np.uint64), 1025),
    ],
)
def test_slots_that_are_none_are_refused(column: Column, rows: int) -> None:
    """Of another shape or type, or not a power of two and their counts."""
    store = RowStore.empty({PAIRS: column})
    store.grow(rows)
    with pytest.raises(Corrupt):
        Vocabulary(store)

import numpy as np
import pytest

from publisher.histories import StoredHistories, VersionHistories
from twintide.derived.histories import CLICKS
from twintide.derived.state import history_store
from twintide.errors import Corrupt
from twintide.model.vocabulary import Vocabulary
from twintide.rowlists import RowLists
from twintide.rowstore import INDEX, Parts


def some_histories() -> VersionHistories:
    return VersionHistories(
        users=np.array([3, 8, 20], np.uint64),
        offsets=np.array([0, 2, 2, 5], np.int64),
        items=np.array([11, 12, 21, 22, 23], np.uint64),
    )


def test_each_user_has_the_newest_items_oldest_first() -> None:
    """Known users with their last items cut to the length, unknown ones with none."""
    found = some_histories().of(np.array([20, 1, 3, 8, 20, 99], np.uint64), length=2)

    rows = [
        found.keys[a:b].tolist() for a, b in zip(found.offsets, found.offsets[1:], strict=False)
    ]
    assert rows == [[22, 23], [], [11, 12], [], [22, 23], []]


@pytest.mark.parametrize("has_times", [False, True])
def test_one_user_has_what_they_have_among_others(has_times: bool) -> None:  # noqa: FBT001
    """Where a checkpoint has the histories: the same items and ages, and none of a stranger."""
    items = np.array([11, 12, 21, 22, 23], np.uint64)
    entries = {"items": items, "at_ms": np.arange(5) * 3_600_000}
    lists = RowLists.of(entries, np.array([0, 0, 2, 2, 5]))
    name, users = history_store(""), np.array([0, 3, 8, 20], np.uint64)
    stores = {name + INDEX: Vocabulary.of(users).store}
    parts = Parts(stores, {}, {name + CLICKS: RowLists(lists.blocks, lists.cells)})
    stored = StoredHistories.of_parts(parts, "", has_times=has_times, newest_ms=0)

    asked = np.array([20, 1, 3, 8], np.uint64)
    together = stored.of(asked, length=2, at_ms=np.full(4, 36_000_000))

    for row, user in enumerate(asked):
        alone = stored.of(np.array([user]), length=2, at_ms=np.array([36_000_000]))
        expected = together.take(np.array([row]))
        assert alone.keys.tolist() == expected.keys.tolist()
        assert alone.offsets.tolist() == expected.offsets.tolist()
        ages = [None if each.ages is None else each.ages.tolist() for each in (alone, expected)]
        assert ages[0] == ages[1]
        assert (ages[0] is not None) == has_times


def test_nobody_has_a_history_in_an_empty_one() -> None:
    """A version without histories answers with empty lists."""
    found = VersionHistories.empty().of(np.array([1, 2], np.uint64), length=5)

    assert len(found) == 2
    assert len(found.keys) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"users": np.array([8, 3, 20], np.uint64)},
        {"users": np.array([3, 3, 20], np.uint64)},
        {"users": np.array([3, 8, 20], np.int64)},
        {"offsets": np.array([0, 2, 2], np.int64)},
        {"offsets": np.array([1, 2, 2, 5], np.int64)},
        {"offsets": np.array([0, 4, 2, 5], np.int64)},
        {"offsets": np.array([0, 2, 2, 6], np.int64)},
        {"items": np.zeros((5, 1), np.uint64)},
    ],
)
def test_arrays_that_do_not_fit_together_are_corrupt(change: dict[str, np.ndarray]) -> None:
    """Unsorted users, offsets that run backwards or beyond the items, other types."""
    arrays = some_histories().to_arrays(prefix="history")
    changed = arrays | {f"history.{name}": array for name, array in change.items()}

    with pytest.raises(Corrupt):
        VersionHistories.from_arrays(changed, prefix="history")


def test_a_missing_array_is_corrupt() -> None:
    """The message names it."""
    with pytest.raises(Corrupt, match=r"history\.users"):
        VersionHistories.from_arrays({}, prefix="history")

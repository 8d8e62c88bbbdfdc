import numpy as np
import pytest

from publisher.histories import VersionHistories
from twintide.errors import Corrupt


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

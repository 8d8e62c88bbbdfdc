"""What items are is written where it differs from an earlier version's, and read as if all were."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from publisher.attributefiles import ROW, attributes_kept, differing
from publisher.attributes import ATTRIBUTES, ATTRIBUTES_NEWER
from publisher.publish import publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from twintide.arrays import table_file
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.keys import keys_of

ITEMS = made.item_range(1000, 400)
BASE = pa.table({"category": pa.array([1, 2, 3], pa.uint64()), "tags": [[1], [], [2, 3]]})
NEWER = pa.table({ROW: [1, 3], "category": pa.array([9, 8], pa.uint64()), "tags": [[7, 7], []]})


@pytest.fixture
def line(tmp_path: Path) -> Deployment:
    """A night of 400 items, live."""
    publishing = {"index": "ivf", "nprobe": 8, "filters": ["category"]}
    deployment = made.deployment_at(tmp_path / "data", publishing=publishing)
    hours.night(deployment, ITEMS)
    publish(deployment, clock=made.held_clock(), judge=False)
    return deployment


def test_an_hour_writes_what_new_items_are_and_finds_all(line: Deployment) -> None:
    """Of the others it has the night's file by a link; where no item is new, nothing else."""
    root = line.versions_dir
    for clicked in (ITEMS[:3], np.array([1000, 5000, 5003])):
        hours.hour(line, np.arange(3), clicked)
        publish(line, clock=made.held_clock(), judge=False)

    night, quiet, hour = (root / f"v{number:06d}" for number in (1, 2, 3))
    assert all((each / ATTRIBUTES).samefile(night / ATTRIBUTES) for each in (quiet, hour))
    assert not (quiet / ATTRIBUTES_NEWER).exists()
    version = load_version(root, "v000003")
    category = version.attributes["category"]
    ids = np.array(version.item_ids.to_pylist())
    for one in range(made.CATEGORIES):
        found = ids[category.having(keys_of(pa.array([one])))]
        assert sorted(found) == sorted(ids[ids % made.CATEGORIES == one])
    assert {5000, 5003} <= set(ids.tolist())


def test_rows_of_the_newer_file_stand_in_place_of_others_or_behind_them() -> None:
    """Numbers and lists alike."""
    contents = {ATTRIBUTES: table_file(BASE), ATTRIBUTES_NEWER: table_file(NEWER)}

    found = attributes_kept(contents, items=4)

    assert found is not None
    assert found["category"].to_pylist() == [1, 9, 3, 8]
    assert found["tags"].to_pylist() == [[1], [7, 7], [2, 3], []]


@pytest.mark.parametrize(
    ("category", "tags", "row"),
    [([1, 2, 4], [[1], [], [2, 3]], 2), ([1, 2, 3], [[1], [5], [2, 3]], 1)]
    + [([1, 2, 3], tags, 2) for tags in ([[1], [], [3, 2]], [[1], [], [2]])],
)
def test_a_row_differs_by_a_number_or_by_a_list(
    category: list[int], tags: list[list[int]], row: int
) -> None:
    """By what is in a list, its length or its order."""
    now = pa.table({"category": pa.array(category, pa.uint64()), "tags": tags})

    assert np.flatnonzero(differing(BASE, now)).tolist() == [row]


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("newer", "items"),
    [
        (NEWER, 3),
        (NEWER, 5),
        (NEWER.set_column(0, ROW, pa.array([-1, 3])), 4),
        (NEWER.set_column(0, ROW, pa.array([1, None])), 4),
        (NEWER.set_column(0, ROW, pa.array([1.0, 3.0])), 4),
        (NEWER.drop_columns(["tags"]), 4),
        (NEWER.drop_columns([ROW]), 4),
        (NEWER.set_column(1, "category", pa.array(["a", "b"])), 4),
    ],
)
def test_what_does_not_fit_the_earlier_file_is_corrupt(newer: pa.Table, items: int) -> None:
    """A row that there is not, an item of which nothing is said, other columns."""
    with pytest.raises(Corrupt, match=ATTRIBUTES_NEWER):
        attributes_kept(
            {ATTRIBUTES: table_file(BASE), ATTRIBUTES_NEWER: table_file(newer)}, items=items
        )

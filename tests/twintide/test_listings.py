"""What a source of items said is kept, and goes on counting where it says nothing good."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tests.twintide import item_files as files
from twintide import listings
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.features.columns import encode
from twintide.keys import keys_of
from twintide.listed import Listing
from twintide.ragged import Encoded, Ids, Numbers

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURS = 3_600_000


def look(deployment: Deployment, *, days: float = 0) -> Listing:
    own = deployment
    clock = HeldClock(NOON + timedelta(days=days))
    found = listings.refreshed(own.items_dir, own.items, own.events, own.model, clock=clock)
    assert found is not None
    return found


def keys(*ids: int) -> npt.NDArray[np.uint64]:
    return keys_of(pa.array(ids, pa.int64()))


def answered(listing: Listing, *ids: int) -> list[int]:
    return [each for each in ids if listing.may_be_answered(keys(each))[0]]


def test_a_listing_is_made_where_the_source_says_something_new(tmp_path: Path) -> None:
    """The same content, touched or not, is the same listing; another is the next number."""
    path = files.write(tmp_path / "items.parquet", item_id=[1, 2], category=[3, 4])
    deployment = files.deployment_of(path)

    first = look(deployment)
    path.touch()
    again = look(deployment, days=1)
    files.write(path, item_id=[1, 2], category=[3, 5])
    other = look(deployment, days=2)

    assert [each.ref.name for each in (first, again, other)] == [
        "listing-000001",
        "listing-000001",
        "listing-000002",
    ]
    assert (other.ref.listed, other.ref.unavailable, other.ref.remembered) == (2, 0, 0)
    assert other.ref.attributes == {"category": "int64"}
    opened = listings.open_listing(deployment.items_dir, first.ref, deployment.events)
    assert opened is not None
    assert opened.table.equals(first.table)


def test_a_bad_file_leaves_the_last_good_listing_in_use_and_says_so(tmp_path: Path) -> None:
    """Whatever is wrong with it, since when is known; a good file ends it."""
    path = files.write(tmp_path / "items.parquet", item_id=[1], category=[3])
    deployment = files.deployment_of(path)
    first = look(deployment)

    path.write_bytes(path.read_bytes()[:-9])
    used = look(deployment, days=1)
    path.unlink()
    still = look(deployment, days=2)

    assert used.ref == still.ref == first.ref
    trouble = listings.trouble(deployment.items_dir)
    assert trouble is not None
    assert trouble.since == NOON + timedelta(days=1)
    assert "No such file" in trouble.what
    files.write(path, item_id=[1], category=[4])
    assert look(deployment, days=3).ref.name == "listing-000002"
    assert listings.trouble(deployment.items_dir) is None


def test_without_any_good_listing_a_bad_file_is_refused(tmp_path: Path) -> None:
    """The first one has to be right: nothing is there that could count in its place."""
    deployment = files.deployment_of(tmp_path / "items.parquet")

    with pytest.raises(Refused, match="No such file"):
        look(deployment)


def test_a_damaged_listing_is_passed_over_and_made_anew(tmp_path: Path) -> None:
    """Of no byte that has changed anything is believed; what names it says that it is damaged."""
    path = files.write(tmp_path / "items.parquet", item_id=[1], category=[3])
    deployment = files.deployment_of(path)
    first = look(deployment)
    damaged = deployment.items_dir / first.ref.name / "items.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")

    assert look(deployment).ref.name == "listing-000002"
    with pytest.raises(Corrupt, match="is not what its manifest says"):
        listings.open_listing(deployment.items_dir, first.ref, deployment.events)


def test_what_is_not_available_or_has_left_a_complete_source_is_not_answered(
    tmp_path: Path,
) -> None:
    """An incomplete source says nothing of what it does not list."""
    columns: dict[str, Any] = {"item_id": [1, 2, 3], "there": [True, None, False]}
    path = files.write(tmp_path / "items.parquet", **columns)
    some = files.deployment_of(path, available_column="there")
    all_of = files.deployment_of(path, available_column="there", complete=True)

    assert answered(look(some), 1, 2, 3, 4) == [1, 2, 4]
    assert answered(look(all_of), 1, 2, 3, 4) == [1, 2]
    files.write(path, item_id=[1], there=[True])
    assert answered(look(some), 1, 2, 3, 4) == [1, 2, 4]
    assert answered(look(all_of), 1, 2, 3, 4) == [1]
    assert look(some, days=99).unclicked(keys(7)).tolist() == [0]


def test_what_an_item_was_is_remembered_for_a_month_after_it_has_left(tmp_path: Path) -> None:
    """Its clicks are learnt after that. What was not to be had stays so for good."""
    path = files.write(
        tmp_path / "items.parquet", item_id=[1, 2, 3], category=[5, 6, 7], there=[True, True, False]
    )
    deployment = files.deployment_of(path, available_column="there")
    look(deployment)
    files.write(path, item_id=[1], category=[8], there=[True])
    left = look(deployment, days=1)
    files.write(path, item_id=[1], category=[9], there=[True])
    later = look(deployment, days=32)

    assert (left.ref.listed, left.ref.remembered) == (1, 2)
    assert categories(left, 1, 2, 3) == [8, 6, 7]
    assert categories(later, 1, 2, 3) == [9, -1, 7]
    assert answered(later, 1, 2, 3) == [1, 2]


def categories(listing: Listing, *ids: int) -> list[int]:
    """What it says of these; -1 where it says nothing."""
    rows = listing.rows_of(keys(*ids))
    column = listing.table["attribute.category"]
    return [column[row].as_py() if row >= 0 else -1 for row in rows.tolist()]


def test_an_attribute_is_what_the_source_says_else_what_clicks_said(tmp_path: Path) -> None:
    """Against a plain loop: of each kind of column, known and unknown items, nulls between."""
    path = files.write(
        tmp_path / "items.parquet",
        item_id=[1, 2, 3, 4],
        category=[30, None, 50, 60],
        topics=pa.array([[1, 2], [], None, [3]], pa.list_(pa.int64())),
    )
    deployment = files.deployment_of(path)
    events, model = deployment.events, deployment.model
    clicked = [3, 9, 1, 2, 1]
    said: dict[str, list[Any]] = {"category": [1, 2, 3, 4, 5], "topics": [[7], [8], [9], [10], []]}
    by_source: dict[str, dict[int, Any]] = {
        "category": {1: 30, 3: 50},
        "topics": {1: [1, 2], 2: []},
    }
    features = tuple(f for f in model.candidate if f.derived_from is None)

    def encoded(columns: dict[str, list[Any]]) -> Encoded:
        nulls = {name: [None] * len(clicked) for name in events.columns}
        values = nulls | columns | {"item_id": clicked}
        table = pa.table(values, schema=events.arrow_schema())
        return encode(table, features, time_column=events.time)

    expected = encoded(
        {
            name: [
                by_source[name].get(item, own) for item, own in zip(clicked, column, strict=True)
            ]
            for name, column in said.items()
        }
    )
    moments = np.full(len(clicked), to_unix_ms(NOON))
    found = look(deployment).overlaid(
        encoded(said), features, keys(*clicked), at_ms=moments, refreshed_ms=moments
    )
    for name, rows in expected.items():
        same(found[name], rows)


def same(one: Ids | Numbers, other: Ids | Numbers) -> None:
    if isinstance(one, Ids) and isinstance(other, Ids):
        assert one.keys.tolist() == other.keys.tolist()
        assert one.offsets.tolist() == other.offsets.tolist()
    else:
        assert isinstance(one, Numbers)
        assert isinstance(other, Numbers)
        assert np.array_equal(one.values, other.values)


def test_an_item_that_nobody_clicked_has_its_content_and_its_age(tmp_path: Path) -> None:
    """No clicks in any window; as old as the source says, or new where it does not say."""
    since = pa.array([NOON - timedelta(hours=5), None], pa.timestamp("us", tz="UTC"))
    path = files.write(tmp_path / "items.parquet", item_id=[1, 2], category=[30, 40], since=since)
    deployment = files.deployment_of(path, listed_at_column="since")
    listing = look(deployment)
    statistics = deployment.model.item_statistics()
    assert statistics is not None

    found = listing.encoded(
        deployment.model.candidate, listing.unclicked(keys(3)), at_ms=to_unix_ms(NOON)
    )

    category = found["category"]
    assert isinstance(category, Ids)
    assert category.keys.tolist() == keys(30, 40).tolist()
    numbers = found[statistics.name]
    assert isinstance(numbers, Numbers)
    assert not numbers.values[:, :-2].any()
    assert numbers.values[:, -2].tolist() == [np.float32(np.log1p(5.0) / 4), 0.0]
    assert numbers.values[:, -1].tolist() == [0.0, 1.0]

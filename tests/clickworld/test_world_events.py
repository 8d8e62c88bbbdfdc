"""The events of the world are what the line expects of a click stream."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clickworld import ClickWorld, WorldConfig, simulate
from tests.clickworld.days import Days
from twintide.config import load

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SMALL = WorldConfig(users=500, impressions_per_hour=600)


def test_events_have_the_columns_of_the_quickstart(days: Days) -> None:
    """The demo feeds them as they are; only the dropped candidates are extra."""
    declared = load(QUICKSTART).events.arrow_schema()
    expected = {field.name: field.type for field in declared}
    extra = dict.fromkeys(("dropped_by_pre_ranking", "dropped_by_ranking"), pa.list_(pa.int64()))

    assert {field.name: field.type for field in days.events.schema} == expected | extra
    assert sum(column.null_count for column in days.events.columns) == 0


def test_events_are_numbered_and_in_order_of_time(days: Days) -> None:
    """An event's number says whether one was lost or doubled on the way."""
    np.testing.assert_array_equal(days.column("event_id"), np.arange(len(days.events)))
    assert (np.diff(days.column("event_at")) >= 0).all()


def test_each_hour_holds_its_own_events_only(start_at: datetime) -> None:
    """A table an hour: what is fed until an hour's end is what happened before it."""
    for hour, events in enumerate(ClickWorld(SMALL).hours(start_at, 3)):
        hours = np.unique(np.asarray(events["event_at"].cast(pa.int64())) // 3_600_000)
        assert list(hours) == [int(start_at.timestamp()) // 3600 + hour]


def test_only_a_click_is_watched_or_liked(days: Days) -> None:
    """Watch time and likes are reactions to a click; every click is watched for some time."""
    clicked, watched = days.column("clicked"), days.column("watch_seconds")

    assert (watched[~clicked] == 0).all()
    assert (watched[clicked] > 0).all()
    assert not days.column("liked")[~clicked].any()
    assert 0.05 < days.column("liked")[clicked].mean() < 0.3


def test_an_item_keeps_its_category_and_topics(days: Days) -> None:
    """What an event says of an item is what the world knows of it: one to four distinct topics."""
    items = days.world.items
    item = days.column("item_id")

    np.testing.assert_array_equal(days.column("category"), items.category[item])
    for number, topics in zip(item[:500], days.events["topics"].to_pylist()[:500], strict=True):
        assert topics == [topic for topic in items.topics[number] if topic >= 0]
        assert 1 <= len(topics) == len(set(topics)) <= 4
        assert items.category[number] == days.world.topics.category[topics[0]]


def test_a_dropped_candidate_was_not_shown(days: Days) -> None:
    """Hard negatives come from the request's own funnel: dropped once, and never shown in it."""
    rows = days.events.slice(100_000, 4_000).to_pylist()
    shown: dict[tuple[int, object], set[int]] = {}
    for row in rows:
        shown.setdefault((row["user_id"], row["event_at"]), set()).add(row["item_id"])
    listing = 0
    for row in rows[4:-4]:
        dropped = row["dropped_by_pre_ranking"] + row["dropped_by_ranking"]
        assert len(set(dropped)) == len(dropped)
        assert shown[row["user_id"], row["event_at"]].isdisjoint(dropped)
        listing += bool(dropped)

    assert listing == pytest.approx(len(rows) / 4, rel=0.02)


def test_a_request_never_shows_an_item_twice(days: Days) -> None:
    """Its candidates come from three sources that may agree."""
    request = days.column("event_at") * 100_000 + days.column("user_id")
    pairs = np.stack((request, days.column("item_id")), axis=1)

    assert len(np.unique(pairs, axis=0)) == len(pairs)


def test_a_world_can_be_asked_for_a_number_of_impressions(start_at: datetime) -> None:
    """The demo asks for a size; night hours, in which little happens, are allowed for."""
    config = WorldConfig.sized(20_000, hours=6, first_hour=2, seed=3)

    events = simulate(config, start_at.replace(hour=2), 6)

    assert config.seed == 3
    assert len(events) == pytest.approx(20_000, rel=0.05)

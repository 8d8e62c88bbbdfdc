"""The news world is a portal: articles burst and fade, sessions follow a topic, and hours look like
those that were measured.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickworld.__main__ import main
from clickworld.daytime import HOUR_MS
from clickworld.news import NewsConfig, NewsWorld
from clickworld.news.statistics import PORTAL, shares
from tests.clickworld.test_world_repeats import as_bytes
from twintide.errors import Refused

START_AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
SMALL = NewsConfig(clicks_per_hour=600, outage_hours=(3, 5), regulars=500)
FROM_HOUR, HOURS, SEEDS = 72, 144, (1, 2, 3)


def hours(config: NewsConfig, count: int) -> pa.Table:
    return pa.concat_tables(NewsWorld(config).hours(START_AT, count)).combine_chunks()


@pytest.fixture(scope="module")
def small() -> pa.Table:
    return hours(SMALL, 12)


def column(events: pa.Table, name: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.asarray(events[name].cast(pa.int64()).to_numpy())


def test_two_portals_of_one_configuration_are_the_same_to_the_byte(small: pa.Table) -> None:
    """In pieces or at once; another seed is another portal."""
    world = NewsWorld(SMALL)
    pieces = [*world.hours(START_AT, 5), *world.hours(START_AT + timedelta(hours=5), 7)]

    assert as_bytes(pa.concat_tables(pieces).combine_chunks()) == as_bytes(small)
    other = hours(NewsConfig(seed=2, clicks_per_hour=600, regulars=500), 2)
    assert other["item_id"].to_pylist()[:50] != small["item_id"].to_pylist()[:50]


def test_clicks_come_in_order_of_time_and_none_before_its_article_or_in_an_outage(
    small: pa.Table,
) -> None:
    """A click names an article that is there, ids of events count, nothing is in the hole."""
    at, item = column(small, "event_at"), column(small, "item_id")

    assert (np.diff(at) >= 0).all()
    assert (column(small, "published_at") <= at).all()
    assert column(small, "event_id").tolist() == list(range(len(small)))
    hour = (at - int(START_AT.timestamp() * 1000)) // HOUR_MS
    assert set(hour.tolist()) == set(range(12)) - {3, 4}
    assert len(np.unique(item)) > 50


def test_a_reader_seldom_reads_an_article_again(small: pa.Table) -> None:
    """Only what so many others have followed that it is not remembered any more."""
    forgetful = hours(replace(SMALL, remembered=1), 12)

    assert read_again(small) < 0.02
    assert read_again(forgetful) > 5 * read_again(small)


def read_again(events: pa.Table) -> float:
    """Share of the readings that are not the first by that reader."""
    pairs = np.stack((column(events, "user_id"), column(events, "item_id")), axis=1)
    return 1 - len(np.unique(pairs, axis=0)) / len(pairs)


def test_a_session_goes_on_about_what_it_was_about(small: pa.Table) -> None:
    """The next click of a session has a topic of the one before far more often than any two do."""
    order = np.lexsort((column(small, "event_at"), column(small, "user_id")))
    user, at = column(small, "user_id")[order], column(small, "event_at")[order]
    topics = [set(small["topics"][int(row)].as_py()) for row in order]
    same = [bool(one & two) for one, two in pairwise(topics)]
    within = (np.diff(user) == 0) & (np.diff(at) < 600_000)

    assert np.array(same)[within].mean() > 3 * np.array(same)[~within].mean()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"topics": 3}, "do not fill"),
        ({"regulars": 0}, "needs a region"),
        ({"session_clicks": (0.5, 0.2)}, "do not sum to 1"),
    ],
)
def test_a_portal_that_cannot_be_is_refused(wrong: dict[str, int], reason: str) -> None:
    """When it is declared, not in the middle of an hour; nor does it go back in time."""
    with pytest.raises(Refused, match=reason):
        NewsConfig(**wrong)  # type: ignore[arg-type]


def test_a_portal_never_goes_back(small: pa.Table) -> None:
    """What was handed out cannot be taken back."""
    world = NewsWorld(SMALL)
    list(world.hours(START_AT, 1))

    with pytest.raises(Refused, match="cannot go on at"):
        list(world.hours(START_AT, 1))


@pytest.mark.parametrize("world", ["news", "feed"])
def test_a_world_is_written_as_a_file(world: str, tmp_path: Path) -> None:
    """`python -m clickworld FILE` makes what evaluate and replay read."""
    main([str(tmp_path / "events.parquet"), "--world", world, "--hours", "1"])

    events = pq.read_table(tmp_path / "events.parquet")
    assert len(events) > 100
    assert {"user_id", "item_id", "event_at"} <= set(events.column_names)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_its_hours_look_like_those_of_the_portal() -> None:
    """Shares inside frozen lists, of new articles and of new readers, in days 4 to 6 of three
    portals: each within a few points of what was measured.
    """
    found = [shares(hours(NewsConfig(seed=seed), HOURS), from_hour=FROM_HOUR) for seed in SEEDS]

    mean = {name: float(np.mean([each[name] for each in found])) for name in PORTAL}
    off = {name: mean[name] - target for name, target in PORTAL.items()}
    assert max(map(abs, off.values())) < 0.05, off
    assert mean["co_visited@10"] > mean["1h@10"] + 0.02

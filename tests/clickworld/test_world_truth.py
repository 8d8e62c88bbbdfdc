"""The truth that the world knows: it agrees with what happens, and it leaves room for a model."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from clickworld.daytime import HOUR_MS, Floats
from tests.clickworld.days import Days

KS = (10, 100)


def instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def test_affinity_is_how_often_such_an_impression_is_clicked(days: Days) -> None:
    """In each tenth of the impressions by affinity, clicks are as frequent as it says."""
    some = np.random.default_rng(1).choice(len(days.events), 5000, replace=False)
    user, item, at = (days.column(name)[some] for name in ("user_id", "item_id", "event_at"))
    clicked = days.column("clicked")[some]

    affinity = np.array(
        [
            days.world.affinity(np.array([u]), np.array([i]), instant(t))[0]
            for u, i, t in zip(user, item, at, strict=True)
        ]
    )

    for tenth in np.array_split(np.argsort(affinity), 10):
        expected = affinity[tenth].mean()
        standard_error = np.sqrt(expected * (1 - expected) / len(tenth))
        assert clicked[tenth].mean() == pytest.approx(expected, abs=4 * standard_error)


def test_affinity_changes_with_the_time_of_day(days: Days, start_at: datetime) -> None:
    """To one user an evergreen is worth something else at breakfast than after dinner."""
    users = np.arange(500)
    evergreen = np.zeros(500, np.int64)

    morning = days.world.affinity(users, evergreen, start_at + timedelta(hours=31))
    evening = days.world.affinity(users, evergreen, start_at + timedelta(hours=44))

    assert np.abs(morning - evening).mean() > 0.03


def test_nobody_is_drawn_to_what_is_not_there(days: Days, start_at: datetime) -> None:
    """Before its birth and after its death an item's affinity is 0, and it is in no list."""
    items = days.world.items
    newest = len(items) - 1
    dead = int(np.flatnonzero(items.dies_at < int(start_at.timestamp() * 1000))[0])
    users = np.zeros(2, np.int64)

    affinity = days.world.affinity(users, np.array([newest, dead]), start_at)

    np.testing.assert_array_equal(affinity, [0, 0])
    assert not {newest, dead} & set(days.world.best_items(0, start_at, len(items)))


def test_best_items_are_the_living_ones_with_the_largest_affinity(
    days: Days, start_at: datetime
) -> None:
    """The list equals what a plain loop over all items finds."""
    at = start_at + timedelta(hours=50)
    items = np.arange(len(days.world.items))
    affinity = days.world.affinity(np.full(len(items), 7), items, at)

    expected = sorted(items, key=lambda item: -affinity[item])[:20]

    assert list(days.world.best_items(7, at, 20)) == expected


def recalls_of_most_clicked(days: Days, window_hours: int) -> Floats:
    """Share of an hour's clicks in the list of the `window_hours` before it, from day 2 on."""
    clicked = days.column("clicked")
    item, hour = days.column("item_id")[clicked], days.hour()[clicked]
    found, total = np.zeros(len(KS)), 0
    for now in range(24, 72):
        before = item[(hour >= now - window_hours) & (hour < now)]
        listed = np.argsort(-np.bincount(before), kind="stable")
        clicks = item[hour == now]
        found += [np.isin(clicks, listed[:k]).sum() for k in KS]
        total += len(clicks)
    return found / total


def recalls_of_best_items(days: Days, clicks: int) -> Floats:
    """Share of that many sampled clicks in the clicker's true list of the hour's start."""
    rows = np.flatnonzero(days.column("clicked") & (days.hour() >= 24))
    rows = np.random.default_rng(2).choice(rows, clicks, replace=False)
    found = np.zeros(len(KS))
    for row in rows:
        hour_at = instant(days.column("event_at")[row] // HOUR_MS * HOUR_MS)
        best = days.world.best_items(int(days.column("user_id")[row]), hour_at, max(KS))
        found += [days.column("item_id")[row] in best[:k] for k in KS]
    return found / clicks


@pytest.mark.long
def test_lists_get_better_with_freshness_and_best_with_taste(days: Days) -> None:
    """All time < a day < an hour, and knowing the user beats each: there is room for a model."""
    all_time, day, hour = (recalls_of_most_clicked(days, window) for window in (1000, 24, 1))
    personal = recalls_of_best_items(days, 500)

    assert (all_time < day).all()
    assert (day < hour).all()
    assert (1.4 * hour < personal).all()
    assert hour[1] < 0.6


def test_a_nightly_model_is_not_hopeless(days: Days) -> None:
    """Most clicks go to items that had been clicked before their day began, and not nearly all."""
    clicked = days.column("clicked")
    item, day = days.column("item_id")[clicked], days.hour()[clicked] // 24

    known = [np.isin(item[day == now], item[day < now]).mean() for now in (1, 2)]

    assert 0.5 < np.mean(known) < 0.8


def test_the_catalogue_grows_to_thousands(days: Days) -> None:
    """Three days show between five and ten thousand items."""
    assert 5_000 < len(np.unique(days.column("item_id"))) < 10_000

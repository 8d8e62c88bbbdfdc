"""How often things happen in the world: clicks, births, visits; and that tastes follow the day."""

import numpy as np
import pytest

from clickworld.catalogue import NEVER_MS
from clickworld.daytime import HOUR_MS, Floats, part_weights, share_of_day
from clickworld.population import Vectors, unit, zipf
from tests.clickworld.days import Days

MORNING, NOON, EVENING = range(3)


def test_a_good_third_of_the_impressions_is_clicked(days: Days) -> None:
    """The recommender that the world has is decent, and not perfect."""
    assert days.column("clicked").mean() == pytest.approx(0.40, abs=0.05)


def test_the_quiet_hour_is_at_four(days: Days) -> None:
    """Traffic follows the day: a day of the learner may begin where the fewest are awake."""
    by_hour = np.bincount(days.hour() % 24, minlength=24)

    assert by_hour.argmin() == 4
    assert by_hour.argmax() == 20
    np.testing.assert_allclose(
        by_hour / by_hour.sum(), [share_of_day(hour) for hour in range(24)], atol=0.003
    )


def test_items_are_shown_while_they_live_and_soon_after_their_birth(days: Days) -> None:
    """No event names an item before its birth or after its death; shelves fill every 10 minutes."""
    items, item, at = days.world.items, days.column("item_id"), days.column("event_at")
    first_shown = np.full(len(items), NEVER_MS)
    np.minimum.at(first_shown, item, at)
    born_during = (items.born_at > at[0]) & (first_shown < NEVER_MS)

    assert (items.born_at[item] <= at).all()
    assert (at - 10 * 60_000 < items.dies_at[item]).all()
    waited = first_shown[born_during] - items.born_at[born_during]
    assert np.median(waited) < HOUR_MS


def test_items_live_for_hours_but_for_a_few_evergreens(days: Days) -> None:
    """News has half-lives of two to eight hours; one newborn in fifty stays for good."""
    items = days.world.items
    born = np.arange(len(items)) >= days.world.config.evergreen_items
    stays = items.dies_at == NEVER_MS
    half_life_hours = items.half_life_ms[~stays] / HOUR_MS

    assert stays[~born].all()
    assert stays[born].mean() == pytest.approx(0.02, abs=0.006)
    assert half_life_hours.min() == pytest.approx(2, abs=0.05)
    assert half_life_hours.max() == pytest.approx(8, abs=0.05)


def test_interest_halves_with_each_half_life(days: Days) -> None:
    """Among items of one popularity, the one that is a half-life older is drawn half as often."""
    items, item, at = days.world.items, days.column("item_id"), days.column("event_at")
    age = items.half_lives(item, at)
    news = items.dies_at[item] < NEVER_MS

    shown = np.histogram(age[news], bins=[0, 1, 2, 3])[0]

    assert shown[1] < 0.65 * shown[0]
    assert shown[2] < 0.65 * shown[1]


def test_popularity_falls_like_zipf(days: Days) -> None:
    """Clicks against rank are near a straight line in the double logarithm."""
    clicks = np.bincount(days.column("item_id")[days.column("clicked")])
    clicks = np.sort(clicks)[::-1][10:1000]
    rank = np.arange(11, 11 + len(clicks))

    slope, _ = np.polyfit(np.log(rank), np.log(clicks), 1)
    straightness = -np.corrcoef(np.log(rank), np.log(clicks))[0, 1]

    assert -1.2 < slope < -0.6
    assert straightness > 0.98


def test_users_visit_as_often_as_their_rank_says(days: Days) -> None:
    """A few users come all the time and most of them now and then; nearly all come at all."""
    visits = np.sort(np.bincount(days.column("user_id"), minlength=20_000))[::-1]
    expected = zipf(20_000, exponent=0.5)

    busiest = visits[:2000].sum() / visits.sum()
    assert busiest == pytest.approx(expected[:2000].sum(), rel=0.2)
    assert (visits > 0).mean() > 0.9


def test_parts_of_the_day_pass_into_each_other(days: Days) -> None:
    """Every moment is a mixture that sums to one, led by its own part."""
    weights = part_weights(np.array([7, 13, 20, 10]) * HOUR_MS)

    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert list(weights[:3].argmax(axis=1)) == [MORNING, NOON, EVENING]
    assert weights[3, MORNING] > 0.2
    assert weights[3, NOON] > 0.2


def test_people_click_on_other_things_in_the_evening(days: Days) -> None:
    """Categories differ more between morning and evening than between two mornings."""
    hour, clicked = days.hour(), days.column("clicked")
    category = days.column("category")

    def mix(day: int, first: int, last: int) -> Floats:
        chosen = clicked & (hour // 24 == day) & (hour % 24 >= first) & (hour % 24 < last)
        counts = np.bincount(category[chosen], minlength=12)
        return np.asarray(counts / counts.sum())

    def distance(one: Floats, other: Floats) -> float:
        return float(np.abs(one - other).sum() / 2)

    same_time = distance(mix(1, 6, 10), mix(2, 6, 10))
    other_time = distance(mix(1, 6, 10), mix(1, 19, 23))
    assert other_time > 2 * same_time


def test_a_taste_comes_back_the_next_day(days: Days) -> None:
    """The same user likes something else in the evening, and the old thing again next morning."""
    users = np.arange(1000)

    def taste(hour: int) -> Vectors:
        vectors = days.world.population.tastes_at(users, np.full(1000, hour * HOUR_MS))
        return unit(vectors)

    same = (taste(7) * taste(24 + 7)).sum(axis=1)
    other = (taste(7) * taste(20)).sum(axis=1)
    np.testing.assert_allclose(same, 1, atol=1e-5)
    assert other.mean() < 0.8

"""What is declared for a stream follows how many clicks a day it has."""

import numpy as np
import pytest

from twintide.clock import DAY_MS
from twintide.traffic import STEPS_A_NIGHT, Traffic, traffic_of


@pytest.mark.parametrize("a_day", [40, 500, 2_300, 3_900])
def test_a_night_has_steps_enough(a_day: int) -> None:
    """As far as a batch may be small."""
    traffic = Traffic(a_day)

    assert a_day / traffic.batch_rows >= STEPS_A_NIGHT or traffic.batch_rows == 32


def test_the_fewer_clicks_the_less_a_row_says_beside_popularity() -> None:
    """Down to where similarity counts as much as a nat."""
    found = [Traffic(each).temperature for each in (3_900, 2_400, 450, 100, 1)]

    assert found == [0.1, 0.1, 0.5, 1.0, 1.0]


def test_hours_of_fewer_clicks_than_a_batch_need_other_negatives() -> None:
    """Others have enough in their own batch."""
    assert [Traffic(each).needs_pool for each in (3_900, 2_400, 450)] == [False, False, True]


def test_the_fewer_clicks_the_less_a_row_learns_from_one() -> None:
    """A third of a busy stream's rate, and a tenth of it."""
    found = [Traffic(each).row_learning_rate for each in (3_900, 2_000, 450, 1)]

    assert found == [0.03, 0.03, 0.01, 0.01]


def test_six_thousand_clicks_a_day_are_enough_for_the_defaults() -> None:
    """Nothing is chosen for such a stream that is not so already."""
    assert [Traffic(each).is_slow for each in (6_000, 3_900)] == [False, True]


def test_a_sample_that_is_too_short_tells_nothing() -> None:
    """Three hours, and a hundred clicks."""
    assert traffic_of(np.arange(0, DAY_MS // 9, 1000)) is None
    assert traffic_of(np.linspace(0, 9 * DAY_MS, 99).astype(np.int64)) is None
    found = traffic_of(np.linspace(0, 2 * DAY_MS, 5000).astype(np.int64))
    assert found is not None
    assert found.clicks_a_day == 2500

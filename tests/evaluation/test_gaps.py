"""What is a hole in the data, and what an outage."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evaluation.gaps import Gap, after_first_day, gaps_in, outages_in
from twintide.clock import to_unix_ms

START = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""

HOUR = timedelta(hours=1)


def test_a_gap_is_longer_than_a_day_and_counts_in_no_first_day() -> None:
    """Strays before the stream, a hole in it: the first 24 hours that hold events are learnt."""
    day = 24 * HOUR
    stream = [START + number * HOUR / 2 for number in range(100)]
    strays = [START - 400 * day, START - 300 * day]
    at_ms = np.array([to_unix_ms(at) for at in (*strays, *stream)], np.int64)

    found = gaps_in(at_ms)

    assert [gap.until for gap in found] == [strays[1], START]
    assert after_first_day(strays[0], found) == START + day
    assert after_first_day(START, []) == START + day
    hole = gaps_in(np.array([to_unix_ms(START), to_unix_ms(START + 9 * day)], np.int64))
    assert after_first_day(START, hole) == START + 10 * day


def steady(hours: int, *, without: set[int], an_hour: int = 60) -> np.ndarray:
    """So many events an hour, but for the hours left out."""
    at = [hour for hour in range(hours) if hour not in without]
    return np.array(
        [
            to_unix_ms(START + hour * HOUR) + number * 3_600_000 // an_hour
            for hour in at
            for number in range(an_hour)
        ],
        np.int64,
    )


def test_an_outage_of_some_hours_is_found() -> None:
    """From the last event before it to the first one after; a quiet night of every day is none."""
    nights = {day * 24 + hour for day in range(6) for hour in range(2, 5)}
    found = outages_in(steady(6 * 24, without={*range(60, 64), *nights}))

    assert found == [Gap(START + 60 * HOUR - timedelta(minutes=1), START + 64 * HOUR)]


def test_a_shop_that_is_closed_on_saturdays_has_no_outage() -> None:
    """What is usual is told by the same hour of other weeks; one closed Wednesday is unusual."""
    days = 5 * 7
    saturdays = {hour for hour in range(days * 24) if hour // 24 % 7 == 5}
    closed = {*range(16 * 24, 17 * 24)}

    assert outages_in(steady(days * 24, without=saturdays)) == []
    (found,) = outages_in(steady(days * 24, without=saturdays | closed))
    assert found.until == START + 17 * 24 * HOUR


@pytest.mark.parametrize("an_hour", [1, 10])
def test_an_empty_hour_of_a_thin_stream_may_be_chance(an_hour: int) -> None:
    """Nothing is called an outage where few events are usual."""
    assert outages_in(steady(6 * 24, without={60, 61}, an_hour=an_hour)) == []

"""Where virtual time stands still."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from evaluation.ticks import Pace, due_ticks
from twintide.days import Calendar

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def pace(every_minutes: int = 60, *, zone: str = "UTC") -> Pace:
    return Pace(every_minutes, 20, Calendar(time(4), ZoneInfo(zone)))


def hours(*numbers: int) -> list[datetime]:
    return [START + number * HOUR for number in numbers]


@pytest.mark.parametrize("every_minutes", [10, 20, 60])
def test_while_every_hour_holds_events_every_tick_is_due(every_minutes: int) -> None:
    """Nothing is left out of a stream without gaps."""
    end = START + 50 * HOUR
    found = due_ticks(hours(*range(50)), pace(every_minutes), begin=START, end=end)

    step = timedelta(minutes=every_minutes)
    assert found == [START + number * step for number in range(50 * 60 // every_minutes)]


def test_after_the_last_event_its_hour_is_learnt_and_its_day() -> None:
    """What was held back is due one tick later, the nightly at the day's end, then nothing."""
    found = due_ticks(hours(0, 8_999), pace(), begin=START, end=START + 9_000 * HOUR)

    early = [at for at in found if at < START + 100 * HOUR]
    assert set(hours(0, 1, 2, 3, 4, 5)) <= set(early)
    assert len(found) < 20
    assert found[-1] == START + 8_999 * HOUR


def test_a_day_that_ends_between_two_ticks_is_due_at_the_next_one() -> None:
    """Calcutta's midnight is half past an hour of UTC."""
    india = pace(zone="Asia/Calcutta")
    found = due_ticks(hours(0), india, begin=START, end=START + 90 * HOUR)

    day_end = india.calendar.end_of(india.calendar.day_of(START))
    assert any(day_end <= at < day_end + HOUR for at in found)

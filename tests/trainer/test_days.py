"""Days are a partition of time, in every zone and whenever they begin."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twintide.days import Calendar
from twintide.due import due_day

ZONES = sorted(available_timezones() - {"localtime"})
FIRST, LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2060, 1, 1, tzinfo=UTC)
APIA = Calendar(time(4), ZoneInfo("Pacific/Apia"))
MINUTE = timedelta(minutes=1)


def check_instant(calendar: Calendar, at: datetime) -> None:
    """`at` lies in one day, that day holds time, and its neighbours meet it."""
    day = calendar.day_of(at)
    begin, end = calendar.start_of(day), calendar.end_of(day)
    assert begin <= at < end
    assert calendar.day_of(begin) == calendar.day_of(end - MINUTE) == day
    before, after = calendar.before(day), calendar.after(day)
    assert before < day < after
    assert (calendar.end_of(before), calendar.start_of(after)) == (begin, end)


@settings(max_examples=600, deadline=None)
@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    minute=st.integers(0, 24 * 60 - 1),
    at=st.integers(0, int((LAST - FIRST) / MINUTE)).map(lambda number: FIRST + number * MINUTE),
)
def test_every_instant_lies_in_exactly_one_day(zone: ZoneInfo, minute: int, at: datetime) -> None:
    """Any zone, any beginning of the day, any instant; also where clocks change that very day."""
    check_instant(Calendar(time(minute // 60, minute % 60), zone), at)


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("starts_at", [time(0), time(0, 30), time(2, 30), time(4), time(23, 45)])
def test_no_zone_has_a_minute_without_a_day_or_in_two(starts_at: time) -> None:
    """All zones: around each change of clocks of seventy years, minute by minute."""
    for name in ZONES:
        zone = ZoneInfo(name)
        calendar = Calendar(starts_at, zone)
        at = FIRST
        while at < LAST:
            if (
                at.astimezone(zone).utcoffset()
                != (at + timedelta(days=1)).astimezone(zone).utcoffset()
            ):
                for minute in range(-24 * 60, 48 * 60, 15):
                    check_instant(calendar, at + minute * MINUTE)
            at += timedelta(days=1)


def test_a_day_that_its_zone_skips_is_never_due() -> None:
    """Samoa crossed the date line: 29 December 2011 was followed by the 31st."""
    skipped, after = date(2011, 12, 30), date(2011, 12, 31)
    assert APIA.start_of(skipped) == APIA.end_of(skipped)
    assert (APIA.after(date(2011, 12, 29)), APIA.before(after)) == (after, date(2011, 12, 29))

    at, due = APIA.start_of(date(2011, 12, 29)), set()
    while at < APIA.end_of(after):
        due.add(due_day(None, newest_shard_at=at, complete=at, now=at, calendar=APIA))
        at += timedelta(minutes=30)

    assert due == {date(2011, 12, 28), date(2011, 12, 29)}


@pytest.mark.parametrize(
    ("zone", "starts_at", "begins"),
    [
        ("Europe/Vienna", time(2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),  # skipped
        ("Europe/Vienna", time(2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # comes twice
        ("America/Sao_Paulo", time(0), datetime(2018, 11, 4, 3, 0, tzinfo=UTC)),  # no midnight
        ("America/St_Johns", time(0), datetime(2010, 11, 7, 2, 30, tzinfo=UTC)),  # two of them
    ],
)
def test_a_day_begins_once_where_clocks_change_at_its_beginning(
    zone: str, starts_at: time, begins: datetime
) -> None:
    """At the same local time where there is one, an hour later where it is skipped."""
    calendar = Calendar(starts_at, ZoneInfo(zone))
    day = calendar.day_of(begins)

    assert calendar.start_of(day) == begins
    assert calendar.day_of(begins - MINUTE) == day - timedelta(days=1)
    for minutes in range(-300, 300, 7):
        check_instant(calendar, begins + minutes * MINUTE)

"""Where virtual time stands still, and what is said of an evaluation's outcome."""

from datetime import UTC, datetime, time, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from rich.console import Console

from evaluation.ticks import Pace, after_first_day, due_ticks, gaps_in
from evaluation.verdict import policies_table, verdict
from twintide.clock import to_unix_ms
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


def policy(name: str, recall: float | None, *, clicks: int = 10_000) -> dict[str, Any]:
    kind = "baseline" if name.startswith("popular") else "model"
    return {"name": name, "kind": kind, "recall@10": recall, "positives": clicks}


def test_the_verdict_says_where_a_list_beats_every_model() -> None:
    """The one thing that a reader must not miss."""
    said = " ".join(verdict([policy("nightly", 0.3), policy("popular-1h", 0.4)]))

    assert "no model beats a plain list: popular-1h with recall@10 0.400" in said
    assert "nightly with recall@10 0.300" in said
    assert "too close" not in said


def test_the_verdict_names_the_winner_and_what_may_be_chance() -> None:
    """A difference of two standard errors or less is said to be too close to tell."""
    few = {"clicks": 100}
    sure = list(verdict([policy("hourly", 0.2), policy("nightly", 0.4), policy("popular-1h", 0.1)]))
    unsure = list(verdict([policy("hourly", 0.39, **few), policy("nightly", 0.4, **few)]))

    assert sure[0] == "* best: nightly with recall@10 0.400"
    assert not any("too close" in line for line in sure)
    assert "too close to tell" in unsure[1]
    assert list(verdict([policy("never", None)])) == ["nothing was scored"]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_every_width_shows_every_name_and_number(columns: int) -> None:
    """Sorted, the best first and marked; nothing is cut off, whatever the terminal."""
    policies = [row("popular-all-time", 0.25), row("nightly+hourly", 0.5), row("co-visitation", 0)]
    made = policies_table({"policies": policies})
    terminal = Console(width=columns, file=StringIO(), record=True)

    terminal.print(made)

    said = terminal.export_text()
    names = ("nightly+hourly *", "popular-all-time", "co-visitation")
    places = [said.index(name) for name in names]
    assert places == sorted(places)
    for recall in ("0.500", "0.501", "0.502", "0.250", "0.251", "0.252", "0.000"):
        assert recall in said
    for word in ("recall@10", "@50", "@100", "coverage", "new users@10", "train s"):
        assert word in said
    assert "…" not in said
    assert max(len(line.rstrip()) for line in said.splitlines()) <= columns


def row(name: str, recall: float) -> dict[str, Any]:
    made = policy(name, recall)
    recalls = {"recall@50": recall + 0.001, "recall@100": recall + 0.002}
    return made | recalls | {"groups": {}, "coverage@10": 0.9, "train_seconds": 1234.5}

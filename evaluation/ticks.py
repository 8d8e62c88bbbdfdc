"""When virtual time stands still: only where something can be due.

Nothing is due in an hour without events that follows another one: no policy has anything to learn,
and nobody is there to be shown a list. So what an evaluation costs follows the clicks, however long
the times between them are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from twintide.clock import floor_to_minutes, from_unix_ms, iso
from twintide.days import Calendar

_HOUR = timedelta(hours=1)
GAP = timedelta(hours=24)
"""A time without any event that is longer is named in the report."""

_NAMED_GAPS = 10


@dataclass(frozen=True)
class Pace:
    """How often a policy may act, and how long what it has not learnt yet may take to be due."""

    every_minutes: int
    holdback_minutes: int
    calendar: Calendar


def due_ticks(
    busy: Iterable[datetime], pace: Pace, *, begin: datetime, end: datetime
) -> list[datetime]:
    """The instants in [begin, end) at which a policy has to act, in order.

    `busy` are the hours that hold events. Around each: every tick within it, those after it until
    what was held back is learnt too, and the end of its day, when a nightly is due.
    """
    step = timedelta(minutes=pace.every_minutes)
    begin = floor_to_minutes(begin, pace.every_minutes)
    found: set[datetime] = set()
    for hour_at in busy:
        settled = hour_at + _HOUR + timedelta(minutes=pace.holdback_minutes) + step
        found.update(_every(step, hour_at, settled))
        day_end = pace.calendar.end_of(pace.calendar.day_of(hour_at))
        night_at = floor_to_minutes(day_end, pace.every_minutes)
        found.update(_every(step, night_at, day_end + 2 * step))
    return sorted(at for at in found | {begin} if begin <= at < end)


def _every(step: timedelta, begin: datetime, end: datetime) -> Iterator[datetime]:
    """From `begin`, which is a tick, to the first tick that is not before `end`."""
    at = begin
    while at < end + step:
        yield at
        at += step


@dataclass(frozen=True)
class Gap:
    """A time without any event."""

    after: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.after


def gaps_in(at_ms: npt.NDArray[np.int64]) -> list[Gap]:
    """Where nothing happened for more than a day; `at_ms` is sorted."""
    long = np.flatnonzero(np.diff(at_ms) > GAP // timedelta(milliseconds=1))
    return [Gap(from_unix_ms(int(at_ms[i])), from_unix_ms(int(at_ms[i + 1]))) for i in long]


def after_first_day(first_at: datetime, gaps: Iterable[Gap]) -> datetime:
    """Where 24 hours have passed since the first event, gaps not counted: a stray event of long
    ago does not make the first real day one to be scored.
    """
    begin, left = floor_to_minutes(first_at, 60), GAP
    for gap in gaps:
        lived = floor_to_minutes(gap.after, 60) - begin
        if lived >= left:
            break
        left -= lived
        begin = floor_to_minutes(gap.until, 60)
    return begin + left


def gap_facts(gaps: list[Gap]) -> list[dict[str, Any]]:
    """The longest gaps for report.json, in order of time."""
    longest = sorted(gaps, key=lambda gap: gap.length, reverse=True)[:_NAMED_GAPS]
    return [
        {
            "after": iso(gap.after),
            "until": iso(gap.until),
            "hours": round(gap.length / _HOUR, 1),
        }
        for gap in sorted(longest, key=lambda gap: gap.after)
    ]

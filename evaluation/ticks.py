"""When virtual time stands still: only where something can be due.

Nothing is due in an hour without events that follows another one: no policy has anything to learn,
and nobody is there to be shown a list. So what an evaluation costs follows the clicks, however long
the times between them are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from twintide.clock import floor_to_minutes
from twintide.days import Calendar

_HOUR = timedelta(hours=1)


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

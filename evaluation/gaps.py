"""Times without any event: what is a hole in the data, and what an outage."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from twintide.clock import floor_to_minutes, from_unix_ms, iso

Ints = npt.NDArray[np.int64]
GAP = timedelta(hours=24)
"""What is longer is a gap, whatever the stream."""

USUAL_EVENTS = 20
"""A whole hour without an event is an outage where it usually has so many: chance leaves one of
5 · 10^8 of such hours empty.
"""

_HOUR = timedelta(hours=1)
_HOUR_MS = 3_600_000
_DAY_HOURS, _WEEK_HOURS = 24, 168
_FEWEST_OTHERS = 2
"""Hours of other days, or weeks, that tell what is usual."""

_NAMED_GAPS = 10


@dataclass(frozen=True)
class Gap:
    """A time without any event."""

    after: datetime
    until: datetime

    @property
    def length(self) -> timedelta:
        return self.until - self.after


def gaps_in(at_ms: Ints) -> list[Gap]:
    """Where nothing happened for more than a day; `at_ms` is sorted."""
    long = np.flatnonzero(np.diff(at_ms) > GAP // timedelta(milliseconds=1))
    return [Gap(from_unix_ms(int(at_ms[i])), from_unix_ms(int(at_ms[i + 1]))) for i in long]


def outages_in(at_ms: Ints) -> list[Gap]:
    """Where whole hours are empty that usually are not; `at_ms` is sorted.

    Usual is the median of the same hour of the other weeks, so that a shop that is closed on
    Saturdays has no outage; of the other days, where the data are of too few weeks.
    """
    hours = at_ms // _HOUR_MS
    counts = np.bincount(hours - hours[0])
    empty = np.flatnonzero(counts == 0)
    missing = hours[0] + np.array([at for at in empty if _is_unusual(counts, int(at))], np.int64)
    behind = np.unique(np.searchsorted(hours, missing))
    return [Gap(from_unix_ms(int(at_ms[i - 1])), from_unix_ms(int(at_ms[i]))) for i in behind]


def _is_unusual(counts: Ints, at: int) -> bool:
    for period in (_WEEK_HOURS, _DAY_HOURS):
        same = counts[at % period :: period]
        if len(same) > _FEWEST_OTHERS:
            others = np.delete(same, at // period)
            return bool(np.median(others) >= USUAL_EVENTS)
    return False


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

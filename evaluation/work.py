"""How much work an evaluation is, before it is done: by its clicks, its nights and its policies.

Seconds are those of a machine that is usual; what this one takes for them is measured on the way.
The first day is nearly free, since there is no model yet, so time by itself tells nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from evaluation.policies import Policy
from evaluation.span import Span
from twintide.clock import floor_to_minutes, to_unix_ms
from twintide.days import Calendar

SLICE_SECONDS, SLICED_SECONDS = 0.05, 50e-6
"""Of a slice, and of a click in it; so for all that follow."""

PASS_SECONDS, PASSED_SECONDS = 0.7, 120e-6
NIGHT_SECONDS, NIGHTLY_SECONDS = 1.0, 120e-6
LIST_SECONDS, LISTED_SECONDS = 0.002, 10e-6
PUBLISH_SECONDS = 0.6
STATISTICS_SECONDS = 0.2
SCORED_SECONDS = 100e-6

USUAL_SECONDS = 2.0
"""As much as if so much had been done on a usual machine, counts what was not yet measured."""


@dataclass(frozen=True)
class Moment:
    """A tick: what is to be learnt at it, and then to be scored."""

    at: datetime
    new: int
    """Clicks since the last one."""

    night: int | None
    """Clicks of the day that ended since the last one; None: none did."""

    has_nightly: bool
    coming: int
    """Clicks until the next one, of which `scored` are scored."""

    scored: int


def moments(
    ticks: Sequence[datetime], clicks_ms: npt.NDArray[np.int64], calendar: Calendar, span: Span
) -> Iterator[Moment]:
    """The ticks of a lane; `clicks_ms` is sorted."""

    def before(at: datetime) -> int:
        return int(np.searchsorted(clicks_ms, to_unix_ms(at)))

    ends = [*ticks, span.last_at]
    last, night_from, has_nightly = 0, 0, False
    first, until = before(span.score_from), before(span.score_until)
    for previous, (at, end) in zip([ticks[0], *ticks], pairwise(ends), strict=False):
        here, after = before(at), before(max(at, end))
        night = None
        if calendar.day_of(previous) != calendar.day_of(at) and here > night_from:
            night, night_from, has_nightly = here - night_from, here, True
        scored = max(min(after, until) - max(here, first), 0)
        yield Moment(at, here - last, night, has_nightly, after - here, scored)
        last = here


def seconds_of(moment: Moment, policies: Sequence[Policy], *, sample: float) -> float:
    """All that policies that share slices do at a tick, and until the next; a policy with several
    seeds is there for each.
    """
    slicing = SLICE_SECONDS + SLICED_SECONDS * moment.coming
    return slicing + sum(_OF_KIND[each.kind](each, moment, sample) for each in policies)


def _of_list(_: Policy, moment: Moment, sample: float) -> float:
    return LIST_SECONDS + LISTED_SECONDS * (moment.new + sample * moment.scored)


def _of_model(policy: Policy, moment: Moment, sample: float) -> float:
    found = SCORED_SECONDS * sample * moment.scored
    if policy.exact_of is not None:
        return found
    is_learning, every = False, policy.learns_every_minutes
    if policy.nightly and moment.night is not None:
        found, is_learning = found + NIGHT_SECONDS + NIGHTLY_SECONDS * moment.night, True
    is_due = every is None or floor_to_minutes(moment.at, every) == moment.at
    if policy.passes and is_due and moment.new and (moment.has_nightly or not policy.nightly):
        found, is_learning = found + PASS_SECONDS + PASSED_SECONDS * moment.new, True
    if is_learning:
        return found + PUBLISH_SECONDS
    return found + (STATISTICS_SECONDS if every is not None and moment.has_nightly else 0.0)


_OF_KIND = {"baseline": _of_list, "model": _of_model}


@dataclass(frozen=True)
class Progress:
    """How far one process has come: seconds of a usual machine."""

    done: float
    left: float

    def after(self, seconds: float) -> "Progress":
        """So much more is done."""
        return Progress(self.done + seconds, self.left - seconds)

    def seconds_left(self, *, elapsed: float) -> float:
        """By how this machine compares with a usual one, where that is known already."""
        pace = (elapsed + USUAL_SECONDS) / (self.done + USUAL_SECONDS)
        return pace * max(self.left, 0.0)


def seconds_left(progress: Sequence[Progress], *, elapsed: float) -> float:
    """Until the last of the processes has done its share."""
    return max(each.seconds_left(elapsed=elapsed) for each in progress)

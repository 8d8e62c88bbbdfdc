"""What of a data set is gone through, and which part of it is scored."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evaluation.gaps import after_first_day, gaps_in
from twintide.clock import from_unix_ms, iso
from twintide.config import Deployment
from twintide.errors import Refused


@dataclass(frozen=True)
class Span:
    """What is gone through, and which part of it is scored."""

    first_at: datetime
    last_at: datetime
    score_from: datetime
    score_until: datetime


def default_span(at_ms: npt.NDArray[np.int64]) -> Span:
    """The first 24 hours are learnt and not scored; gaps do not count. `at_ms` is sorted."""
    first_at, last_at = from_unix_ms(int(at_ms[0])), from_unix_ms(int(at_ms[-1]))
    score_from = after_first_day(first_at, gaps_in(at_ms))
    return Span(first_at, last_at, score_from, last_at + timedelta(milliseconds=1))


def span_of(
    events: pa.Table,
    deployment: Deployment,
    *,
    score_from: datetime | None,
    score_until: datetime | None,
) -> Span:
    """What is gone through and scored. Raises Refused where nothing would be scored."""
    usual = default_span(sorted_ms(events, deployment))
    span = dataclasses.replace(
        usual,
        score_from=score_from or usual.score_from,
        score_until=score_until or usual.score_until,
    )
    if span.score_from >= min(span.last_at, span.score_until):
        raise Refused(
            f"nothing would be scored: the events reach from {iso(span.first_at)} to "
            f"{iso(span.last_at)}, scoring from {iso(span.score_from)} to {iso(span.score_until)}",
            hint="the first 24 hours are learnt and not scored, unless --score-from says otherwise",
        )
    return span


def sorted_ms(events: pa.Table, deployment: Deployment) -> npt.NDArray[np.int64]:
    """When each event was."""
    times = events[deployment.events.time].combine_chunks().cast(pa.int64())
    return np.sort(np.asarray(times, np.int64))

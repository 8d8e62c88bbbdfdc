"""Where everything of a report's charts lies, in pixels. Pure: figures in, coordinates out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import log2
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 900, 320
LEFT, RIGHT, TOP, BOTTOM = 48, 888, 12, 284
NIGHT = (22, 6)
"""Local hours between which it is night."""

SMOOTH_FROM_HOURS = 48
"""Longer reports are drawn as running means: single hours would be a thicket."""

_SHADED_UP_TO = timedelta(days=60)
_MOST_POINTS = 400
_AGE_TICKS = (0.25, 0.5, 1, 2, 4, 8, 12, 24, 48, 96, 240)
_MARKS_APART = 75
"""Pixels between two words on the axis of time, at least."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One policy."""

    name: str
    slot: int
    """Which colour it has, everywhere in the report."""

    is_model: bool
    path: str
    band: str
    """Around the path: where the truth may lie; empty for a list."""

    dots: list[tuple[float, float]]
    bars: str
    """Where the truth may lie at each dot."""


@dataclass(frozen=True)
class Chart:
    """A chart."""

    curves: list[Curve]
    x_marks: list[tuple[float, str]]
    y_marks: list[tuple[float, str]]
    nights: list[tuple[float, float]]
    """Left edge and width of each."""


def by_hour(policies: Sequence[dict[str, Any]], *, k: int, zone: str) -> Chart | None:
    """Recall of every policy, hour by hour; None where nothing was scored."""
    if not any(each["hours"] for each in policies):
        return None
    width = window(max(len(each["hours"]) for each in policies))
    series = [_series(each, k=k, width=width) for each in policies]
    first, last = min(s[0][0] for s in series), max(s[0][-1] for s in series)
    top = top_of(max(float(s[1].max()) for s in series))
    scale = _Scale(first, max(last, first + 1), top)
    curves = [
        _curve(each, slot, scale, *s)
        for slot, (each, s) in enumerate(zip(policies, series, strict=True))
    ]
    return Chart(curves, *_calendar(scale, ZoneInfo(zone)))


@dataclass(frozen=True)
class _Scale:
    """From hours and shares to pixels."""

    first: float
    last: float
    top: float

    def x(self, value: float) -> float:
        share = (value - self.first) / (self.last - self.first)
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    def y(self, share: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * min(share / self.top, 1.0), 1)

    def y_marks(self) -> list[tuple[float, str]]:
        digits = 2 if round(self.top * 100) % 4 == 0 else 3  # of quarters
        return [(self.y(self.top * n / 4), f"{self.top * n / 4:.{digits}f}") for n in range(5)]


def _series(policy: dict[str, Any], *, k: int, width: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Middle of each hour since the epoch, recall there, and its interval: of the window."""
    hours = policy["hours"]
    at = [datetime.fromisoformat(each["start_at"]).timestamp() / 3600 + 0.5 for each in hours]
    clicks = np.array([each["positives"] for each in hours], np.float64)
    recall = np.array([each[f"recall@{k}"] for each in hours], np.float64)
    low, high = np.array([each[f"interval@{k}"] for each in hours], np.float64).T
    half = np.square(clicks * (high - low) / 2)
    total = np.maximum(_running(clicks, width), 1)
    mean, spread = _running(clicks * recall, width) / total, np.sqrt(_running(half, width)) / total
    few = slice(None, None, -(-len(at) // _MOST_POINTS))
    return np.array(at)[few], mean[few], (mean - spread)[few], (mean + spread)[few]


def _running(values: Floats, width: int) -> Floats:
    """Sum over the window of that many values around each, shorter at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(len(values))
    begin = np.maximum(at - width // 2, 0)
    end = np.minimum(at + width // 2 + 1, len(values))
    return total[end] - total[begin]


def window(hours: int) -> int:
    """Hours of the running mean: an odd number, 1 for none."""
    return 1 if hours < SMOOTH_FROM_HOURS else 2 * (hours // 96) + 1


def top_of(highest: float) -> float:
    """Where the axis ends."""
    steps = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
    return next((each for each in steps if highest <= each), 1.0)


def _curve(
    policy: dict[str, Any],
    slot: int,
    scale: _Scale,
    at: Floats,
    mean: Floats,
    low: Floats,
    high: Floats,
) -> Curve:
    xs = [scale.x(each) for each in at]
    middle = _through(xs, [scale.y(each) for each in mean])
    is_model = policy["kind"] == "model"
    band = ""
    if is_model:
        there = _through(xs, [scale.y(each) for each in high])
        back = _through(xs[::-1], [scale.y(max(each, 0.0)) for each in low[::-1]])
        band = f"{there}L{back[1:]}Z"
    dots = [] if len(xs) > 1 else [(xs[0], scale.y(mean[0]))]
    return Curve(policy["name"], slot, is_model, middle, band, dots, "")


def _through(xs: Sequence[float], ys: Sequence[float]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in zip(xs, ys, strict=True))


Marks = list[tuple[float, str]]


def _calendar(scale: _Scale, zone: ZoneInfo) -> tuple[Marks, Marks, list[tuple[float, float]]]:
    """Midnights or hours on the axis, the shares, and nights."""
    first = datetime.fromtimestamp(scale.first * 3600, zone)
    last = datetime.fromtimestamp(scale.last * 3600, zone)
    hours = scale.last - scale.first
    step = next(
        each
        for each in (1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 720, 2160, 8760, 87_600, 876_000)
        if hours / each <= (RIGHT - LEFT) / _MARKS_APART
    )
    at, marks = first.replace(hour=0, minute=0, second=0, microsecond=0), []
    while at <= last:
        if at >= first:
            said = f"{at:%d %b}" if at.hour == 0 else f"{at:%H:%M}"
            marks.append((scale.x(at.timestamp() / 3600), said))
        at += timedelta(hours=step)
    return marks, scale.y_marks(), _nights(scale, first, last)


def _nights(scale: _Scale, first: datetime, last: datetime) -> list[tuple[float, float]]:
    if last - first > _SHADED_UP_TO:
        return []
    evening = first.replace(hour=NIGHT[0], minute=0) - timedelta(days=1)
    found = []
    while evening < last:
        morning = evening + timedelta(hours=(NIGHT[1] - NIGHT[0]) % 24)
        left, right = (min(max(each, first), last) for each in (evening, morning))
        x = scale.x(left.timestamp() / 3600)
        found.append((x, round(scale.x(right.timestamp() / 3600) - x, 1)))
        evening += timedelta(days=1)
    return [each for each in found if each[1] > 0]


def by_age(policies: Sequence[dict[str, Any]], of: str, *, k: int) -> Chart | None:
    """Recall of every model by the age of `of`: of the model, or its statistics; None of none."""
    aged = [(slot, each) for slot, each in enumerate(policies) if each["ages"][of]]
    if not aged:
        return None
    points = [point for _, each in aged for point in each["ages"][of]]
    ages = [_by_doublings(point["mean_hours"]) for point in points]
    first, last = min(ages) - 0.3, max(ages) + 0.3
    scale = _Scale(first, last, top_of(max(point[f"interval@{k}"][1] for point in points)))
    marks = [
        (scale.x(_by_doublings(hours)), f"{hours:g} h" if hours >= 1 else f"{hours * 60:.0f} min")
        for hours in _AGE_TICKS
        if first <= _by_doublings(hours) <= last
    ]
    curves = [_aged(each, slot, scale, each["ages"][of], k=k) for slot, each in aged]
    return Chart(curves, marks, scale.y_marks(), [])


def _by_doublings(hours: float) -> float:
    return log2(max(hours, 1 / 60))


def _aged(
    policy: dict[str, Any], slot: int, scale: _Scale, points: list[dict[str, Any]], *, k: int
) -> Curve:
    xs = [scale.x(_by_doublings(each["mean_hours"])) for each in points]
    ys = [scale.y(each[f"recall@{k}"]) for each in points]
    bars = "".join(
        f"M{x:g} {scale.y(low):g}V{scale.y(high):g}"
        for x, (low, high) in zip(xs, (each[f"interval@{k}"] for each in points), strict=True)
    )
    dots = list(zip(xs, ys, strict=True))
    return Curve(policy["name"], slot, True, _through(xs, ys), "", dots, bars)  # noqa: FBT003  lists have no age

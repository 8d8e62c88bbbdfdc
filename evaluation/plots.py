"""The plot of an evaluation: recall hour by hour, policy beside policy.

Models are solid lines, baselines are dashed, and each line carries its name at its end. Nights are
shaded, since tastes and traffic change with the time of day.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure

KS = (10, 100)
NIGHT = (22, 6)
"""Local hours between which it is night."""

_COLOURS = {
    "nightly+hourly": "#d1495b",
    "nightly": "#00798c",
    "hourly": "#edae49",
    "never": "#8d6a9f",
    "popular-1h": "#2f3e46",
    "popular-24h": "#6b7a82",
    "popular-all-time": "#a9b4ba",
    "co-visitation": "#7a9e7e",
}
_OTHERS = ("#b56576", "#457b9d", "#bc6c25", "#5f0f40")
_SHADED_UP_TO = timedelta(days=60)
"""Over a longer time single nights could not be told apart."""

_SMOOTH_FROM_HOURS = 48
"""Longer reports are drawn as running means: single hours would be a thicket."""

Floats = npt.NDArray[np.float64]


def recall_by_hour(report: dict[str, Any], path: Path, *, zone: str) -> None:
    """Draw recall@10 and recall@100 of every policy of a report into a PNG."""
    hours = max(len(policy["hours"]) for policy in report["policies"])
    width = _window(hours)
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(13, 8.5), layout="constrained")
        all_axes = figure.subplots(len(KS), 1, sharex=True)
        for k, axes in zip(KS, all_axes, strict=True):
            _draw(axes, report["policies"], k=k, width=width, zone=ZoneInfo(zone))
        smoothed = f", running mean over {width} hours" if width > 1 else ""
        figure.suptitle(
            "Share of clicks whose item was in the list that was live before the click",
            x=0.01, ha="left", fontsize=14, fontweight="bold",
        )  # fmt: skip
        all_axes[0].set_title(f"recall@{KS[0]}, hour by hour{smoothed}", loc="left")
        all_axes[1].set_title(f"recall@{KS[1]}, hour by hour{smoothed}", loc="left")
        if all_axes[0].get_legend_handles_labels()[0]:
            all_axes[0].legend(loc="upper left", ncols=4, frameon=False, fontsize=9)
        all_axes[-1].set_xlabel(f"event time ({zone}); nights are shaded")
        figure.savefig(path, dpi=110)


def _draw(
    axes: Axes, policies: Sequence[dict[str, Any]], *, k: int, width: int, zone: ZoneInfo
) -> None:
    ends: list[tuple[float, str, str]] = []
    times: list[datetime] = []
    for number, policy in enumerate(policies):
        times, recall = _series(policy, k=k, width=width)
        if not times:
            continue
        colour = _COLOURS.get(policy["name"], _OTHERS[number % len(_OTHERS)])
        is_model = policy["kind"] == "model"
        axes.plot(
            times,  # type: ignore[arg-type]  # matplotlib takes datetimes
            recall,
            color=colour,
            linestyle="-" if is_model else (0, (4, 2)),
            linewidth=2.4 if is_model else 1.4,
            label=f"{policy['name']}  {policy[f'recall@{k}']:.3f}" if k == KS[0] else None,
            zorder=3 if is_model else 2,
        )
        ends.append((float(recall[-1]), policy["name"], colour))
    if not times:
        return
    top = max(float(line.get_ydata().max()) for line in axes.get_lines())  # type: ignore[union-attr]
    axes.set_ylim(0, (top or 1.0) * (1.3 if k == KS[0] else 1.08))
    half_hour = timedelta(minutes=30)
    axes.set_xlim(times[0] - half_hour, times[-1] + half_hour)  # type: ignore[arg-type]
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    locator = dates.AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = dates.ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    _shade_nights(axes, times, zone)
    _name_ends(axes, ends)


def _series(policy: dict[str, Any], *, k: int, width: int) -> tuple[list[datetime], Floats]:
    """Middle of each hour, and the recall there: hits over clicks of the window around it."""
    hours = policy["hours"]
    times = [datetime.fromisoformat(hour["start_at"]) + timedelta(minutes=30) for hour in hours]
    clicks = np.array([hour["positives"] for hour in hours], np.float64)
    hits = clicks * np.array([hour[f"recall@{k}"] or 0.0 for hour in hours])
    return times, _running(hits, width) / np.maximum(_running(clicks, width), 1)


def _running(values: Floats, width: int) -> Floats:
    """Sum over the window of that many values around each, shorter at the ends."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    at = np.arange(len(values))
    begin = np.maximum(at - width // 2, 0)
    end = np.minimum(at + width // 2 + 1, len(values))
    return total[end] - total[begin]


def _window(hours: int) -> int:
    """Hours of the running mean: an odd number, 1 for none."""
    return 1 if hours < _SMOOTH_FROM_HOURS else 2 * (hours // 48) + 1


def _shade_nights(axes: Axes, times: Sequence[datetime], zone: ZoneInfo) -> None:
    first, last = times[0], times[-1]
    if last - first > _SHADED_UP_TO:
        return
    evening = first.astimezone(zone).replace(hour=NIGHT[0], minute=0) - timedelta(days=1)
    while evening < last:
        morning = evening + timedelta(hours=(NIGHT[1] - NIGHT[0]) % 24)
        axes.axvspan(
            max(evening, first),  # type: ignore[arg-type]
            min(max(morning, first), last),  # type: ignore[arg-type]
            color="#eef1f6",
            zorder=0,
            linewidth=0,
        )
        evening += timedelta(days=1)


def _name_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Each line's name beside its end, moved apart where they would cover each other."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.052
    below = low - gap
    for value, name, colour in sorted(ends):
        place = max(value, below + gap)
        below = place
        axes.annotate(
            name,
            xy=(1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=9,
            annotation_clip=False,
        )


def sparkline(values: Sequence[float | None], *, top: float) -> str:
    """One character per value, its height the share of `top`; a space where there is none."""
    blocks = "▁▂▃▄▅▆▇█"
    height = len(blocks) / (top or 1.0)
    return "".join(
        " " if value is None else blocks[min(int(value * height), len(blocks) - 1)]
        for value in values
    )

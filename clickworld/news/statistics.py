"""What lists frozen at the start of an hour find of its clicks: by that a portal is known.

They are counted here anew, without the baselines of `twintide evaluate`, so that the world is
judged by other code than what is tried on it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clickworld.daytime import HOUR_MS
from clickworld.population import Ids

WINDOWS_HOURS = {"all_time": 10**6, "24h": 24, "3h": 3, "1h": 1}
KS = (10, 100)
_SMOOTHING = 10.0
_PAIRS_HOURS = 3

PORTAL = {
    "all_time@10": 0.06,
    "all_time@100": 0.32,
    "24h@10": 0.23,
    "24h@100": 0.67,
    "3h@10": 0.44,
    "3h@100": 0.81,
    "1h@10": 0.49,
    "1h@100": 0.83,
    "co_visited@10": 0.55,
    "co_visited@100": 0.86,
    "new_items": 0.024,
    "new_users": 0.23,
}
"""What was measured of a portal of 3M clicks in 16 days. A new item is one that nobody had clicked
before the hour; a new user has not come before it.
"""

Found = dict[str, float]


@dataclass(frozen=True)
class Stream:
    """Clicks in order of time, articles and readers as small numbers."""

    items: Ids
    users: Ids
    hours: Ids
    before: Ids
    """The article that the reader clicked before, -1 for none."""

    @classmethod
    def of(cls, events: pa.Table) -> "Stream":
        """Of a table of `clickworld.news.world.SCHEMA`."""
        at_ms = events["event_at"].cast(pa.int64()).to_numpy()
        users = events["user_id"].to_numpy()
        items = np.unique(events["item_id"].to_numpy(), return_inverse=True)[1]
        order = np.lexsort((at_ms, users))
        before = np.full(len(items), -1)
        again = np.flatnonzero(users[order][1:] == users[order][:-1]) + 1
        before[order[again]] = items[order[again - 1]]
        return cls(items, users, at_ms // HOUR_MS - at_ms[0] // HOUR_MS, before)


def shares(events: pa.Table, *, from_hour: int) -> Found:
    """Shares of all clicks from an hour on, each list as of the start of each hour."""
    stream = Stream.of(events)
    bounds = np.searchsorted(stream.hours, np.arange(stream.hours[-1] + 2))
    found: dict[str, int] = {}
    scored = 0
    for hour in range(from_hour, int(stream.hours[-1]) + 1):
        own = slice(bounds[hour], bounds[hour + 1])
        scored += own.stop - own.start
        for name, count in _of_hour(stream, bounds, hour, own).items():
            found[name] = found.get(name, 0) + count
    return {name: count / scored for name, count in found.items()}


def _of_hour(stream: Stream, bounds: Ids, hour: int, own: slice) -> dict[str, int]:
    items = stream.items[own]
    size = int(stream.items.max()) + 1
    counts = {
        name: np.bincount(stream.items[bounds[max(0, hour - h)] : own.start], minlength=size)
        for name, h in WINDOWS_HOURS.items()
    }
    counts["hindsight"] = np.bincount(items, minlength=size)
    found = {
        f"{name}@{k}": int(np.isin(items, _best(count, k)).sum())
        for name, count in counts.items()
        for k in KS
    }
    pairs = slice(bounds[max(0, hour - _PAIRS_HOURS)], own.start)
    return {
        **found,
        **_co_visited(stream, pairs, own, counts["1h"]),
        "new_items": int((counts["all_time"][items] == 0).sum()),
        "new_users": int((~np.isin(stream.users[own], stream.users[: own.start])).sum()),
    }


def _best(counts: npt.NDArray[np.int64], k: int) -> Ids:
    best = np.argsort(-counts, kind="stable")[:k]
    return best[counts[best] > 0]


def _co_visited(
    stream: Stream, pairs: slice, own: slice, popular: npt.NDArray[np.int64]
) -> dict[str, int]:
    """Found among the k likeliest after the reader's last article, smoothed with the last hour's
    list: (count(i, j) + s · p(j)) / (count(i) + s).
    """
    columns = np.flatnonzero(popular + np.bincount(stream.items[pairs], minlength=len(popular)))
    place = np.full(len(popular), -1)
    place[columns] = np.arange(len(columns))
    smooth = _SMOOTHING * popular[columns] / max(1, popular.sum())
    last, which = np.unique(stream.before[own], return_inverse=True)
    followed = np.flatnonzero(np.isin(stream.before[pairs], last) & (stream.before[pairs] >= 0))
    scores = np.tile(smooth, (len(last), 1))
    rows = np.searchsorted(last, stream.before[pairs][followed])
    np.add.at(scores, (rows, place[stream.items[pairs][followed]]), 1.0)
    target = place[stream.items[own]]
    own_score = np.where(target >= 0, scores[which, target], -1.0)
    found = {}
    for k in KS:
        least = np.partition(scores, -min(k, len(columns)), axis=1)[:, -min(k, len(columns))]
        found[f"co_visited@{k}"] = int((own_score >= least[which]).sum())
    return found

"""The lists that baselines recommend, from nothing but counts of clicks.

`popular-*`: the most clicked items of a window. `co-visitation`: what was clicked after the user's
last item, filled up with the most clicked of the last hour. Like versions, lists are frozen at a
tick and as old as what they are beside.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twintide.keys import Keys
from twintide.ragged import Ids

Ints = npt.NDArray[np.int64]
HOUR_MS = 3_600_000
CO_VISITATION_MS = 24 * HOUR_MS
POPULAR_MS: Mapping[str, int | None] = {
    "popular-all-time": None,
    "popular-24h": 24 * HOUR_MS,
    "popular-1h": HOUR_MS,
}


@dataclass(frozen=True)
class _Seen:
    items: Keys
    before: Keys
    """The item that the user clicked before; 0 for none."""

    at_ms: Ints


@dataclass
class ClickCounts:
    """Clicks so far, as far back as the windows reach."""

    _recent: deque[_Seen] = field(default_factory=deque)
    _all_time: dict[int, int] = field(default_factory=dict)

    def add(self, items: Keys, history: Ids | None, at_ms: Ints) -> None:
        """Clicks after all that were added before."""
        before = last_of(history) if history is not None else np.zeros(len(items), np.uint64)
        self._recent.append(_Seen(items, before, at_ms))
        for item, count in zip(*np.unique(items, return_counts=True), strict=True):
            self._all_time[int(item)] = self._all_time.get(int(item), 0) + int(count)

    def popular(self, name: str, *, now_ms: int, k: int) -> Keys:
        """The k most clicked items of the window of that name, best first."""
        window_ms = POPULAR_MS[name]
        if window_ms is None:
            items = np.fromiter(self._all_time.keys(), np.uint64, len(self._all_time))
            counts = np.fromiter(self._all_time.values(), np.int64, len(self._all_time))
        else:
            recent = self._since(now_ms - window_ms)
            items, counts = np.unique(recent.items, return_counts=True)
        return items[np.lexsort((items, -counts))][:k]

    def after_each_item(self, *, now_ms: int, k: int) -> dict[int, Keys]:
        """For each item, the k items most often clicked next in the last 24 hours."""
        recent = self._since(now_ms - CO_VISITATION_MS)
        known = recent.before != 0
        pairs, counts = np.unique(
            np.stack((recent.before[known], recent.items[known])), axis=1, return_counts=True
        )
        order = np.lexsort((pairs[1], -counts, pairs[0]))
        before, after = pairs[0][order], pairs[1][order]
        starts = np.searchsorted(before, np.unique(before))
        ends = np.append(starts, len(before))[1:]
        return {int(before[s]): after[s : min(e, s + k)] for s, e in zip(starts, ends, strict=True)}

    def forget_before(self, now_ms: int) -> None:
        """Drop what no window reaches any more."""
        while (
            self._recent and int(self._recent[0].at_ms.max(initial=0)) < now_ms - CO_VISITATION_MS
        ):
            self._recent.popleft()

    def _since(self, since_ms: int) -> _Seen:
        parts = [
            *self._recent,
            _Seen(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)),
        ]
        at_ms = np.concatenate([part.at_ms for part in parts])
        inside = at_ms >= since_ms
        return _Seen(
            np.concatenate([part.items for part in parts])[inside],
            np.concatenate([part.before for part in parts])[inside],
            at_ms[inside],
        )


def last_of(lists: Ids) -> Keys:
    """uint64 [B]: the last key of each row, 0 for an empty one."""
    lengths = np.diff(lists.offsets)
    last = np.zeros(len(lengths), np.uint64)
    last[lengths > 0] = lists.keys[lists.offsets[1:][lengths > 0] - 1]
    return last


def co_visited(history: Ids, after: dict[int, Keys], popular: Keys, *, k: int) -> Keys:
    """uint64 [B, k]: what follows each user's last item, then what is popular, then 0."""
    found = np.zeros((len(history), k), np.uint64)
    memo: dict[int, Keys] = {}
    for row, last in enumerate(last_of(history)):
        key = int(last)
        if key not in memo:
            own = after.get(key, popular[:0])
            memo[key] = np.concatenate((own, popular[~np.isin(popular, own)]))[:k]
        found[row, : len(memo[key])] = memo[key]
    return found

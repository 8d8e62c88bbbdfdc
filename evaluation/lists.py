"""The lists that baselines recommend, from nothing but counts of clicks.

`popular-*`: the most clicked items of a window, or by clicks that lose half of their weight in a
time that has served best so far. `co-visitation`: what was clicked after the user's last item.
`item-knn`: what was clicked by whoever clicked the user's last items. Like versions, lists are
frozen at a tick and as old as what they are beside.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluation.decays import Decays, Weighed
from twintide.keys import NO_KEYS, Keys
from twintide.ragged import Ids

Ints = npt.NDArray[np.int64]
HOUR_MS = 3_600_000
POPULAR_MS: Mapping[str, int | None] = {
    "popular-all-time": None,
    "popular-24h": 24 * HOUR_MS,
    "popular-3h": 3 * HOUR_MS,
    "popular-1h": HOUR_MS,
    "popular-10min": HOUR_MS // 6,
}

LAST_ITEMS = 5
"""Of a user's history: what an item was clicked together with."""

PAIRS_LOOK_FURTHER = 6
"""Pairs of items are rarer than clicks, so they are counted over so many of the half-lives that
serve best for clicks.
"""

PAIRS_OF_CLICKS = 100_000
"""The newest clicks that pairs are counted of, at most: what a list costs has a bound."""


@dataclass(frozen=True)
class _Seen:
    items: Keys
    before: Keys
    """uint64 [B, LAST_ITEMS]: what the user clicked before, the newest first; 0 for none."""

    at_ms: Ints


@dataclass(frozen=True)
class Together:
    """How often items were clicked after others: of item i of `before`, items and counts of
    [starts[i], starts[i + 1]).
    """

    before: Keys
    """uint64 [I], ascending."""

    starts: Ints
    items: Keys
    counts: npt.NDArray[np.float64]

    def after(self, key: int) -> tuple[Keys, npt.NDArray[np.float64]]:
        """What followed an item, and how often."""
        place = int(np.searchsorted(self.before, np.uint64(key)))
        if place == len(self.before) or int(self.before[place]) != key:
            return self.items[:0], self.counts[:0]
        own = slice(int(self.starts[place]), int(self.starts[place + 1]))
        return self.items[own], self.counts[own]


@dataclass
class ClickCounts:
    """Clicks so far, as far back as the windows reach."""

    decays: Decays = field(default_factory=Decays)
    _recent: deque[_Seen] = field(default_factory=deque)
    _all_time: dict[int, int] = field(default_factory=dict)

    def add(self, items: Keys, history: Ids | None, at_ms: Ints) -> None:
        """Clicks after all that were added before."""
        before = np.zeros((len(items), LAST_ITEMS), np.uint64)
        if history is not None:
            before = last_items(history)
        self._recent.append(_Seen(items, before, at_ms))
        for item, count in zip(*np.unique(items, return_counts=True), strict=True):
            self._all_time[int(item)] = self._all_time.get(int(item), 0) + int(count)
        self.decays.add(items, at_ms)

    def tick(self, now_ms: int) -> None:
        """Lists are made anew from here on; drop what no window reaches any more."""
        self.decays.tick(now_ms)
        reach_ms = max(24 * HOUR_MS, self.pairs_ms)
        while self._recent and int(self._recent[0].at_ms.max(initial=0)) < now_ms - reach_ms:
            self._recent.popleft()

    @property
    def pairs_ms(self) -> int:
        """How far back pairs of items are counted."""
        return PAIRS_LOOK_FURTHER * self.decays.half_life_ms

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

    def together(self, last: int, *, now_ms: int) -> Together:
        """What was clicked before now, after each of the last so many items of a history."""
        recent = self._since(now_ms - self.pairs_ms)
        newest = np.flatnonzero(recent.at_ms < now_ms)[-PAIRS_OF_CLICKS:]
        items, before = recent.items[newest], recent.before[newest, :last]
        pairs = np.stack((before.ravel(), np.repeat(items, last)), axis=1)
        pairs = pairs[(pairs[:, 0] != 0) & (pairs[:, 0] != pairs[:, 1])]
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        is_first = np.ones(len(pairs), np.bool_)
        is_first[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        first = np.flatnonzero(is_first)
        counts = np.diff(np.append(first, len(pairs))).astype(np.float64)
        known, starts = np.unique(pairs[first, 0], return_index=True)
        ends = np.append(starts, len(first)).astype(np.int64)
        return Together(known, ends, pairs[first, 1], counts)

    def _since(self, since_ms: int) -> _Seen:
        nothing = np.zeros((0, LAST_ITEMS), np.uint64)
        parts = [*self._recent, _Seen(nothing[:, 0], nothing, np.zeros(0, np.int64))]
        at_ms = np.concatenate([part.at_ms for part in parts])
        inside = at_ms >= since_ms
        return _Seen(
            np.concatenate([part.items for part in parts])[inside],
            np.concatenate([part.before for part in parts])[inside],
            at_ms[inside],
        )


def last_items(lists: Ids) -> Keys:
    """uint64 [B, LAST_ITEMS]: the last keys of each row, the newest first, 0 for none."""
    lengths, ends = np.diff(lists.offsets), lists.offsets[1:]
    found = np.zeros((len(lengths), LAST_ITEMS), np.uint64)
    for back in range(LAST_ITEMS):
        has = lengths > back
        found[has, back] = lists.keys[ends[has] - 1 - back]
    return found


SMOOTHING = 10.0
"""Clicks that what everybody clicks counts beside those that followed a user's last item."""


def co_visited(history: Ids, together: Together, popular: Weighed, *, k: int) -> Keys:
    """uint64 [B, k]: what is likeliest after each user's last item, then 0.

    The share of item j among what followed item i, smoothed with its share of all clicks:
    (count(i, j) + s · p(j)) / (count(i) + s).
    """
    found = np.zeros((len(history), k), np.uint64)
    memo: dict[int, Keys] = {}
    for row, key in enumerate(last_items(history)[:, 0].tolist()):
        if key not in memo:
            items, counts = together.after(key)
            memo[key] = popular.with_more(items, counts, share=SMOOTHING).best(k)
        found[row, : len(memo[key])] = memo[key]
    return found


def neighbours(history: Ids, together: Together, popular: Weighed, *, k: int) -> Keys:
    """uint64 [B, k]: items near each user's last ones, then what is popular, then 0.

    The sum over the last items i of count(i, j) / √(n(i) · n(j)), half as much for each further
    back; n is how often an item stands in a pair (item-kNN, Sarwar et al., WWW 2001, by cosine).
    """
    found = np.zeros((len(history), k), np.uint64)
    keys, places = np.unique(together.items, return_inverse=True)
    into = np.bincount(places, together.counts, minlength=len(keys))
    memo: dict[tuple[int, ...], Keys] = {}
    for row, last in enumerate(map(tuple, last_items(history).tolist())):
        if last not in memo:
            parts = [NO_KEYS], [np.zeros(0)]
            for back, key in enumerate(last):
                items, counts = together.after(key)
                near = counts / np.sqrt(counts.sum() * into[np.searchsorted(keys, items)])
                parts[0].append(items)
                parts[1].append(near * 0.5**back)
            near_all = Weighed.of(np.concatenate(parts[0]), np.concatenate(parts[1])).best(k)
            rest = popular.best(k)
            memo[last] = np.concatenate((near_all, rest[~np.isin(rest, near_all)]))[:k]
        found[row, : len(memo[last])] = memo[last]
    return found

"""Items by clicks that lose their weight with time, at the pace that has found most so far.

A list of the last ten minutes is best on a portal, one of a month in a shop, and nobody knows
before which a stream is. So lists of several half-lives are kept beside each other, and of each it
is counted how many clicks it would have found: the best so far is what is shown. None of them has
learnt the clicks that it is judged by.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from twintide.keys import NO_KEYS, Keys

Ints = npt.NDArray[np.int64]
HOUR_MS = 3_600_000
HALF_LIVES_MS = (
    HOUR_MS // 6,
    HOUR_MS // 2,
    HOUR_MS,
    3 * HOUR_MS,
    12 * HOUR_MS,
    48 * HOUR_MS,
    7 * 24 * HOUR_MS,
    30 * 24 * HOUR_MS,
)
JUDGED_K = 10
"""Clicks that stand among the first so many are found."""


@dataclass(frozen=True)
class Weighed:
    """Items and what each counts."""

    items: Keys
    """uint64 [I], ascending."""

    weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, items: Keys, weights: npt.NDArray[np.float64]) -> "Weighed":
        """The sum of each item's weights."""
        distinct, places = np.unique(items, return_inverse=True)
        sums: npt.NDArray[np.float64] = np.bincount(places, weights, len(distinct)).astype(
            np.float64
        )
        return cls(distinct, sums)

    @classmethod
    def empty(cls) -> "Weighed":
        return cls(NO_KEYS, np.zeros(0))

    def best(self, k: int) -> Keys:
        """The k that count most, best first; of equals the smaller key."""
        return self.items[np.lexsort((self.items, -self.weights))[:k]]

    def with_more(
        self, items: Keys, weights: npt.NDArray[np.float64], *, share: float
    ) -> "Weighed":
        """These, which count `share` together, and others."""
        own = self.weights * (share / max(float(self.weights.sum()), 1e-12))
        return Weighed.of(np.concatenate((self.items, items)), np.concatenate((own, weights)))

    def first(self, k: int) -> "Weighed":
        """Only the k that count most."""
        if len(self.items) <= k:
            return self
        most = np.sort(np.argpartition(-self.weights, k)[:k])
        return Weighed(self.items[most], self.weights[most])


@dataclass
class _Decay:
    """Clicks that lose half of their weight in a half-life."""

    half_life_ms: int
    now: Weighed = field(default_factory=Weighed.empty)
    frozen: Keys = field(default_factory=lambda: NO_KEYS)
    found: int = 0
    """Clicks that its lists had among their first, so far."""

    _at_ms: int = 0

    def add(self, items: Keys, at_ms: Ints) -> None:
        self.found += int(np.isin(items, self.frozen).sum())
        self._move_to(int(at_ms.max()))
        own = np.exp2((at_ms - self._at_ms) / self.half_life_ms)
        both = np.concatenate((self.now.items, items))
        self.now = Weighed.of(both, np.concatenate((self.now.weights, own)))

    def tick(self, now_ms: int) -> None:
        self._move_to(now_ms)
        is_left = self.now.weights > 1e-9  # noqa: PLR2004  a click of thirty half-lives ago
        self.now = Weighed(self.now.items[is_left], self.now.weights[is_left])
        self.frozen = self.now.best(JUDGED_K)

    def _move_to(self, at_ms: int) -> None:
        if at_ms > self._at_ms:
            factor = float(np.exp2((self._at_ms - at_ms) / self.half_life_ms))
            self.now = Weighed(self.now.items, self.now.weights * factor)
            self._at_ms = at_ms


@dataclass
class Decays:
    """One for each half-life."""

    _each: tuple[_Decay, ...] = field(
        default_factory=lambda: tuple(_Decay(half_life) for half_life in HALF_LIVES_MS)
    )

    def add(self, items: Keys, at_ms: Ints) -> None:
        """Clicks of after the last tick: lists of then are judged by them, then they count."""
        if len(items):
            for each in self._each:
                each.add(items, at_ms)

    def tick(self, now_ms: int) -> None:
        """Lists are made anew."""
        for each in self._each:
            each.tick(now_ms)

    @property
    def half_life_ms(self) -> int:
        """That of the lists that have found most so far."""
        return self._best.half_life_ms

    @property
    def popular(self) -> Weighed:
        """Items as that half-life weighs them."""
        return self._best.now

    @property
    def _best(self) -> _Decay:
        return max(self._each, key=lambda each: each.found)

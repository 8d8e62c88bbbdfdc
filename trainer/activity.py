"""How much users have clicked: counts in buckets of time, and when each was first seen.

As with items, time is that of the log: a click counts from the unit on that stores it, and what is
told of a user is as of a refresh that came before the click and before its unit.
"""

from dataclasses import dataclass

import numpy as np

from trainer.derived import (
    Events,
    Floats,
    Ints,
    ItemClicks,
    bucket_minutes,
    bucket_ms,
    oldest_bucket,
    refreshed_ms,
)
from twintide.arrays import Arrays
from twintide.features.user_statistics import UserStatistics
from twintide.keys import NO_KEY, Keys, places_of

_MS_OF_AN_HOUR = 3_600_000


@dataclass(frozen=True)
class Activity:
    """Users in order of their first click, and their clicks in buckets."""

    users: Keys
    first_ms: Ints
    """When the unit began that held a user's first click."""

    clicks: ItemClicks
    """By place in `users`, as those of items are by row of the catalogue."""

    @classmethod
    def empty(cls) -> "Activity":
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.int64), ItemClicks.empty())

    def with_clicks(self, clicks: Events, spec: UserStatistics) -> "Activity":
        """The state after these clicks, without what no later click may be told of."""
        known = clicks.where(clicks.users != NO_KEY)
        if not len(known):
            return self
        grown = self._with_all(known, spec)
        reach = grown.clicks.within_reach_of(int(known.unit_ms.max()), spec)
        return Activity(grown.users, grown.first_ms, reach)

    def told(self, events: Events, came: Events, spec: UserStatistics) -> Floats:
        """float32 [N, spec.count]: of each event's user, where the clicks `came` with the events
        and are not folded in.
        """
        state = self._with_all(came.where(came.users != NO_KEY), spec)
        at_ms = refreshed_ms(events.at_ms, events.unit_ms, spec)
        return state.at(events.users, at_ms, spec, oldest_bucket(events.unit_ms, spec))

    def as_of(self, at_ms: int, spec: UserStatistics) -> Floats:
        """float32 [users, spec.count]: of every user, as of the last refresh."""
        instants = np.full(len(self.users), at_ms)
        oldest = oldest_bucket(instants, spec)
        return self.at(self.users, refreshed_ms(instants, instants, spec), spec, oldest)

    def arrays(self, *, prefix: str) -> Arrays:
        """As a checkpoint has them."""
        return {
            f"{prefix}.keys": self.users,
            f"{prefix}.first_ms": self.first_ms,
            f"{prefix}.rows": self.clicks.items,
            f"{prefix}.buckets": self.clicks.buckets,
            f"{prefix}.counts": self.clicks.counts,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, prefix: str) -> "Activity":
        """What `arrays` gave."""
        rows, buckets, counts, first_ms = (
            arrays[f"{prefix}.{part}"].astype(np.int64)
            for part in ("rows", "buckets", "counts", "first_ms")
        )
        users = arrays[f"{prefix}.keys"].astype(np.uint64)
        return cls(users, first_ms, ItemClicks(rows, buckets, counts))

    def _with_all(self, clicks: Events, spec: UserStatistics) -> "Activity":
        distinct, first_at = np.unique(clicks.users, return_index=True)
        new = np.sort(first_at[~np.isin(distinct, self.users)])
        grown = Activity(
            np.concatenate((self.users, clicks.users[new])),
            np.concatenate((self.first_ms, clicks.unit_ms[new])),
            self.clicks,
        )
        counted = self.clicks.with_clicks(grown._places(clicks.users)[0], clicks.unit_ms, spec)
        return Activity(grown.users, grown.first_ms, counted)

    def _places(self, users: Keys) -> tuple[Ints, np.ndarray]:
        """Place of each user, and whether it is known; place 0 where it is not."""
        if not len(self.users):
            return np.zeros(len(users), np.int64), np.zeros(len(users), np.bool_)
        order = np.argsort(self.users)
        at, is_known = places_of(users, self.users[order])
        return np.where(is_known, order[at], 0), is_known

    def at(self, users: Keys, at_ms: Ints, spec: UserStatistics, oldest: Ints) -> Floats:
        """As of instants on the grid of refreshes; buckets before `oldest` do not count."""
        places, is_known = self._places(users)
        if not len(self.users):
            return spec.of_new(len(users))
        end = at_ms // bucket_ms(spec)
        counter = self.clicks.counter()
        counts = []
        for window in spec.windows_minutes:
            begin = np.minimum(np.maximum(end - window // bucket_minutes(spec), oldest), end)
            counts.append(np.where(is_known, counter.counted(places, begin, end)[0], 0))
        hours = np.where(is_known, (at_ms - self.first_ms[places]) / _MS_OF_AN_HOUR, 0.0)
        return spec.numbers(np.stack(counts, axis=1), hours)

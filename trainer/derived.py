"""What the stream alone can tell: users' histories, and how items fare.

The ordered pass keeps this state and writes it into slices as of each click's time, before the
click itself counts. The same state serves: a version carries the histories and an item's statistics
as of its publication. States are values: folding clicks in gives a new one.

Clicks come in units (`trainer.units`), and all of it is a function of the units so far: folding in
one unit at a time or sixty at once gives the same, to the bit.
"""

from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from math import gcd

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.features.item_statistics import LOG_SHARE_SCALE, ItemStatistics, ages
from twintide.features.refreshed import Refreshed
from twintide.keys import NO_KEY, Keys, places_of
from twintide.ragged import Ids, hours_between

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Events:
    """N events by unit, and by event time within a unit: the derived state's only input."""

    users: Keys
    items: Keys
    at_ms: Ints
    unit_ms: Ints
    """When each event's unit begins."""

    def __len__(self) -> int:
        return len(self.users)

    def and_then(self, others: "Events") -> "Events":
        """These, then the others."""
        return Events(
            np.concatenate((self.users, others.users)),
            np.concatenate((self.items, others.items)),
            np.concatenate((self.at_ms, others.at_ms)),
            np.concatenate((self.unit_ms, others.unit_ms)),
        )

    def where(self, which: Bools | Ints) -> "Events":
        """Those of them, in this order."""
        return Events(self.users[which], self.items[which], self.at_ms[which], self.unit_ms[which])


@dataclass(frozen=True)
class Histories:
    """The last `length` clicks of each user, oldest first.

    User i has items[offsets[i]:offsets[i + 1]].
    """

    length: int
    users: Keys
    """Sorted."""

    offsets: Ints
    items: Keys
    at_ms: Ints

    @classmethod
    def empty(cls, length: int) -> "Histories":
        return cls(length, np.zeros(0, np.uint64), np.zeros(1, np.int64), *_no_entries())

    def arrays(self) -> Arrays:
        """By the names that they have behind a prefix in a checkpoint."""
        return {
            "users": self.users,
            "offsets": self.offsets,
            "items": self.items,
            "at_ms": self.at_ms,
        }

    @classmethod
    def from_arrays(cls, length: int, arrays: Arrays, *, prefix: str) -> "Histories":
        """What `arrays` gave."""
        return cls(
            length,
            arrays[f"{prefix}.users"].astype(np.uint64),
            arrays[f"{prefix}.offsets"].astype(np.int64),
            arrays[f"{prefix}.items"].astype(np.uint64),
            arrays[f"{prefix}.at_ms"].astype(np.int64),
        )

    def before(self, events: Events, counts: Bools) -> Ids:
        """For each event, what its user had clicked strictly before it, oldest first, at most
        `length`: of what is folded in, of the units before its own, and of its own unit.

        `counts` [N]: which of the events are themselves clicks, so that those behind see them.
        """
        at_once = self.in_one_unit(events, counts)
        late = self._users_with_late_events(events)
        if not len(late):
            return at_once
        # Only their clicks can be told of what the log did not hold yet, so only they go slowly.
        where = np.flatnonzero(np.isin(events.users, late))
        one_by_one = _before_unit_by_unit(self._of(late), events.where(where), counts[where])
        rows = np.arange(len(events))
        rows[where] = len(events) + np.arange(len(where))
        return _one_after_the_other([at_once, one_by_one]).take(rows)

    def in_one_unit(self, events: Events, counts: Bools) -> Ids:
        """As `before`, for events of one unit: they count as soon as they lie in the past."""
        entries = self._joined_with(events, counts)
        end = np.searchsorted(entries.order_keys, entries.keys_of_events, side="left")
        begin = np.searchsorted(entries.order_keys, entries.keys_of_users, side="left")
        begin = np.maximum(begin, end - self.length)
        begin = np.where(events.users == NO_KEY, end, begin)
        found = Ids.of_ranges(np.arange(len(entries.items), dtype=np.uint64), begin, end)
        at = found.keys.astype(np.int64)
        ages = hours_between(entries.at_ms[at], events.at_ms[found.row_of_key()])
        return Ids(entries.items[at], found.offsets, ages=ages)

    def _users_with_late_events(self, events: Events) -> Keys:
        """Users of whom a unit holds an event that is not newer than all in the units before it."""
        order = np.lexsort((events.unit_ms, events.users))
        users, at_ms, unit_ms = events.users[order], events.at_ms[order], events.unit_ms[order]
        if not len(users):
            return users
        begins = np.concatenate(([True], (np.diff(users) != 0) | (np.diff(unit_ms) != 0)))
        first = np.flatnonzero(begins)
        oldest, newest = np.minimum.reduceat(at_ms, first), np.maximum.reduceat(at_ms, first)
        of_group = users[first]
        same_user = np.concatenate(([False], of_group[1:] == of_group[:-1]))
        # In order so far means that the unit before holds the newest of all before.
        known_until = np.where(same_user, np.roll(newest, 1), self._newest_of(of_group))
        late = (oldest <= known_until) & (of_group != NO_KEY)
        return np.unique(of_group[late])

    def _newest_of(self, users: Keys) -> Ints:
        """Time of each user's last click that is folded in."""
        never = np.full(len(users), np.iinfo(np.int64).min)
        if not len(self.users):
            return never
        places, is_known = places_of(users, self.users)
        last = np.maximum(self.offsets[places + 1] - 1, 0)
        return np.where(is_known, self.at_ms[last], never)

    def _of(self, users: Keys) -> "Histories":
        """The part of the state that is of these users."""
        rows = np.flatnonzero(np.isin(self.users, users))
        kept = Ids(np.arange(len(self.items), dtype=np.uint64), self.offsets).take(rows)
        at = kept.keys.astype(np.int64)
        return replace(
            self,
            users=self.users[rows],
            offsets=kept.offsets,
            items=self.items[at],
            at_ms=self.at_ms[at],
        )

    def with_clicks(self, clicks: Events) -> "Histories":
        """The state after these clicks. Cost follows the users among them, then one copy."""
        known = clicks.users != NO_KEY
        if not known.any():
            return self
        entries = self._joined_with(clicks.where(known), np.ones(int(known.sum()), np.bool_))
        end = np.searchsorted(entries.users, entries.distinct_users, side="right")
        begin = np.maximum(
            np.searchsorted(entries.users, entries.distinct_users, side="left"), end - self.length
        )
        return self._replaced(entries.distinct_users, begin, end, entries)

    def _joined_with(self, events: Events, counts: Bools) -> "_Entries":
        """State and the events that count, of users who have one now: by user, time, arrival."""
        distinct, rank_of_event = np.unique(events.users, return_inverse=True)
        places, known = places_of(distinct, self.users)
        begin = np.where(known, self.offsets[places], 0)
        end = np.where(known, self.offsets[np.minimum(places + 1, len(self.offsets) - 1)], 0)
        kept = Ids.of_ranges(np.arange(len(self.items), dtype=np.uint64), begin, end)
        kept_at = kept.keys.astype(np.int64)

        rank = np.concatenate((np.repeat(np.arange(len(distinct)), end - begin), rank_of_event))
        items = np.concatenate((self.items[kept_at], events.items))
        at_ms = np.concatenate((self.at_ms[kept_at], events.at_ms))
        # Times become ranks, so that user and time fit into one sortable integer.
        time_rank = np.unique(at_ms, return_inverse=True)[1].astype(np.int64)
        sortable = (rank.astype(np.int64) << 32) | time_rank
        counted = np.flatnonzero(np.concatenate((np.ones(len(kept_at), np.bool_), counts)))
        order = counted[np.argsort(sortable[counted], kind="stable")]
        return _Entries(
            distinct_users=distinct,
            users=distinct[rank[order]],
            items=items[order],
            at_ms=at_ms[order],
            order_keys=sortable[order],
            keys_of_events=sortable[len(kept_at) :],
            keys_of_users=rank_of_event.astype(np.int64) << 32,
        )

    def _replaced(self, users: Keys, begin: Ints, end: Ints, entries: "_Entries") -> "Histories":
        untouched = ~np.isin(self.users, users, assume_unique=True)
        old = Ids(np.arange(len(self.items), dtype=np.uint64), self.offsets).take(
            np.flatnonzero(untouched)
        )
        old_at = old.keys.astype(np.int64)
        new_at = Ids.of_ranges(
            np.arange(len(entries.items), dtype=np.uint64), begin, end
        ).keys.astype(np.int64)
        all_users = np.concatenate((self.users[untouched], users))
        all_lengths = np.concatenate((np.diff(old.offsets), end - begin))
        flat = Ids(
            np.arange(len(old_at) + len(new_at), dtype=np.uint64),
            np.concatenate(([0], np.cumsum(all_lengths))),
        ).take(np.argsort(all_users))
        order = flat.keys.astype(np.int64)
        return replace(
            self,
            users=np.sort(all_users),
            offsets=flat.offsets,
            items=np.concatenate((self.items[old_at], entries.items[new_at]))[order],
            at_ms=np.concatenate((self.at_ms[old_at], entries.at_ms[new_at]))[order],
        )


def _before_unit_by_unit(state: Histories, events: Events, counts: Bools) -> Ids:
    parts = []
    bounds = np.flatnonzero(np.diff(events.unit_ms, prepend=events.unit_ms[0] - 1))
    for begin, end in pairwise([*bounds.tolist(), len(events)]):
        of_unit = np.arange(begin, end)
        parts.append(state.in_one_unit(events.where(of_unit), counts[of_unit]))
        state = state.with_clicks(events.where(of_unit[counts[of_unit]]))
    return _one_after_the_other(parts)


@dataclass(frozen=True)
class _Entries:
    distinct_users: Keys
    users: Keys
    items: Keys
    at_ms: Ints
    order_keys: Ints
    keys_of_events: Ints
    keys_of_users: Ints


@dataclass(frozen=True)
class ItemClicks:
    """How often each item was clicked in each bucket of time, as far back as windows reach.

    The time is that of the log: of the click's unit. So what happened before an instant is settled
    when that instant has passed, a click that comes late or lies about its time changes nothing
    that was told before, and what training is told is what a server had.
    """

    items: Ints
    """Row of the item in the catalogue. Sorted by item, then bucket; each pair once."""

    buckets: Ints
    """Unix time divided by the bucket's width."""

    counts: Ints

    @classmethod
    def empty(cls) -> "ItemClicks":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def with_clicks(self, item_rows: Ints, unit_ms: Ints, spec: Refreshed) -> "ItemClicks":
        """The state after these clicks; nothing is dropped yet."""
        if not len(item_rows):
            return self
        items = np.concatenate((self.items, item_rows))
        buckets = np.concatenate((self.buckets, unit_ms // bucket_ms(spec)))
        counts = np.concatenate((self.counts, np.ones(len(item_rows), np.int64)))
        order = np.lexsort((buckets, items))
        items, buckets, counts = items[order], buckets[order], counts[order]
        first = np.flatnonzero(
            np.concatenate(([True], (np.diff(items) != 0) | (np.diff(buckets) != 0)))
        )
        return ItemClicks(items[first], buckets[first], np.add.reduceat(counts, first))

    def within_reach_of(self, unit_ms: int, spec: Refreshed) -> "ItemClicks":
        """Without what no click of that unit or a later one may be told of."""
        kept = self.buckets >= oldest_bucket(np.array([unit_ms]), spec)[0]
        return ItemClicks(self.items[kept], self.buckets[kept], self.counts[kept])

    def counter(self) -> "ClickCounter":
        """Look-ups of many counts, after one pass over the state."""
        if not len(self.counts):
            nothing = np.zeros(1, np.int64)
            return ClickCounter(nothing[:0], nothing, nothing, oldest=0)
        oldest = int(self.buckets.min())
        width = int(self.buckets.max()) - oldest + 2
        of_bucket = np.bincount(self.buckets - oldest, self.counts, minlength=width - 1)
        return ClickCounter(
            places=self.items * width + (self.buckets - oldest),
            counts_before=np.concatenate(([0], np.cumsum(self.counts))),
            all_before=np.concatenate(([0], np.cumsum(of_bucket))).astype(np.int64),
            oldest=oldest,
        )


@dataclass(frozen=True)
class ClickCounter:
    """Clicks between two buckets are the difference of two sums."""

    places: Ints
    """Item and bucket of each count as one number, ascending."""

    counts_before: Ints
    """One longer than `places`: sum of the counts before each place."""

    all_before: Ints
    """Clicks of all items before each bucket, from the oldest to one after the newest."""

    oldest: int

    def counted(self, item_rows: Ints, begin: Ints, end: Ints) -> tuple[Ints, Ints]:
        """[N], [N]: clicks of each of these items in the buckets [begin, end), and of all items."""
        width = len(self.all_before)
        first, last = (np.clip(at - self.oldest, 0, width - 1) for at in (begin, end))
        begins, ends = (
            np.searchsorted(self.places, item_rows * width + at) for at in (first, last)
        )
        of_item: Ints = self.counts_before[ends] - self.counts_before[begins]
        of_all: Ints = self.all_before[last] - self.all_before[first]
        return of_item, of_all


def bucket_minutes(spec: Refreshed) -> int:
    """The widest bucket of which all windows and refreshes are whole numbers."""
    return reduce(gcd, (*spec.windows_minutes, spec.refresh_offset_minutes), spec.refresh_minutes)


def bucket_ms(spec: Refreshed) -> int:
    """The same in milliseconds."""
    return bucket_minutes(spec) * 60_000


def oldest_bucket(unit_ms: Ints, spec: Refreshed) -> Ints:
    """[N]: clicks of these units are told of nothing older; so the state need not hold it."""
    reach_minutes = max(spec.windows_minutes) + 2 * spec.refresh_minutes
    return unit_ms // bucket_ms(spec) - reach_minutes // bucket_minutes(spec)


def refreshed_ms(at_ms: Ints, unit_ms: Ints, spec: Refreshed) -> Ints:
    """[N]: the newest refresh that a click can have been served with: one that came neither after
    the click nor after its unit had begun.
    """
    refresh, offset = spec.refresh_minutes * 60_000, spec.refresh_offset_minutes * 60_000
    found: Ints = (np.minimum(at_ms, unit_ms) - offset) // refresh * refresh + offset
    return found


def statistics_at(
    clicks: ItemClicks,
    item_rows: Ints,
    first_seen_ms: Ints,
    at_ms: Ints,
    spec: ItemStatistics,
    *,
    oldest: Ints | None = None,
) -> Floats:
    """float32 [N, spec.count]: of each item, log share of clicks in each window before its
    instant, trend, age, is new.

    Each instant of `at_ms` lies on a bucket boundary; buckets before `oldest` do not count. The
    scales bring every column to about 0..2. Cost follows the items asked for.
    """
    return counted_statistics(
        clicks.counter(), item_rows, first_seen_ms, at_ms, spec, oldest=oldest
    )


def counted_statistics(
    counter: ClickCounter,
    item_rows: Ints,
    first_seen_ms: Ints,
    at_ms: Ints,
    spec: ItemStatistics,
    *,
    oldest: Ints | None = None,
) -> Floats:
    """As `statistics_at`, of counts that are summed up already."""
    end = at_ms // bucket_ms(spec)
    shares = []
    for window in spec.windows_minutes:
        begin = end - window // bucket_minutes(spec)
        if oldest is not None:
            begin = np.minimum(np.maximum(begin, oldest), end)
        shares.append(_log_share(*counter.counted(item_rows, begin, end)))
    age_hours = (at_ms - first_seen_ms) / 3_600_000
    trend = shares[0] - shares[-1]
    return np.stack([*shares, trend, *ages(age_hours)], axis=1).astype(np.float32)


def _log_share(counts: Ints, of_all: Ints) -> npt.NDArray[np.float64]:
    """log(1 + clicks per thousand), so that it does not depend on the traffic."""
    share: npt.NDArray[np.float64] = (
        np.log1p(1000.0 * counts / np.maximum(of_all, 1)) / LOG_SHARE_SCALE
    )
    return share


def _one_after_the_other(parts: list[Ids]) -> Ids:
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    ages = np.concatenate([part.ages for part in parts if part.ages is not None])
    return Ids(np.concatenate([part.keys for part in parts]), offsets, ages=ages)


def _no_entries() -> tuple[Keys, Ints]:
    return np.zeros(0, np.uint64), np.zeros(0, np.int64)

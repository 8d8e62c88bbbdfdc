"""What the stream alone can tell: users' histories, and how items fare.

The ordered pass keeps this state and writes it into slices as of each click's time, before the
click itself counts. The same state serves: a version carries the histories and an item's statistics
as of its publication. States are values: folding a slice in gives a new one.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from math import gcd

import numpy as np
import numpy.typing as npt

from twintide.clock import to_unix_ms
from twintide.features import LOG_SHARE_SCALE, Ids, ItemStatistics
from twintide.keys import NO_KEY, Keys

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Clicks:
    """Clicks in event order, N of them: the derived state's only input."""

    users: Keys
    items: Keys
    at_ms: Ints

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Histories:
    """The last `length` clicks of each user, oldest first: user i holds items[offsets[i]:offsets[i
    + 1]].
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

    def before(self, clicks: Clicks) -> Ids:
        """For each click, what its user had clicked strictly before it, oldest first, at most
        `length`.

        Clicks of the same batch count as soon as they lie in the past.
        """
        entries = self._joined_with(clicks)
        end = np.searchsorted(entries.order_keys, entries.keys_of_clicks, side="left")
        begin = np.searchsorted(entries.order_keys, entries.keys_of_users, side="left")
        begin = np.maximum(begin, end - self.length)
        begin = np.where(clicks.users == NO_KEY, end, begin)
        return Ids.of_ranges(entries.items, begin, end)

    def with_clicks(self, clicks: Clicks) -> "Histories":
        """The state after these clicks. Cost follows the users among them, then one copy."""
        known = clicks.users != NO_KEY
        if not known.any():
            return self
        entries = self._joined_with(_chosen(clicks, known))
        end = np.searchsorted(entries.users, entries.distinct_users, side="right")
        begin = np.maximum(
            np.searchsorted(entries.users, entries.distinct_users, side="left"), end - self.length
        )
        return self._replaced(entries.distinct_users, begin, end, entries)

    def _joined_with(self, clicks: Clicks) -> "_Entries":
        """State and new clicks of the users who click now, by user, then time, then arrival."""
        distinct, rank_of_click = np.unique(clicks.users, return_inverse=True)
        at = np.searchsorted(self.users, distinct)
        at_inside = np.minimum(at, max(len(self.users) - 1, 0))
        known = (
            (self.users[at_inside] == distinct)
            if len(self.users)
            else np.zeros(len(distinct), bool)
        )
        begin = np.where(known, self.offsets[at_inside], 0)
        end = np.where(known, self.offsets[np.minimum(at_inside + 1, len(self.offsets) - 1)], 0)
        kept = Ids.of_ranges(np.arange(len(self.items), dtype=np.uint64), begin, end)
        kept_at = kept.keys.astype(np.int64)

        rank = np.concatenate((np.repeat(np.arange(len(distinct)), end - begin), rank_of_click))
        items = np.concatenate((self.items[kept_at], clicks.items))
        at_ms = np.concatenate((self.at_ms[kept_at], clicks.at_ms))
        # Times become ranks, so that user and time fit into one sortable integer.
        time_rank = np.unique(at_ms, return_inverse=True)[1].astype(np.int64)
        sortable = (rank.astype(np.int64) << 32) | time_rank
        order = np.argsort(sortable, kind="stable")
        return _Entries(
            distinct_users=distinct,
            users=distinct[rank[order]],
            items=items[order],
            at_ms=at_ms[order],
            order_keys=sortable[order],
            keys_of_clicks=sortable[len(kept_at) :],
            keys_of_users=rank_of_click.astype(np.int64) << 32,
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


@dataclass(frozen=True)
class _Entries:
    distinct_users: Keys
    users: Keys
    items: Keys
    at_ms: Ints
    order_keys: Ints
    keys_of_clicks: Ints
    keys_of_users: Ints


@dataclass(frozen=True)
class ItemClicks:
    """How often each item was clicked in each time bucket, as far back as the longest window
    reaches.
    """

    items: Ints
    """Row of the item in the catalogue."""

    buckets: Ints
    """Unix time divided by the bucket's width."""

    counts: Ints

    @classmethod
    def empty(cls) -> "ItemClicks":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64))

    def with_clicks(self, item_rows: Ints, at_ms: Ints, spec: ItemStatistics) -> "ItemClicks":
        """The state after these clicks; what no window can reach any more is dropped."""
        if not len(item_rows):
            return self
        buckets = at_ms // (bucket_minutes(spec) * 60_000)
        reach = max(spec.windows_minutes) + 2 * spec.refresh_minutes
        oldest = max(
            int(buckets.max()), int(self.buckets.max(initial=0))
        ) - reach // bucket_minutes(spec)
        items = np.concatenate((self.items, item_rows))
        all_buckets = np.concatenate((self.buckets, buckets))
        counts = np.concatenate((self.counts, np.ones(len(item_rows), np.int64)))
        kept = all_buckets >= oldest
        cells, inverse = np.unique(
            np.stack((items[kept], all_buckets[kept])), axis=1, return_inverse=True
        )
        return ItemClicks(
            cells[0], cells[1], np.bincount(inverse.reshape(-1), counts[kept]).astype(np.int64)
        )

    def in_window(self, *, until_bucket: int, buckets: int, items: int) -> Ints:
        """[items]: clicks of each item in the `buckets` buckets before `until_bucket`."""
        inside = (self.buckets < until_bucket) & (self.buckets >= until_bucket - buckets)
        found = np.bincount(self.items[inside], self.counts[inside], minlength=items)
        return found.astype(np.int64)


def bucket_minutes(spec: ItemStatistics) -> int:
    """The widest bucket of which all windows and refreshes are whole numbers."""
    return reduce(gcd, (*spec.windows_minutes, spec.refresh_offset_minutes), spec.refresh_minutes)


def statistics_at(
    clicks: ItemClicks, first_seen_ms: Ints, at: datetime, spec: ItemStatistics
) -> Floats:
    """float32 [items, spec.width]: log share of clicks in each window before `at`, trend, age, is
    new.

    `at` lies on a bucket boundary. The scales bring every column to about 0..2.
    """
    boundary = to_unix_ms(at) // (bucket_minutes(spec) * 60_000)
    items = len(first_seen_ms)
    shares = [
        _log_share(
            clicks.in_window(
                until_bucket=boundary, buckets=window // bucket_minutes(spec), items=items
            )
        )
        for window in spec.windows_minutes
    ]
    age_hours = (to_unix_ms(at) - first_seen_ms) / 3_600_000
    trend = shares[0] - shares[-1]
    age = np.log1p(np.maximum(age_hours, 0.0)) / 4.0
    return np.stack([*shares, trend, age, age_hours <= 0], axis=1).astype(np.float32)


def _log_share(counts: Ints) -> npt.NDArray[np.float64]:
    """log(1 + clicks per thousand), so that it does not depend on the traffic."""
    share: npt.NDArray[np.float64] = (
        np.log1p(1000.0 * counts / max(int(counts.sum()), 1)) / LOG_SHARE_SCALE
    )
    return share


def _chosen(clicks: Clicks, which: npt.NDArray[np.bool_]) -> Clicks:
    return Clicks(clicks.users[which], clicks.items[which], clicks.at_ms[which])


def _no_entries() -> tuple[Keys, Ints]:
    return np.zeros(0, np.uint64), np.zeros(0, np.int64)

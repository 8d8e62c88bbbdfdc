"""What the stream alone can tell: here, how items fare.

The ordered pass keeps this state and writes it into slices as of each click's time, before the
click itself counts. The same state serves: a version carries an item's statistics as of its
publication. It changes in place, so that a fold costs what is folded in.

Clicks come in units (`trainer.units`), and all of it is a function of the units so far: folding in
one unit at a time or sixty at once gives the same, to the bit.
"""

from dataclasses import dataclass
from functools import reduce
from math import gcd

import numpy as np
import numpy.typing as npt

from twintide.arrays import Arrays
from twintide.features.item_statistics import LOG_SHARE_SCALE, ItemStatistics, ages
from twintide.features.refreshed import Refreshed
from twintide.keys import Keys, places_of

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_SINCE = ".since."
_SPANS = 24
"""In how many arrays clicks by bucket lie in a checkpoint, about."""


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
class Bucket:
    """Clicks within one span of time, by item. It never changes: another takes its place."""

    items: Ints
    """Rows of the catalogue, ascending."""

    counts: Ints
    of_all: int
    """Sum of the counts."""

    @classmethod
    def of(cls, item_rows: Ints, counts: Ints) -> "Bucket":
        """`item_rows` in any order, and more than once."""
        items, place = np.unique(item_rows, return_inverse=True)
        summed = np.bincount(place, counts, minlength=len(items)).astype(np.int64)
        return cls(items, summed, int(counts.sum()))

    def and_also(self, item_rows: Ints, counts: Ints) -> "Bucket":
        """With these clicks."""
        return Bucket.of(
            np.concatenate((self.items, item_rows)), np.concatenate((self.counts, counts))
        )

    def of_these(self, items: Ints) -> "Bucket":
        """What of it is of these items, ascending; `of_all` stays."""
        few, many = sorted((items, self.items), key=len)
        _, is_both = places_of(few, many)
        found, _ = places_of(few[is_both], self.items)
        return Bucket(self.items[found], self.counts[found], self.of_all)


class ItemClicks:
    """How often each item was clicked in each bucket of time, as far back as windows reach.

    The time is that of the log: of the click's unit. So what happened before an instant is settled
    when that instant has passed, a click that comes late or lies about its time changes nothing
    that was told before, and what training is told is what a server had.

    A fold touches the buckets of its units; an old bucket leaves whole.
    """

    def __init__(self, buckets: dict[int, Bucket] | None = None) -> None:
        self._buckets = buckets or {}
        """By unix time divided by the bucket's width."""

    def __len__(self) -> int:
        """Pairs of an item and a bucket."""
        return sum(len(bucket.items) for bucket in self._buckets.values())

    @classmethod
    def from_arrays(cls, items: Ints, buckets: Ints, counts: Ints) -> "ItemClicks":
        """What `arrays` gave."""
        order = np.argsort(buckets, kind="stable")
        distinct, begin = np.unique(buckets[order], return_index=True)
        parts = np.split(order, begin[1:])
        return cls(
            {
                number: Bucket.of(items[part], counts[part])
                for number, part in zip(distinct.tolist(), parts, strict=False)
            }
        )

    def arrays(self) -> tuple[Ints, Ints, Ints]:
        """Items, buckets and counts: by item, then bucket, each pair once."""
        nothing = np.zeros(0, np.int64)
        numbers = sorted(self._buckets)
        own = [self._buckets[number] for number in numbers]
        items = np.concatenate([nothing, *(each.items for each in own)])
        lengths = [len(each.items) for each in own]
        buckets = np.repeat(np.array(numbers, np.int64), np.array(lengths, np.int64))
        counts = np.concatenate([nothing, *(each.counts for each in own)])
        order = np.argsort(items, kind="stable")
        return items[order], buckets[order], counts[order]

    def spans(self, spec: Refreshed, *, prefix: str) -> Arrays:
        """As a checkpoint has them: an array of items, buckets and counts for each span of time, of
        which a fold changes the newest ones and the one that leaves.
        """
        width = max(1, (spec.reach_minutes() // bucket_minutes(spec)) // _SPANS)
        spans: dict[int, list[Ints]] = {}
        for number, bucket in sorted(self._buckets.items()):
            rows = np.stack([bucket.items, np.full_like(bucket.items, number), bucket.counts], 1)
            spans.setdefault(number // width * width, []).append(rows)
        return {f"{prefix}{_SINCE}{n:015d}": np.concatenate(each) for n, each in spans.items()}

    @classmethod
    def from_spans(cls, arrays: Arrays, *, prefix: str) -> "ItemClicks":
        """What `spans` gave."""
        found = [each for name, each in arrays.items() if name.startswith(f"{prefix}{_SINCE}")]
        rows = np.concatenate([np.zeros((0, 3), np.int64), *found]).astype(np.int64)
        return cls.from_arrays(rows[:, 0], rows[:, 1], rows[:, 2])

    def copy(self) -> "ItemClicks":
        """What stays as it is now, whatever is added to this one; it costs next to nothing."""
        return ItemClicks(dict(self._buckets))

    def add(self, item_rows: Ints, unit_ms: Ints, spec: Refreshed) -> None:
        """Count these clicks; nothing is dropped yet."""
        buckets = unit_ms // bucket_ms(spec)
        for number in np.unique(buckets).tolist():
            items = item_rows[buckets == number]
            ones = np.ones(len(items), np.int64)
            before = self._buckets.get(number)
            self._buckets[number] = (
                before.and_also(items, ones) if before else Bucket.of(items, ones)
            )

    def drop_out_of_reach(self, unit_ms: int, spec: Refreshed) -> None:
        """Forget what no click of that unit or a later one may be told of."""
        oldest = int(oldest_bucket(np.array([unit_ms]), spec)[0])
        for number in [each for each in self._buckets if each < oldest]:
            del self._buckets[number]

    def counter(self, items: Ints | None = None) -> "ClickCounter":
        """Look-ups of many counts: of these items, whose cost follows them, or of all."""
        if not self._buckets:
            nothing = np.zeros(1, np.int64)
            return ClickCounter(nothing[:0], nothing, nothing, oldest=0)
        oldest = min(self._buckets)
        width = max(self._buckets) - oldest + 2
        of_bucket = np.zeros(width - 1, np.int64)
        for number, bucket in self._buckets.items():
            of_bucket[number - oldest] = bucket.of_all
        asked, buckets, counts = (self if items is None else self._of(np.unique(items))).arrays()
        return ClickCounter(
            places=asked * width + (buckets - oldest),
            counts_before=np.concatenate(([0], np.cumsum(counts))),
            all_before=np.concatenate(([0], np.cumsum(of_bucket))),
            oldest=oldest,
        )

    def _of(self, items: Ints) -> "ItemClicks":
        found = {n: bucket.of_these(items) for n, bucket in self._buckets.items()}
        return ItemClicks(found)


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
    return reduce(gcd, (*spec.windows_minutes, spec.refresh_offset_minutes), spec.pace_minutes)


def bucket_ms(spec: Refreshed) -> int:
    """The same in milliseconds."""
    return bucket_minutes(spec) * 60_000


def oldest_bucket(unit_ms: Ints, spec: Refreshed) -> Ints:
    """[N]: clicks of these units are told of nothing older; so the state need not hold it."""
    return unit_ms // bucket_ms(spec) - spec.reach_minutes() // bucket_minutes(spec)


def refreshed_ms(at_ms: Ints, unit_ms: Ints, spec: Refreshed) -> Ints:
    """[N]: the newest refresh that a click can have been served with: one that came neither after
    the click nor after its unit had begun.
    """
    refresh, offset = spec.pace_minutes * 60_000, spec.refresh_offset_minutes * 60_000
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
        clicks.counter(item_rows), item_rows, first_seen_ms, at_ms, spec, oldest=oldest
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

"""Cut the click stream into shards.

A shard ends when broker time passes the end of its minute, when it is full, or when its partition
is idle and the minute is over by the wall clock. This module decides where; it never touches Kafka
or the disk, so its tests are tables of times and expected cuts. Where a shard is cut never affects
correctness, only how fresh and how large the files are.

A stamp that is no time, or later than the reader's own clock, moves nothing: its message joins the
shard that is open, is counted, and was stored no later than the next message with a sound stamp.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from streaming.messages import Int64s, Messages
from twintide.clock import (
    floor_to_minutes,
    from_unix_ms,
    latest_believed,
    monotonic_seconds,
    to_unix_ms,
)
from twintide.config import ShardsConfig
from twintide.events import EARLIEST_MS
from twintide.shards import ShardFooter, minute_of

_NEVER_MS = np.iinfo(np.int64).max


@dataclass(frozen=True)
class OddStamp:
    """A message whose broker time was not believed."""

    offset: int
    stamp_ms: int
    """What it says, Unix ms; -1 where it says nothing."""

    taken_at: datetime
    """What our clock showed then."""


@dataclass(frozen=True)
class Cut:
    """One contiguous offset range [first, next) of a partition: what becomes one shard."""

    partition: int
    first: int
    next: int
    minute_at: datetime
    after: int | None
    """Where the shard before ended; None where there is none."""

    runs: tuple[Messages, ...]
    """In order; every time is a sound one."""

    watched_from: int | None = None
    """Where a partition without a shard was watched from; None where nobody watched it."""

    clock_ahead: int = 0
    """Messages whose stamp was later than the reader's clock."""

    clock_nonsense: int = 0
    """Messages without a stamp, or with one before the year 2000 (seconds, say)."""

    odd: OddStamp | None = None
    """The first of either kind."""

    @property
    def gap_before(self) -> int:
        """Offsets that are in no shard, because Kafka had deleted them."""
        stood = self.watched_from if self.after is None else self.after
        return 0 if stood is None else self.first - stood

    def __len__(self) -> int:
        return sum(len(run) for run in self.runs)


@dataclass
class _OpenShard:
    """What has been taken of the shard that is being filled."""

    opened_at: datetime
    opened_elapsed: float
    minute_at: datetime | None = None
    """None until a message with a sound stamp has come."""

    end_ms: int = _NEVER_MS
    runs: list[Messages] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0


@dataclass
class _OddStamps:
    """Those of the messages that are in no cut yet, in offset order."""

    offsets: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    stamps_ms: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    taken_ms: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))

    def add(self, offsets: Int64s, stamps_ms: Int64s, now: datetime) -> None:
        taken_ms = np.full(len(offsets), to_unix_ms(now), np.int64)
        self.offsets = np.concatenate([self.offsets, offsets])
        self.stamps_ms = np.concatenate([self.stamps_ms, stamps_ms])
        self.taken_ms = np.concatenate([self.taken_ms, taken_ms])

    def pop_below(self, next_offset: int) -> tuple[Int64s, OddStamp | None]:
        """Stamps of those that a cut which ends there holds, and the first of them."""
        count = int(np.searchsorted(self.offsets, next_offset))
        if count == 0:
            return self.stamps_ms[:0], None
        stamps_ms, taken_at = self.stamps_ms[:count], from_unix_ms(int(self.taken_ms[0]))
        first = OddStamp(int(self.offsets[0]), int(stamps_ms[0]), taken_at)
        self.offsets, self.stamps_ms = self.offsets[count:], self.stamps_ms[count:]
        self.taken_ms = self.taken_ms[count:]
        return stamps_ms, first


class PartitionCutter:
    """Cuts one partition, from the position `first` on."""

    def __init__(
        self,
        partition: int,
        config: ShardsConfig,
        *,
        first: int,
        before: ShardFooter | None = None,
        watched_from: int | None = None,
        elapsed: Callable[[], float] = monotonic_seconds,
    ) -> None:
        """`before` is the newest shard; mostly it ends where this begins. A partition without one
        was watched from `watched_from`. `elapsed` gives seconds of a clock that nobody sets.
        """
        self.partition = partition
        self.next = first
        """Position behind the last message taken."""

        self.newest_ms = 0
        """Broker time of the last message taken; 0 where none was."""

        self._elapsed = elapsed
        self._odd = _OddStamps()
        self._config = config
        self._first = first
        self._after = None if before is None else before.next
        self._watched_from = watched_from
        self._minute_before = None if before is None else before.minute_at
        self._open: _OpenShard | None = None
        self._idle_cut_at: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no shard is open: all that was taken has been cut."""
        return self._open is None

    @property
    def bytes(self) -> int:
        """What the open shard holds in memory, roughly."""
        return 0 if self._open is None else self._open.bytes

    @property
    def first(self) -> int:
        """Where the next cut begins: everything below is in shards."""
        return self._first

    def add(self, messages: Messages, now: datetime) -> Iterator[Cut]:
        """Take messages that follow on those before; yields a cut for each shard they end."""
        if len(messages) and int(messages.offsets[0]) < self.next:
            raise ValueError(
                f"offset {messages.offsets[0]} of partition {self.partition} was taken before"
            )
        rest = self._with_sound_times(messages, now)
        while len(rest):
            shard = self._open or self._begin(now)
            self._place(shard, rest.times_ms, now)
            taken = self._room(shard, rest)
            if taken == len(rest):
                self._take(shard, rest)
                break
            if taken:
                head, rest = rest.split(taken)
                self._take(shard, head)
            else:
                self.next = int(rest.offsets[0])
            yield self._end(shard, behind_ms=_first_sound(rest.times_ms))
        self.next = max(self.next, messages.next)
        if self._open is not None and self._open.rows >= self._config.max_rows:
            yield self._end(self._open)

    def due(self, now: datetime, *, idle: bool, position: int | None = None) -> Cut | None:
        """The open shard, where waiting for more would only make it late.

        `idle`: the partition has nothing more to give at the moment. `position` is where the
        consumer stands, behind what holds no message (transaction markers).
        """
        shard = self._open
        if shard is None:
            return None
        minute_at = shard.minute_at or floor_to_minutes(shard.opened_at, self._config.minutes)
        is_over = now >= minute_at + self._window + self._late
        without_a_minute = shard.minute_at is None
        # By age alone: a minute that lies in the future by somebody's clock ends all the same, and
        # so does one that lies there because ours was set back.
        age = timedelta(seconds=self._elapsed() - shard.opened_elapsed)
        is_old = age >= self._window + self._late
        if not (is_old or (is_over and (without_a_minute or (idle and self._may_cut_idle(now))))):
            return None
        self._idle_cut_at = now
        return self.flush(position)

    def _may_cut_idle(self, now: datetime) -> bool:
        """Once in a window of the wall clock: late events would otherwise make one tiny shard each.

        Windows, and not the time since the last cut: one late cut must not make the next ones
        late as well.
        """
        if self._idle_cut_at is None or now < self._idle_cut_at:  # ... or our clock was set back
            return True
        in_window = floor_to_minutes(self._idle_cut_at - self._late, self._config.minutes)
        return now >= in_window + self._window + self._late

    def flush(self, position: int | None = None) -> Cut | None:
        """The open shard as it is; None where none is open."""
        if self._open is None:
            return None
        self.next = max(self.next, position or 0)
        return self._end(self._open)

    def flush_empty(self, now: datetime) -> Cut | None:
        """A cut without a message, over offsets that hold none (markers, aborted, compacted); None
        where there are none, or no shard before to follow on.
        """
        before = self._minute_before
        if self._open is not None or before is None or self.next <= self._first:
            return None
        minute_at = self._minute_of(to_unix_ms(min(before, now)), now)
        cut = Cut(
            partition=self.partition,
            first=self._first,
            next=self.next,
            minute_at=minute_at,
            after=self._after,
            runs=(),
        )
        self._first = self._after = self.next
        self._minute_before = minute_at
        return cut

    @property
    def _window(self) -> timedelta:
        return timedelta(minutes=self._config.minutes)

    @property
    def _late(self) -> timedelta:
        return timedelta(seconds=self._config.allowed_lateness_seconds)

    def _begin(self, now: datetime) -> _OpenShard:
        self._open = _OpenShard(opened_at=now, opened_elapsed=self._elapsed())
        return self._open

    def _place(self, shard: _OpenShard, times_ms: Int64s, now: datetime) -> None:
        """The first sound stamp says which minute a shard belongs to."""
        if shard.minute_at is None and (first_ms := _first_sound(times_ms)) != _NEVER_MS:
            shard.minute_at = self._minute_of(first_ms, now)
            shard.end_ms = to_unix_ms(shard.minute_at + self._window)

    def _minute_of(self, first_ms: int, now: datetime) -> datetime:
        """Minutes grow, but not behind one that has not come: that was a wrong clock's."""
        before = self._minute_before
        if before is not None and before > latest_believed(now):
            before = None
        return minute_of(before, from_unix_ms(first_ms), minutes=self._config.minutes)

    def _room(self, shard: _OpenShard, messages: Messages) -> int:
        """How many of `messages` still belong to the shard."""
        rows = min(len(messages), self._config.max_rows - shard.rows)
        later = messages.times_ms[:rows] >= shard.end_ms
        return int(later.argmax()) if later.any() else rows

    def _take(self, shard: _OpenShard, messages: Messages) -> None:
        shard.runs.append(messages)
        shard.rows += len(messages)
        shard.bytes += messages.bytes
        self.next = messages.next

    def _end(self, shard: _OpenShard, *, behind_ms: int = _NEVER_MS) -> Cut:
        """`behind_ms`: the sound stamp of the message that ends it."""
        runs = shard.runs
        odd_stamps_ms, odd = self._odd.pop_below(self.next)
        if odd is not None:
            runs = _resolved(runs, behind_ms)
        first_ms = int(runs[0].times_ms[0]) if runs else to_unix_ms(shard.opened_at)
        minute_at = shard.minute_at or self._minute_of(first_ms, shard.opened_at)
        cut = Cut(
            partition=self.partition,
            first=self._first,
            next=self.next,
            minute_at=minute_at,
            after=self._after,
            runs=tuple(runs),
            watched_from=self._watched_from,
            clock_ahead=int((odd_stamps_ms >= EARLIEST_MS).sum()),
            clock_nonsense=int((odd_stamps_ms < EARLIEST_MS).sum()),
            odd=odd,
        )
        self._open = None
        self._first = self._after = self.next
        self._minute_before = minute_at
        return cut

    def _with_sound_times(self, messages: Messages, now: datetime) -> Messages:
        """Messages whose time is a sound stamp, or, negative, our clock where there is none."""
        times_ms = messages.times_ms
        latest_ms = to_unix_ms(latest_believed(now))
        if not len(times_ms):
            return messages
        if times_ms.min() >= EARLIEST_MS and times_ms.max() <= latest_ms:  # as a rule
            self.newest_ms = int(times_ms[-1])
            return messages
        is_odd = (times_ms > latest_ms) | (times_ms < EARLIEST_MS)
        self._odd.add(messages.offsets[is_odd], times_ms[is_odd], now)
        times_ms = np.where(is_odd, -to_unix_ms(now), times_ms)
        self.newest_ms = abs(int(times_ms[-1]))
        return replace(messages, times_ms=times_ms)


def overfull(cutters: Iterable[PartitionCutter], max_bytes: int) -> PartitionCutter | None:
    """The one whose shard must be cut early, since all that is open together takes too much."""
    open_shards = [cutter for cutter in cutters if not cutter.is_empty]
    if sum(cutter.bytes for cutter in open_shards) < max_bytes:
        return None
    return max(open_shards, key=lambda cutter: cutter.bytes)


def _first_sound(times_ms: Int64s) -> int:
    sound = times_ms > 0
    return int(times_ms[sound.argmax()]) if sound.any() else _NEVER_MS


def _resolved(runs: list[Messages], behind_ms: int) -> list[Messages]:
    """A message without a sound stamp was stored when we read it, or before the next message that
    has one: a log is in the order in which it was stored.
    """
    resolved = []
    for run in reversed(runs):
        is_odd = run.times_ms < 0
        later = np.append(np.where(is_odd, _NEVER_MS, run.times_ms), behind_ms)
        index = np.where(later == _NEVER_MS, len(later) - 1, np.arange(len(later)))
        next_sound = later[np.minimum.accumulate(index[::-1])[::-1]][:-1]
        times_ms = np.where(is_odd, np.minimum(-run.times_ms, next_sound), run.times_ms)
        resolved.append(replace(run, times_ms=times_ms))
        behind_ms = int(next_sound[0])
    return resolved[::-1]

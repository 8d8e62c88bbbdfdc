"""Cut the click stream into shards.

A shard ends when broker time passes the end of its minute, when it is full, or when its partition
is idle and the minute is over by the wall clock. This module decides where; it never touches Kafka
or the disk, so its tests are tables of times and expected cuts. Where a shard is cut never affects
correctness, only how fresh and how large the files are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from streaming.messages import Int64s, Messages
from twintide.clock import from_unix_ms, to_unix_ms
from twintide.config import ShardsConfig
from twintide.events import EARLIEST_MS, LATEST_MS
from twintide.shards import ShardFooter, minute_of


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
    """At least one message, in order."""

    @property
    def gap_before(self) -> int:
        """Offsets that are in no shard, because Kafka had deleted them."""
        return 0 if self.after is None else self.first - self.after

    def __len__(self) -> int:
        return sum(len(run) for run in self.runs)


@dataclass
class _OpenShard:
    """What has been taken of the shard that is being filled."""

    minute_at: datetime
    end_ms: int
    opened_at: datetime
    runs: list[Messages]
    rows: int = 0
    bytes: int = 0


class PartitionCutter:
    """Cuts one partition, from the position `first` on."""

    def __init__(
        self,
        partition: int,
        config: ShardsConfig,
        *,
        first: int,
        before: ShardFooter | None = None,
    ) -> None:
        """`before` is the newest shard; mostly it ends where this begins."""
        self.partition = partition
        self.next = first
        """Position behind the last message taken."""

        self._config = config
        self._first = first
        self._after = None if before is None else before.next
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
        rest = _with_sane_times(messages, self._last_known_ms())
        while len(rest):
            shard = self._open or self._begin(rest, now)
            taken = self._room(shard, rest)
            if taken == len(rest):
                self._take(shard, rest)
                break
            if taken:
                head, rest = rest.split(taken)
                self._take(shard, head)
            else:
                self.next = int(rest.offsets[0])
            yield self._end(shard)
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
        window = timedelta(minutes=self._config.minutes)
        late = timedelta(seconds=self._config.allowed_lateness_seconds)
        minute_is_over = now >= shard.minute_at + window + late
        # Late events after a cut would otherwise make one tiny shard each.
        may_cut_again = self._idle_cut_at is None or now >= self._idle_cut_at + window
        # By age alone: a minute that lies in the future by somebody's clock ends all the same.
        is_old = now >= shard.opened_at + window + late
        if not ((idle and minute_is_over and may_cut_again) or is_old):
            return None
        self._idle_cut_at = now
        return self.flush(position)

    def flush(self, position: int | None = None) -> Cut | None:
        """The open shard as it is; None where none is open."""
        if self._open is None:
            return None
        self.next = max(self.next, position or 0)
        return self._end(self._open)

    def _begin(self, messages: Messages, now: datetime) -> _OpenShard:
        first_at = from_unix_ms(int(messages.times_ms[0]))
        minute_at = minute_of(self._minute_before, first_at, minutes=self._config.minutes)
        end_ms = to_unix_ms(minute_at + timedelta(minutes=self._config.minutes))
        self._open = _OpenShard(minute_at, end_ms, opened_at=now, runs=[])
        return self._open

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

    def _end(self, shard: _OpenShard) -> Cut:
        cut = Cut(
            partition=self.partition,
            first=self._first,
            next=self.next,
            minute_at=shard.minute_at,
            after=self._after,
            runs=tuple(shard.runs),
        )
        self._open = None
        self._first = self._after = self.next
        self._minute_before = shard.minute_at
        return cut

    def _last_known_ms(self) -> int:
        """A sound broker time at or before the next message."""
        if self._open is not None:
            return int(self._open.runs[-1].times_ms[-1])
        return EARLIEST_MS if self._minute_before is None else to_unix_ms(self._minute_before)


def overfull(cutters: Iterable[PartitionCutter], max_bytes: int) -> PartitionCutter | None:
    """The one whose shard must be cut early, since all that is open together takes too much."""
    open_shards = [cutter for cutter in cutters if not cutter.is_empty]
    if sum(cutter.bytes for cutter in open_shards) < max_bytes:
        return None
    return max(open_shards, key=lambda cutter: cutter.bytes)


def _with_sane_times(messages: Messages, last_known_ms: int) -> Messages:
    """A producer may stamp a message with anything; a nonsense time becomes that of the message
    before, so that it puts neither itself nor what follows into an impossible folder.
    """
    times_ms = messages.times_ms
    sane = (times_ms >= EARLIEST_MS) & (times_ms < LATEST_MS)
    if sane.all():
        return messages
    return Messages(
        messages.offsets,
        messages.next,
        _carried_forward(times_ms, sane, last_known_ms),
        messages.values,
        messages.bytes,
    )


def _carried_forward(times_ms: Int64s, sane: np.ndarray, before_ms: int) -> Int64s:
    index = np.where(sane, np.arange(len(times_ms)), -1)
    latest_sane = np.maximum.accumulate(index)
    return np.where(latest_sane < 0, before_ms, times_ms[np.maximum(latest_sane, 0)])

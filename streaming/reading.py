"""One partition that is being read: its cutter, and what is known of it by now."""

from dataclasses import dataclass
from datetime import datetime

from streaming.cutter import Cut, PartitionCutter
from twintide.clock import from_unix_ms, monotonic_seconds
from twintide.shards import Watermark

_QUIET_SECONDS = 5.0
_WATERMARK_SECONDS = 60.0
_EMPTY_SECONDS = 60.0
STALLED_SECONDS = 60.0
"""So long nothing has come of what is there: something is wrong."""


@dataclass
class Reading:
    """One partition that is being read."""

    cutter: PartitionCutter
    moved_at: float
    """Monotonic seconds when its position has last moved."""

    moved_when_listened: float = 0.0
    """How many seconds its reader had spent in polls by then."""

    topic_id: str | None = None
    """Of the topic that it is read from."""

    leader_epoch: int | None = None
    """Of the last batch that came."""

    lag: int = 0
    watermark_next: int = -1
    watermark_at: float = 0.0
    emptied_at: float = -_EMPTY_SECONDS
    """Monotonic seconds when a shard without a message was last committed."""

    waiting_told_at: float = -STALLED_SECONDS

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come of late."""
        return monotonic_seconds() - self.moved_at > _QUIET_SECONDS

    def empty_cut(self, now: datetime) -> Cut | None:
        """Once a minute: offsets without a message are behind us, and what marks them will go."""
        if monotonic_seconds() - self.emptied_at < _EMPTY_SECONDS:
            return None
        cut = self.cutter.flush_empty(now)
        if cut is not None:
            self.emptied_at = monotonic_seconds()
        return cut

    def seconds_behind(self, now: datetime) -> float:
        """Age of the newest message, where others wait behind it."""
        if self.lag == 0 or self.cutter.newest_ms == 0:
            return 0.0
        newest_at = from_unix_ms(self.cutter.newest_ms)
        return max(0.0, (now - newest_at).total_seconds())

    def watermark(
        self, topic: str, complete_until: datetime, *, partitions: int
    ) -> Watermark | None:
        """That nothing is left, as of the moment before the broker was asked, to be written down;
        None where it stands so already, a minute long.
        """
        position, now = self.cutter.next, monotonic_seconds()
        if self.watermark_next == position and now - self.watermark_at < _WATERMARK_SECONDS:
            return None
        self.watermark_next = position
        self.watermark_at = now
        return Watermark(
            topic=topic,
            partition=self.cutter.partition,
            next=position,
            complete_until=complete_until,
            partitions=max(partitions, self.cutter.partition + 1),
            topic_id=self.topic_id,
        )

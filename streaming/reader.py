"""One consumer's reading: messages in, shards out, positions from the shards and nowhere else.

An open shard is only memory. Whoever loses a race or a partition drops it, and whoever comes next
reads the same messages again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streaming.cutter import Cut, PartitionCutter, overfull
from streaming.messages import Messages
from streaming.rejects import RejectWatch
from streaming.resume import resume_point
from streaming.source import Source
from streaming.tally import Tally
from streaming.writer import content_of, publish
from twintide.clock import Clock, from_unix_ms, monotonic_seconds
from twintide.config import Deployment
from twintide.errors import Retryable
from twintide.shards import Ledger, ShardFooter, Watermark

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 5.0
_QUIET_SECONDS = 5.0
_WATERMARK_SECONDS = 60.0
_STALLED_SECONDS = 60.0


@dataclass
class _Reading:
    """One partition that is being read."""

    cutter: PartitionCutter
    moved_at: float
    """Monotonic seconds when its last messages came."""

    watermark_next: int = -1
    watermark_at: float = 0.0


class Reader:
    """Reads the partitions of one consumer. Any error leaves nothing half done: throw it away."""

    def __init__(
        self, deployment: Deployment, source: Source, *, clock: Clock, tally: Tally
    ) -> None:
        self._deployment = deployment
        self._config = deployment.shards
        self._clock = clock
        self._source = source
        self._tally = tally
        self._log = tally.log
        self._ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
        self._fingerprint = deployment.events.fingerprint()
        self._watch = RejectWatch(source.topic, max_ratio=self._config.max_rejected_ratio)
        self._readings: dict[int, _Reading] = {}
        self._to_resume: set[int] = set()
        self._partitions = source.partitions()
        self._looked_at = 0.0
        self._targets: dict[int, int] = {}
        self._targets_at = clock.now()

    def turn(self) -> None:
        """Poll once, and do all that follows from it.

        Raises Retryable where broker or disk refuse, Refused where an operator must decide.
        """
        for partition in sorted(self._to_resume):
            self._resume(partition)
        polled = self._source.poll(timeout_seconds=_POLL_SECONDS)
        if polled.fresh:
            self._partitions = self._source.partitions()
        for partition in polled.gone:
            self._forget(partition, why="rebalance")
        for partition in sorted(polled.fresh):
            self._resume(partition)
        for partition in sorted(polled.strayed):
            self._find_again(partition)
        for partition, messages in polled.messages:
            self._take(partition, messages)
        self._cut_what_is_due()
        self._publish_watermarks(self._stand_at_the_end())
        if monotonic_seconds() - self._looked_at >= _LOOK_SECONDS:
            self._look()

    # Positions: from the shards, and from nowhere else.

    def _resume(self, partition: int) -> None:
        """Read on where the newest shard ends; the log tells later if it does not hold that."""
        before = self._ledger.newest(partition)
        self._begin_at(partition, before, 0 if before is None else before.next)

    def _find_again(self, partition: int) -> None:
        """The log does not hold the position: go where it begins, if nothing is skipped by that."""
        before = self._ledger.newest(partition)
        first = resume_point(
            self._source.topic,
            partition,
            before,
            begin=self._source.begins([partition])[partition],
            end=self._source.ends([partition])[partition],
            accept_gap=self._config.accept_gap,
        )
        if before is not None and first > before.next:
            self._log.warning("gap_accepted", partition=partition, missing=first - before.next)
        self._begin_at(partition, before, first)

    def _begin_at(self, partition: int, before: ShardFooter | None, first: int) -> None:
        self._to_resume.discard(partition)
        cutter = PartitionCutter(partition, self._config, first=first, before=before)
        self._readings[partition] = _Reading(cutter, moved_at=monotonic_seconds())
        self._watch.forget(partition)
        self._source.seek(partition, first)
        self._log.info("partition_resumed", partition=partition, offset=first)

    def _forget(self, partition: int, *, why: str) -> None:
        """Drop the open shard: its messages are read again, here or by the new owner."""
        self._to_resume.discard(partition)
        if self._readings.pop(partition, None) is not None:
            self._log.info("partition_dropped", partition=partition, why=why)

    # Messages to shards.

    def _take(self, partition: int, messages: Messages) -> None:
        reading = self._readings.get(partition)
        if reading is None:  # dropped a moment ago, and not yet resumed
            return
        reading.moved_at = monotonic_seconds()
        for cut in reading.cutter.add(messages, self._clock.now()):
            if not self._commit(cut):
                return
        cutters = [each.cutter for each in self._readings.values()]
        while (full := overfull(cutters, self._config.max_bytes)) is not None:
            if (early := full.flush()) is not None:
                self._commit(early)

    def _cut_what_is_due(self) -> None:
        now = self._clock.now()
        for partition, reading in list(self._readings.items()):
            if reading.cutter.is_empty:
                continue
            quiet = monotonic_seconds() - reading.moved_at > _QUIET_SECONDS
            idle = quiet or self._source.is_at_end(partition)
            position = self._source.position(partition)
            if (cut := reading.cutter.due(now, idle=idle, position=position)) is not None:
                self._commit(cut)

    def _commit(self, cut: Cut) -> bool:
        """Make a shard of a cut. False where a rival was first: then the partition is dropped."""
        content = content_of(cut, self._deployment.events)
        sample = content.rejected["reason"][0].as_py() if len(content.rejected) else ""
        self._watch.check(cut.partition, content.is_bad, sample=sample)
        try:
            footer = publish(
                self._ledger,
                cut,
                content,
                partitions=max(self._partitions, cut.partition + 1),
                fingerprint=self._fingerprint,
            )
        except FileExistsError:
            self._tally.lost_race(cut.partition)
            self._forget(cut.partition, why="a rival was first")
            # Not at once: what was polled with this cut is beyond the position to go back to.
            self._to_resume.add(cut.partition)
            return False
        self._tally.committed(footer, odd=cut.odd)
        return True

    # What is seen from outside.

    def _look(self) -> None:
        """Ask the broker where the logs end: for the lag, and to know that it answers."""
        ends = self._ends(self._readings)
        self._looked_at = monotonic_seconds()
        now = self._clock.now()
        total = 0
        for partition, reading in self._readings.items():
            lag = max(0, ends[partition] - self._source.position(partition))
            total += lag
            self._tally.metrics.lagged(partition, lag, self._seconds_behind(reading, lag, now))
            if lag and monotonic_seconds() - reading.moved_at > _STALLED_SECONDS:
                raise Retryable(f"partition {partition} has {lag} messages, but none come")
        self._source.tell_group({p: each.cutter.first for p, each in self._readings.items()})
        self._tally.answered(lag=total, is_reading=bool(self._readings))

    def _ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Where the logs end. Raises Refused where one ends before what its shards hold."""
        ends = self._source.ends(partitions)
        for partition, end in ends.items():
            if self._source.position(partition) > end:
                self._find_again(partition)
        return ends

    @staticmethod
    def _seconds_behind(reading: _Reading, lag: int, now: datetime) -> float:
        if lag == 0 or reading.cutter.newest_ms == 0:
            return 0.0
        return max(0.0, (now - from_unix_ms(reading.cutter.newest_ms)).total_seconds())

    def _stand_at_the_end(self) -> list[int]:
        """Partitions that have nothing more, and for which that is not written down yet."""
        now = monotonic_seconds()
        return [
            partition
            for partition, reading in self._readings.items()
            if reading.cutter.is_empty
            and (
                reading.watermark_next != reading.cutter.first
                or now - reading.watermark_at >= _WATERMARK_SECONDS
            )
            and self._source.is_at_end(partition)
        ]

    def _publish_watermarks(self, partitions: Sequence[int]) -> None:
        """Write down that nothing is left, as of the moment before the broker was asked."""
        if not partitions:
            return
        asked_at = self._clock.now()
        ends = self._ends(partitions)
        allowance = timedelta(seconds=self._config.allowed_lateness_seconds)  # clocks differ
        for partition in partitions:
            if self._source.position(partition) >= ends[partition]:
                self._publish_watermark(partition, asked_at - allowance)

    def _publish_watermark(self, partition: int, complete_until: datetime) -> None:
        reading = self._readings[partition]
        self._ledger.publish_watermark(
            Watermark(
                topic=self._ledger.topic,
                partition=partition,
                next=reading.cutter.first,
                complete_until=complete_until,
                partitions=max(self._partitions, partition + 1),
            )
        )
        reading.watermark_next = reading.cutter.first
        reading.watermark_at = monotonic_seconds()

    # A run that ends by itself.

    def is_caught_up(self) -> bool:
        """Whether all that was in the logs at the start is in shards; commits what is open."""
        if not self._targets and self._readings:
            self._targets_at = self._clock.now()
            self._targets = self._ends(self._readings)
        if not self._targets or not self._has_read(self._targets):
            return False
        for partition in self._targets:
            cut = self._readings[partition].cutter.flush(self._source.position(partition))
            if cut is not None:
                self._commit(cut)
        if not self._has_read(self._targets):  # a rival was first, and has committed less
            return False
        for partition in self._targets:
            self._publish_watermark(partition, self._targets_at)
        return True

    def _has_read(self, targets: Mapping[int, int]) -> bool:
        return all(
            partition in self._readings and self._source.position(partition) >= target
            for partition, target in targets.items()
        )

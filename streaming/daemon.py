"""The ingest daemon: Kafka in, minute shards out, every message in exactly one shard.

The newest shard of a partition says where to read on; nothing else does. An open shard is only
memory: whoever dies, stops, loses a race or a partition drops it, and whoever comes next reads the
same messages again. So a stop is quick, and a crash is no special case.
"""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from streaming.cutter import Cut, PartitionCutter, overfull
from streaming.messages import Messages
from streaming.metrics import IngestMetrics, served
from streaming.rejects import RejectWatch
from streaming.resume import resume_point
from streaming.source import Source
from streaming.writer import content_of, publish
from twintide.clock import Clock, from_unix_ms, iso, monotonic_seconds
from twintide.config import Deployment
from twintide.errors import Refused, Retryable
from twintide.files import sweep_temporaries
from twintide.shards import Ledger, ShardFooter, Watermark
from twintide.telemetry import get_log

_POLL_SECONDS = 0.2
_LOOK_SECONDS = 5.0
_QUIET_SECONDS = 5.0
_WATERMARK_SECONDS = 60.0
_RETRY_SECONDS = 1.0
_GIVE_UP_SECONDS = 30.0
_STALLED_SECONDS = 60.0


@dataclass(frozen=True)
class IngestProgress:
    """How far a run has come."""

    rows: int = 0
    rejected: int = 0
    filtered: int = 0
    shards: int = 0
    lag: int = 0
    """Messages still to read, as of the last look."""


@dataclass(frozen=True)
class IngestSummary:
    """What a run did. consumed = rows + rejected + filtered."""

    rows: int
    rejected: int
    filtered: int
    shards: int
    lost_races: int
    seconds: float


@dataclass
class _Reading:
    """One partition that is being read."""

    cutter: PartitionCutter
    moved_at: float
    """Monotonic seconds when its last messages came."""

    newest_broker_ms: int = 0
    watermark_next: int = -1
    watermark_at: float = 0.0


def run(
    deployment: Deployment,
    *,
    clock: Clock,
    until_caught_up: bool = False,
    metrics_port: int | None = None,
    on_progress: Callable[[IngestProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> IngestSummary:
    """Ingest until SIGTERM, SIGINT or `stop`; then return within seconds, dropping open shards.

    A broker that is away is waited for. `until_caught_up`: take every partition, read to the log
    ends that are found at the start, commit what is open although its minute may not be over, write
    the watermarks and return; there a broker that does not answer for 30 s raises Retryable, and a
    topic that is missing Refused.

    Raises Refused where an operator must decide (gap in the offsets, flood of bad messages),
    Corrupt where the newest shard is damaged.
    """
    ingest = _Ingest(
        deployment,
        clock=clock,
        until_caught_up=until_caught_up,
        on_progress=on_progress or (lambda _: None),
        stop=stop or threading.Event(),
    )
    signals = () if until_caught_up else (signal.SIGTERM, signal.SIGINT)
    with _set_by(signals, ingest.stop), served(ingest.metrics, metrics_port) as port:
        return ingest.run(port)


class _Ingest:
    """All state of one run."""

    def __init__(
        self,
        deployment: Deployment,
        *,
        clock: Clock,
        until_caught_up: bool,
        on_progress: Callable[[IngestProgress], None],
        stop: threading.Event,
    ) -> None:
        self.stop = stop
        self.metrics = IngestMetrics()
        self._deployment = deployment
        self._config = deployment.shards
        self._clock = clock
        self._until_caught_up = until_caught_up
        self._on_progress = on_progress
        self._takes_all = until_caught_up or deployment.kafka.assignment == "all"
        self._ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
        self._fingerprint = deployment.events.fingerprint()
        self._log = get_log("ingest").bind(topic=deployment.kafka.topic)
        self._started_at = monotonic_seconds()
        self._answered_at = monotonic_seconds()
        self._progress = IngestProgress()
        self._lost_races = 0
        self._targets: dict[int, int] = {}
        self._targets_at = clock.now()

    def run(self, port: int | None) -> IngestSummary:
        swept = sweep_temporaries(self._deployment.shards_dir)
        self._log.info(
            "ingest_started", data_dir=str(self._deployment.data_dir), swept=swept, port=port
        )
        is_done = False
        while not (is_done or self.stop.is_set()):
            try:
                with Source(self._deployment.kafka, takes_all=self._takes_all) as source:
                    is_done = self._read(source)
            except Retryable as error:
                self._bear(error)
            except OSError as error:  # a full disk, say: nothing is lost, Kafka still has it
                self._bear(Retryable(f"the disk refuses: {error}", hint="see `data_dir`"))
        self.metrics.is_ready = False
        summary = IngestSummary(
            rows=self._progress.rows,
            rejected=self._progress.rejected,
            filtered=self._progress.filtered,
            shards=self._progress.shards,
            lost_races=self._lost_races,
            seconds=monotonic_seconds() - self._started_at,
        )
        self._log.info("ingest_ended", rows=summary.rows, shards=summary.shards)
        return summary

    def _bear(self, error: Retryable) -> None:
        """What passes by itself is waited out; a run that shall end waits only so long."""
        self.metrics.is_ready = False
        if self._until_caught_up and monotonic_seconds() - self._answered_at > _GIVE_UP_SECONDS:
            raise error
        self._log.warning("ingest_interrupted", why=error.message)
        self.stop.wait(_RETRY_SECONDS)
        self.metrics.turned()

    def _read(self, source: Source) -> bool:
        """Read with one consumer until stopped (False) or caught up (True)."""
        self._source = source
        self._readings: dict[int, _Reading] = {}
        self._to_resume: set[int] = set()
        self._watch = RejectWatch(source.topic, max_ratio=self._config.max_rejected_ratio)
        self._partitions = self._count_partitions()
        self._looked_at = 0.0
        while not self.stop.is_set():
            self._turn()
            if self._until_caught_up and self._is_caught_up():
                return True
        return False

    def _turn(self) -> None:
        for partition in sorted(self._to_resume):
            self._resume(partition)
        polled = self._source.poll(timeout_seconds=_POLL_SECONDS)
        if polled.fresh:
            self._partitions = self._count_partitions()
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
        self.metrics.turned()

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
        reading.newest_broker_ms = int(messages.times_ms[-1])
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
            self._lost_races += 1
            self.metrics.lost_race(cut.partition)
            self._forget(cut.partition, why="a rival was first")
            # Not at once: what was polled with this cut is beyond the position to go back to.
            self._to_resume.add(cut.partition)
            return False
        self._count(footer)
        return True

    def _count(self, footer: ShardFooter) -> None:
        self.metrics.committed(footer)
        self._answered_at = monotonic_seconds()
        self._progress = replace(
            self._progress,
            rows=self._progress.rows + footer.rows,
            rejected=self._progress.rejected + footer.rejected,
            filtered=self._progress.filtered + footer.filtered,
            shards=self._progress.shards + 1,
        )
        self._log.info(
            "shard_committed",
            partition=footer.partition,
            first=footer.first,
            next=footer.next,
            minute=iso(footer.minute_at),
            rows=footer.rows,
            rejected=footer.rejected,
        )
        self._on_progress(self._progress)

    # What is seen from outside.

    def _look(self) -> None:
        """Ask the broker where the logs end: for the lag, and to know that it answers."""
        ends = self._ends(self._readings)
        self._looked_at = self._answered_at = monotonic_seconds()
        self.metrics.is_ready = bool(self._readings)
        now = self._clock.now()
        total = 0
        for partition, reading in self._readings.items():
            lag = max(0, ends[partition] - self._source.position(partition))
            total += lag
            self.metrics.lagged(partition, lag, self._seconds_behind(reading, lag, now))
            if lag and monotonic_seconds() - reading.moved_at > _STALLED_SECONDS:
                raise Retryable(f"partition {partition} has {lag} messages, but none come")
        self._source.tell_group({p: each.cutter.first for p, each in self._readings.items()})
        self._progress = replace(self._progress, lag=total)
        self._on_progress(self._progress)

    def _ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Where the logs end. Raises Refused where one ends before what its shards hold."""
        ends = self._source.ends(partitions)
        for partition, end in ends.items():
            if self._source.position(partition) > end:
                self._find_again(partition)
        return ends

    @staticmethod
    def _seconds_behind(reading: _Reading, lag: int, now: datetime) -> float:
        if lag == 0 or reading.newest_broker_ms == 0:
            return 0.0
        return max(0.0, (now - from_unix_ms(reading.newest_broker_ms)).total_seconds())

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

    def _is_caught_up(self) -> bool:
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

    def _count_partitions(self) -> int:
        """Raises Refused where a run that ends by itself finds no topic."""
        count = self._source.partitions()
        if count == 0 and self._until_caught_up:
            raise Refused(
                f"Kafka has no topic {self._source.topic}",
                hint="`twintide replay` makes it, or kafka.topic names another",
            )
        if count == 0:
            self._log.warning("topic_missing", effect="waits for it")
        return count


@contextmanager
def _set_by(signals: Sequence[signal.Signals], stop: threading.Event) -> Iterator[None]:
    """While the block runs, these signals ask for a stop; only the main thread can hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)

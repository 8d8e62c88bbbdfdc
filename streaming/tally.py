"""What a run of ingest has done so far, and how it is told: log, metrics, progress, summary."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from streaming.cutter import OddStamp
from streaming.metrics import IngestMetrics
from twintide.clock import iso, monotonic_seconds
from twintide.errors import Retryable
from twintide.shards import ShardFooter
from twintide.telemetry import get_log

_TELL_SECONDS = 60.0


@dataclass(frozen=True)
class IngestProgress:
    """How far a run has come. consumed = rows + rejected + filtered."""

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


class Tally:
    """Counts over one run, however many consumers it takes."""

    def __init__(self, topic: str, on_progress: Callable[[IngestProgress], None]) -> None:
        self.topic = topic
        self.metrics = IngestMetrics()
        self.log = get_log("ingest").bind(topic=topic)
        self.progress = IngestProgress()
        self.answered_at = monotonic_seconds()
        """Monotonic seconds when a broker has last answered, or the run began."""

        self.moved_at = monotonic_seconds()
        """Monotonic seconds when a shard was last committed, or the run began."""

        self._on_progress = on_progress
        self._began_at = monotonic_seconds()
        self._lost_races = 0
        self._odd_partitions: set[int] = set()
        self._told = ""
        self._told_at = 0.0
        self._failures: set[str] = set()

    def committed(self, footer: ShardFooter, *, odd: OddStamp | None = None) -> None:
        """One shard more; `odd` is its first message whose broker time was not believed."""
        done = self.progress
        self.moved_at = monotonic_seconds()
        self._name(footer.partition, odd)
        self.metrics.committed(footer)
        self.log.info(
            "shard_committed",
            partition=footer.partition,
            first=footer.first,
            next=footer.next,
            minute=iso(footer.minute_at),
            rows=footer.rows,
            rejected=footer.rejected,
        )
        self.progress = replace(
            done,
            rows=done.rows + footer.rows,
            rejected=done.rejected + footer.rejected,
            filtered=done.filtered + footer.filtered,
            shards=done.shards + 1,
        )
        self._on_progress(self.progress)

    def _name(self, partition: int, odd: OddStamp | None) -> None:
        """Once for each partition: a line for every message would hide all others."""
        if odd is None or partition in self._odd_partitions:
            return
        self._odd_partitions.add(partition)
        ahead_seconds = odd.stamp_ms / 1000 - odd.taken_at.timestamp()
        self.log.warning(
            "stamps_not_believed",
            partition=partition,
            offset=odd.offset,
            stamp_ms=odd.stamp_ms,
            ahead_seconds=round(ahead_seconds, 3) if ahead_seconds > 0 else None,
            effect="such messages are kept, counted, and timed by our own clock",
        )

    def interrupted(self, error: Retryable) -> None:
        """The line stands for a moment. Said once, when it changes, and once a minute."""
        now = monotonic_seconds()
        if error.message != self._told or now - self._told_at >= _TELL_SECONDS:
            self._told, self._told_at = error.message, now
            self.log.warning("ingest_interrupted", why=error.message, hint=error.hint)

    def failed(self, error: Exception) -> Retryable:
        """Something that nobody foresaw, as what it is to the line; the log says where it was, once
        for each kind.
        """
        kind = f"{type(error).__name__}: {error}"
        if kind not in self._failures:
            self._failures.add(kind)
            self.log.error("ingest_failed", exc_info=error)
        return Retryable(
            f"something failed that nobody foresaw: {kind}",
            hint="the event `ingest_failed` in the log says where; nothing is lost, please report "
            "it",
        )

    def lost_race(self, partition: int) -> None:
        """A rival was first."""
        self._lost_races += 1
        self.metrics.lost_race(partition)

    def answered(self, *, lag: int) -> None:
        """A broker has said where the logs end."""
        self.answered_at = monotonic_seconds()
        self.progress = replace(self.progress, lag=lag)
        self._on_progress(self.progress)

    def summary(self) -> IngestSummary:
        """All of it, at the end."""
        return IngestSummary(
            rows=self.progress.rows,
            rejected=self.progress.rejected,
            filtered=self.progress.filtered,
            shards=self.progress.shards,
            lost_races=self._lost_races,
            seconds=monotonic_seconds() - self._began_at,
        )

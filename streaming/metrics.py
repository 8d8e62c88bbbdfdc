"""What ingest shows of itself: Prometheus metrics, and whether it lives and is ready."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from twintide.clock import monotonic_seconds
from twintide.shards import ShardFooter

_STUCK_SECONDS = 60.0


class IngestMetrics:
    """Counters of one run, and the two questions that a supervisor asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rows = self._counter("rows", "Events committed in shards.")
        self._rejected = self._counter("rejected", "Messages set aside in quarantine files.")
        self._filtered = self._counter("filtered", "Messages without a value.")
        self._clock_ahead = self._counter(
            "clock_ahead", "Messages whose broker time was later than our clock."
        )
        self._clock_nonsense = self._counter(
            "clock_nonsense", "Messages whose broker time was missing or before the year 2000."
        )
        self._shards = self._counter("shards", "Shards committed.")
        self._lost_races = self._counter("lost_races", "Shards that a rival committed first.")
        self._lag = self._gauge("lag", "Messages behind the end of the partition's log.")
        self._lag_seconds = self._gauge("lag_seconds", "Age of what is read, by broker time.")
        self._in_trouble = self._gauge(
            "in_trouble", "1 where the partition cannot be read at the moment; the log says why."
        )
        self._turned_at = monotonic_seconds()
        self.standing = "not ready: starts"
        """What /readyz says: `ready`, `standby`, or `not ready` and why."""

    def turned(self) -> None:
        """The main loop has come round once more."""
        self._turned_at = monotonic_seconds()

    @property
    def is_ready(self) -> bool:
        """Whether a broker answers and every partition that is ours is read; a member of a group
        that has no partition to give it stands by, which is all that it can do.
        """
        return self.standing in {"ready", "standby"}

    @property
    def is_alive(self) -> bool:
        """Whether the main loop has come round of late."""
        return monotonic_seconds() - self._turned_at < _STUCK_SECONDS

    def committed(self, footer: ShardFooter) -> None:
        """One shard more; a backlog of small ones is no standstill."""
        self.turned()
        partition = str(footer.partition)
        self._shards.labels(partition).inc()
        self._rows.labels(partition).inc(footer.rows)
        self._rejected.labels(partition).inc(footer.rejected)
        self._filtered.labels(partition).inc(footer.filtered)
        self._clock_ahead.labels(partition).inc(footer.clock_ahead)
        self._clock_nonsense.labels(partition).inc(footer.clock_nonsense)

    def lost_race(self, partition: int) -> None:
        """A rival was first."""
        self._lost_races.labels(str(partition)).inc()

    def lagged(self, partition: int, messages: int, seconds: float) -> None:
        """How far behind a partition is."""
        self._lag.labels(str(partition)).set(messages)
        self._lag_seconds.labels(str(partition)).set(seconds)

    def troubled(self, partition: int, *, is_in_trouble: bool) -> None:
        """Whether a partition cannot be read."""
        self._in_trouble.labels(str(partition)).set(int(is_in_trouble))

    def _counter(self, name: str, help_text: str) -> Counter:
        full_name = f"twintide_ingest_{name}"
        return Counter(full_name, help_text, ["partition"], registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        full_name = f"twintide_ingest_{name}"
        return Gauge(full_name, help_text, ["partition"], registry=self.registry)

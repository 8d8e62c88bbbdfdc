"""What the scheduler shows of itself: Prometheus metrics of both lines, and whether it lives and is
ready.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from twintide.checkpoints import STATE, CheckpointManifest
from twintide.clock import Clock, monotonic_seconds
from twintide.counted import CountManifest
from twintide.keyedrows import KEYS

_STUCK_SECONDS = 60.0


class TrainMetrics:
    """Counters of one scheduler, and the two questions that a supervisor asks."""

    def __init__(self, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter(
            "twintide_train_runs",
            "Runs that ended, by what came of them: learnt, counted, nothing, waiting or failed.",
            ["line", "outcome"],
            registry=self.registry,
        )
        self._rows = self._counter("rows", "Clicks learnt.")
        self._seconds = self._counter("seconds", "Time in runs that learnt something.")
        self._loss = self._gauge("loss", "Mean training loss of the newest run.")
        self._rows_per_second = self._gauge("rows_per_second", "Clicks per second of that run.")
        self._table_rows = Gauge(
            "twintide_train_table_rows",
            "Rows of an embedding table in the newest checkpoint.",
            ["table"],
            registry=self.registry,
        )
        self._state_rows = Gauge(
            "twintide_train_state_rows",
            "Users, by memory, and items that the newest checkpoint has room for.",
            ["of"],
            registry=self.registry,
        )
        self._newest: dict[str, CheckpointManifest] = {}
        self.registry.register(_Freshness(self._newest, clock))
        self._turned_at = monotonic_seconds()
        self._wrong: dict[str, str] = {}
        self._has_begun = False

    @property
    def standing(self) -> str:
        """What /readyz says: `ready`, or `not ready` and why."""
        if not self._has_begun:
            return "not ready: starts"
        wrong = [f"{what}: {why}" for what, why in sorted(self._wrong.items())]
        return f"not ready: {'; '.join(wrong)}" if wrong else "ready"

    @property
    def is_ready(self) -> bool:
        """Whether the newest run of each line did what was due, or had nothing to do."""
        return self.standing == "ready"

    @property
    def is_alive(self) -> bool:
        """Whether the bells have been looked after of late."""
        return monotonic_seconds() - self._turned_at < _STUCK_SECONDS

    def turned(self) -> None:
        """The bells are looked after; a run at work may take as long as it takes."""
        self._turned_at = monotonic_seconds()
        self._has_begun = True

    def begin_with(self, checkpoints: Sequence[CheckpointManifest]) -> None:
        """What was there when the scheduler started, so that a restart hides nothing."""
        for each in checkpoints:
            self._show(each)

    def learnt(self, made: CheckpointManifest, *, seconds: float) -> None:
        """A run that made a checkpoint."""
        self._runs.labels(made.kind, "learnt").inc()
        self._rows.labels(made.kind).inc(made.rows)
        self._seconds.labels(made.kind).inc(seconds)
        self._rows_per_second.labels(made.kind).set(made.rows / max(seconds, 1e-9))
        self._show(made)

    def had_nothing_to_do(self, line: str) -> None:
        """A run that found nothing new."""
        self._runs.labels(line, "nothing").inc()

    def counted(self, made: CountManifest | None) -> None:
        """A count, and what it made."""
        self._runs.labels("statistics", "counted" if made else "nothing").inc()

    def ended(self, what: str, why: str | None, *, outcome: str = "failed") -> None:
        """A ring is over; `why` it did not do its work, where it did not."""
        self._wrong.pop(what, None)
        if why is not None:
            self._wrong[what] = why
            self._runs.labels(what, outcome).inc()

    def _show(self, made: CheckpointManifest) -> None:
        self._newest[made.kind] = made
        if made.loss is not None:
            self._loss.labels(made.kind).set(made.loss)
        for name, store in made.stores.items():
            if KEYS not in store.columns:  # it is beside rows that are told of
                continue
            if name.startswith("table."):
                self._table_rows.labels(name.removeprefix("table.")).set(store.length)
            if name.startswith(STATE):
                self._state_rows.labels(name.removeprefix(STATE)).set(store.length - 1)

    def _counter(self, name: str, help_text: str) -> Counter:
        return Counter(f"twintide_train_{name}", help_text, ["line"], registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        return Gauge(f"twintide_train_{name}", help_text, ["line"], registry=self.registry)


class _Freshness(Collector):
    """Ages at the moment of the scrape."""

    def __init__(self, newest: dict[str, CheckpointManifest], clock: Clock) -> None:
        self._newest = newest
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "twintide_train_newest_click_age_seconds",
            "Age of the newest click that a line has learnt.",
            labels=["line"],
        )
        for line, made in self._newest.items():
            if made.newest_event_at is not None:
                age = (self._clock.now() - made.newest_event_at).total_seconds()
                family.add_metric([line], max(age, 0.0))
        yield family

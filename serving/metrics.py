"""What Prometheus sees of a server: answers, their latency, what is served, how fresh that is."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.follower import Follower
from twintide.clock import Clock, monotonic_seconds
from twintide.files import remove_folder

Given = TypeVar("Given")
Made = TypeVar("Made")

COUNTED = "twintide-metrics-"
"""How the folder is called that workers count in, before the process id of their master."""

STAGES = ("parse", "encode", "search", "write")
"""Of an answer, in their order."""

LATENCY_BUCKETS_SECONDS = (
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0,
)  # fmt: skip


def count_across_processes(folder: Path) -> None:
    """From now on in this process and those that it forks: what each counts lies in a file of this
    folder, and /metrics of each adds up all of them.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # where the library looks
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def sweep_counted(folder: Path) -> None:
    """Remove what masters that were killed have left: folders that name a process which is gone."""
    for path in folder.glob(f"{COUNTED}*-*"):
        process = path.name.removeprefix(COUNTED).partition("-")[0]
        if process.isdecimal() and not _is_running(int(process)):
            with suppress(OSError):  # of another user, who sweeps it
                remove_folder(path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self, follower: Follower, *, clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self.seconds = Histogram(
            "twintide_recommend_seconds",
            "Time from the parsed request to the answer.",
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        answers = Counter(
            "twintide_recommend_answers",
            "Answers to /v1/recommend, by HTTP status.",
            ["status"],
            registry=self.registry,
        )
        self.batches = Counter(
            "twintide_batch_answers",
            "Answers to /v1/recommend/batch, by HTTP status.",
            ["status"],
            registry=self.registry,
        )
        users = Counter(
            "twintide_recommend_users",
            "Whom answers were for: a user that the version knows, an unknown one, an anonymous.",
            ["user"],
            registry=self.registry,
        )
        self.popular = Counter(
            "twintide_recommend_popular",
            "Answers with what is popular, as there is no version yet.",
            registry=self.registry,
        )
        stages = Histogram(
            "twintide_recommend_stage_seconds",
            "Time of each stage of an answer.",
            ["stage"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=self.registry,
        )
        # The library looks a child up in a third of the time that it takes to parse a request.
        self.answers_of = cache(answers.labels)
        self.users_of = cache(users.labels)
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        self._served = _Served(follower, clock)
        self.registry.register(self._served)

    def page(self) -> bytes:
        """What a scrape gets: of all processes, where several count."""
        folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if folder is None:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
        registry.register(self._served)
        return generate_latest(registry)

    def timed(self, stage: str, run: Callable[[Given], Made], given: Given) -> Made:
        """What `run` makes of it; the time counts as that of the stage."""
        began = monotonic_seconds()
        made = run(given)
        self._stages[stage].observe(monotonic_seconds() - began)
        return made


class _Served(Collector):
    """Read from the follower at the moment of the scrape."""

    def __init__(self, follower: Follower, clock: Clock) -> None:
        self._follower = follower
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        standing = self._follower.standing
        yield CounterMetricFamily(
            "twintide_version_switches", "Versions switched to.", value=standing.switches
        )
        yield CounterMetricFamily(
            "twintide_version_failures", "Failed attempts to load.", value=standing.failures
        )
        yield CounterMetricFamily(
            "twintide_version_rollbacks",
            "Rollbacks by this process itself, from versions that failed.",
            value=standing.rollbacks,
        )
        yield GaugeMetricFamily(
            "twintide_version_problem",
            "1 while what is served is not what is live.",
            value=int(standing.problem is not None),
        )
        blocked = self._follower.blocked
        yield GaugeMetricFamily(
            "twintide_blocked_items", "Items that no answer may hold.", value=len(blocked.keys)
        )
        yield GaugeMetricFamily(
            "twintide_blocklist_problem",
            "1 while the list of what is blocked cannot be read.",
            value=int(blocked.problem is not None),
        )
        if standing.retriever is None:
            return
        manifest = standing.retriever.version.manifest
        served = GaugeMetricFamily(
            "twintide_version", "What is served.", labels=["version", "checkpoint"]
        )
        served.add_metric([manifest.name, manifest.checkpoint], 1)
        yield served
        yield GaugeMetricFamily("twintide_version_items", "Its items.", value=manifest.items)
        if manifest.newest_event_at is not None:
            age_seconds = (self._clock.now() - manifest.newest_event_at).total_seconds()
            yield GaugeMetricFamily(
                "twintide_newest_click_age_seconds",
                "Age of the newest click in what is served: its freshness.",
                value=max(age_seconds, 0.0),
            )
            yield GaugeMetricFamily(
                "twintide_newest_click_ahead_seconds",
                "How far the newest click lies in the future by this machine's clock: 0, or a "
                "clock is wrong.",
                value=max(-age_seconds, 0.0),
            )

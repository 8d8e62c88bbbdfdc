"""What Prometheus sees of a server: answers, their latency, what is served, how fresh that is."""

import os
from collections import Counter as Counted
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.follower import Follower, Standing
from serving.served import Served, Serves, tell_others, told_by_others
from twintide.clock import Clock, monotonic_seconds, to_unix_ms
from twintide.files import remove_folder
from twintide.telemetry import get_log

Given = TypeVar("Given")
Made = TypeVar("Made")

COUNTED = "twintide-metrics-"
"""How the folder is called that workers count in, before the process id of their master."""

STAGES = ("parse", "encode", "search", "write")
"""Of an answer, in their order."""

log = get_log("serving")

LATENCY_BUCKETS_SECONDS = (
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.0,
)  # fmt: skip


def count_across_processes(folder: Path) -> None:
    """From now on in this process and those that it forks: what each counts lies in a file of this
    folder, and /metrics of each adds up all of them.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # where the library looks
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def _folder_of_all() -> Path | None:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


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
        self._happened = {
            "switches": Counter(
                "twintide_version_switches", "Versions switched to.", registry=self.registry
            ),
            "failures": Counter(
                "twintide_version_failures", "Failed attempts to load.", registry=self.registry
            ),
            "rollbacks": Counter(
                "twintide_version_rollbacks",
                "Rollbacks by this server itself, from versions that failed.",
                registry=self.registry,
            ),
        }
        self._follower = follower
        self._counted = Standing(retriever=None)
        self._told: Serves | None = None
        self._telling = Lock()
        self._folder = _folder_of_all()
        self._of_all = _OfAll(self._all_that_serve, clock)
        self.registry.register(self._of_all)
        follower.beside(self.tell)

    def page(self) -> bytes:
        """What a scrape gets: of all processes, where several count."""
        self.tell()
        if self._folder is None:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(self._of_all)
        return generate_latest(registry)

    def tell(self) -> None:
        """Let a scrape of any process show where this one stands."""
        with self._telling:
            standing = self._follower.standing
            for name, counter in self._happened.items():
                counter.inc(getattr(standing, name) - getattr(self._counted, name))
            self._counted = standing
            serves = Serves.by(self._follower)
            if self._folder is not None and serves != self._told:
                self._tell_others(self._folder, serves)

    def _tell_others(self, folder: Path, serves: Serves) -> None:
        try:
            tell_others(folder, serves)
            self._told = serves
        except OSError as error:  # they show what was told before
            log.warning("not_told_what_is_served", reason=str(error))

    def _all_that_serve(self) -> list[Serves]:
        own = Serves.by(self._follower)
        return [own, *told_by_others(self._folder)] if self._folder else [own]

    def timed(self, stage: str, run: Callable[[Given], Made], given: Given) -> Made:
        """What `run` makes of it; the time counts as that of the stage."""
        began = monotonic_seconds()
        made = run(given)
        self.took(stage, began)
        return made

    def took(self, stage: str, began: float) -> None:
        """A stage has ended now; `began` is by the monotonic clock."""
        self._stages[stage].observe(monotonic_seconds() - began)


class _OfAll(Collector):
    """What all processes serve at the moment of the scrape."""

    def __init__(self, all_that_serve: Callable[[], Sequence[Serves]], clock: Clock) -> None:
        self._all_that_serve = all_that_serve
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        return gauges(self._all_that_serve(), now_ms=to_unix_ms(self._clock.now()))


def gauges(every: Sequence[Serves], *, now_ms: int) -> Iterator[Metric]:
    """Of processes that need not stand alike: how many do so, and the worst of them."""
    yield GaugeMetricFamily(
        "twintide_version_problem",
        "Processes that do not serve what is live.",
        value=sum(each.has_problem for each in every),
    )
    yield GaugeMetricFamily(
        "twintide_blocked_items",
        "Items that no answer may hold.",
        value=min(each.blocked_items for each in every),
    )
    yield GaugeMetricFamily(
        "twintide_blocklist_problem",
        "Processes that cannot read the list of what is blocked.",
        value=sum(each.has_blocklist_problem for each in every),
    )
    versions = [each.version for each in every if each.version is not None]
    if versions:
        yield from _gauges_of_versions(versions)
        newest = [each.newest_event_ms for each in versions if each.newest_event_ms is not None]
        yield from _gauges_of_freshness(newest, now_ms=now_ms)
        told = [each.newest_counted_ms for each in versions if each.newest_counted_ms is not None]
        yield from _gauges_of_counts(told, now_ms=now_ms)


def _gauges_of_versions(versions: Sequence[Served]) -> Iterator[Metric]:
    processes = GaugeMetricFamily(
        "twintide_version", "Processes that serve it.", labels=["version", "checkpoint"]
    )
    for labels, count in Counted((each.name, each.checkpoint) for each in versions).items():
        processes.add_metric(labels, count)
    yield processes
    yield GaugeMetricFamily(
        "twintide_version_items",
        "Its items; of several versions, the fewest.",
        value=min(each.items for each in versions),
    )


def _gauges_of_counts(newest_ms: Sequence[int], *, now_ms: int) -> Iterator[Metric]:
    if newest_ms:
        yield GaugeMetricFamily(
            "twintide_newest_counted_click_age_seconds",
            "Age of the newest click that statistics and histories of what is served have counted, "
            "learnt or not.",
            value=max(now_ms - min(newest_ms), 0) / 1000,
        )


def _gauges_of_freshness(newest_ms: Sequence[int], *, now_ms: int) -> Iterator[Metric]:
    if not newest_ms:
        return
    yield GaugeMetricFamily(
        "twintide_newest_click_age_seconds",
        "Age of the newest click in what is served: its freshness.",
        value=max(now_ms - min(newest_ms), 0) / 1000,
    )
    yield GaugeMetricFamily(
        "twintide_newest_click_ahead_seconds",
        "How far the newest click lies in the future by this machine's clock: 0, or a clock is "
        "wrong.",
        value=max(max(newest_ms) - now_ms, 0) / 1000,
    )

"""The scheduler: APScheduler rings, the files say what is due.

A ring looks at shards and checkpoints, and runs what they say is missing; so ringing late, twice,
or in two processes does nothing wrong, and hours of being down are made up at the next ring. An
hourly ring comes a minute after each full hour (or cadence), a look for a due nightly every ten,
and one for a change in the source of items, or for statistics alone, as often as is declared.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from signal import SIGINT, SIGTERM, signal

from apscheduler.events import EVENT_SCHEDULER_SHUTDOWN, EVENT_SCHEDULER_STARTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from trainer.counting import count
from trainer.hourly import hourly
from trainer.metrics import TrainMetrics
from trainer.nightly import nightly
from trainer.run import Outcome, declared_listing
from twintide.checkpoints import checkpoint_names, list_checkpoints
from twintide.clock import Clock, monotonic_seconds
from twintide.config import Deployment
from twintide.due import nightly_due
from twintide.errors import Busy, Refused, TwintideError
from twintide.listings import listing_names
from twintide.probes import served
from twintide.telemetry import get_log
from twintide.versions import read_state

NIGHTLY_EVERY_MINUTES = 10
"""How often a due nightly is looked for."""

CHECK_SECONDS = 10.0
"""How often it is looked whether the wall clock has jumped."""

AFTER_THE_HOUR = timedelta(minutes=1)
"""The last minute of an hour becomes a shard a moment after its end."""

log = get_log("scheduler")

Publish = Callable[[], object]
"""Make the newest checkpoint live; given by whoever starts the scheduler."""


@dataclass
class Rings:
    """What each ring does. `publish` follows every run; None where somebody else publishes."""

    deployment: Deployment
    clock: Clock
    publish: Publish | None
    stop: threading.Event = field(default_factory=threading.Event)
    read_items: Callable[[], object] = lambda: None
    """Read a source of items that is a topic; given by whoever starts the scheduler."""

    metrics: TrainMetrics = field(init=False)
    """What is shown of the runs."""

    refresh: Publish | None = None
    """Make the newest count live; given where statistics move between passes."""

    _hourly_turn: threading.Lock = field(default_factory=threading.Lock)
    _published_items: str | None = None
    """The listing that the last publish knew."""

    _owes_publish: bool = False
    """Whether the last publish failed, or was postponed."""

    def __post_init__(self) -> None:
        self.metrics = TrainMetrics(self.clock)

    def hourly(self) -> None:
        """Learn what is new, then publish."""
        with self._tried_again_later("hourly"):
            self._hourly_and_publish()

    def nightly(self) -> None:
        """Learn the days that are complete, hand over to the hourly line, then publish. Where none
        is, make up what a publish owes: the next ring of the hour may be an hour away.
        """
        with self._tried_again_later("nightly"):
            due = nightly_due(self.deployment, clock=self.clock)
            if due.day is None:
                self._publish_what_is_owed()
                return
            self.read_items()
            outcomes = self._measured("nightly", lambda: nightly(self.deployment, clock=self.clock))
            log.info("nightly_ended", up_to=str(due.day), runs=[each.why for each in outcomes])
            if any(each.checkpoint for each in outcomes):
                self._hourly_and_publish()

    def items(self) -> None:
        """Publish where the source of items says something new, though nothing was learnt."""
        with self._tried_again_later("items"):
            self.read_items()
            listing = declared_listing(self.deployment, self.clock)
            is_new = listing is not None and listing.ref.name != self._published_items
            if is_new and checkpoint_names(self.deployment.checkpoints_dir):
                with self._hourly_turn:
                    self._publish()

    def statistics(self) -> None:
        """Count what is new, and refresh what is live with it; nothing is learnt."""
        with self._tried_again_later("statistics"), self._hourly_turn:
            self._count_and_refresh()

    def _count_and_refresh(self) -> None:
        is_live = read_state(self.deployment.versions_dir).current is not None
        if self.refresh is None or not is_live:
            return
        outcome = count(self.deployment, clock=self.clock)
        self.metrics.counted(outcome.count)
        self.refresh()  # also where nothing was counted: an earlier one may have failed

    def _hourly_and_publish(self) -> None:
        with self._hourly_turn:  # the hand-over and a ring of the hour take turns
            self.read_items()
            run = partial(hourly, self.deployment, clock=self.clock)
            (outcome,) = self._measured("hourly", lambda: [run()])
            log.info("hourly_ended", why=outcome.why)
            self._publish()  # also where nothing was learnt: an earlier one may have failed

    def _measured(self, line: str, run: Callable[[], list[Outcome]]) -> list[Outcome]:
        begun = monotonic_seconds()
        outcomes = run()
        made = [each.checkpoint for each in outcomes if each.checkpoint is not None]
        for each in made:
            self.metrics.learnt(each, seconds=(monotonic_seconds() - begun) / len(made))
        if not made:
            self.metrics.had_nothing_to_do(line)
        return outcomes

    def _publish_what_is_owed(self) -> None:
        if self._owes_publish:
            with self._tried_again_later("hourly"), self._hourly_turn:
                if self._owes_publish:  # one that was at work may have ended meanwhile
                    self._publish()

    def _publish(self) -> None:
        if self.publish is not None:
            listings = listing_names(self.deployment.items_dir)
            self._owes_publish = True
            self.publish()
            self._owes_publish = False
            self._published_items = listings[-1] if listings else None
            self._count_and_refresh()  # or statistics would stand where the pass ended

    def _failed(self, what: str, why: str, hint: str = "") -> None:
        log.error("run_failed", run=what, why=why, hint=hint)
        self.metrics.ended(what, why)

    @contextmanager
    def _tried_again_later(self, what: str) -> Iterator[None]:
        """Whatever went wrong is said, and tried again at the next ring."""
        try:
            yield
            self.metrics.ended(what, None)
        except Busy as error:
            log.warning("run_postponed", run=what, why=error.message)
        except Refused as error:
            log.warning("run_waiting", run=what, why=error.message, hint=error.hint)
            self.metrics.ended(what, error.message, outcome="waiting")
        except TwintideError as error:
            self._failed(what, error.message, error.hint)
        except OSError as error:  # a full disk, say: nothing half is left
            self._failed(what, f"the disk refuses: {error}")
        except Exception as error:
            # One run that fails must not end all that come after it.
            why = f"something failed that nobody foresaw: {type(error).__name__}: {error}"
            hint = "nothing half is left; please report it with the traceback"
            log.exception("run_failed", run=what, why=why, hint=hint)
            self.metrics.ended(what, why)


def run(
    deployment: Deployment,
    *,
    clock: Clock,
    publish: Publish | None,
    stop: threading.Event | None = None,
    read_items: Callable[[], object] = lambda: None,
    refresh: Publish | None = None,
    metrics_port: int | None = None,
    metrics_host: str = "127.0.0.1",
) -> None:
    """Ring until SIGTERM, Ctrl-C or `stop`; ends after the runs at work. With a port, /metrics,
    /livez and /readyz are answered there.
    """
    rings = Rings(deployment, clock, publish, stop or threading.Event(), read_items, refresh)
    every_minutes = deployment.training.hourly.every_minutes
    scheduler = scheduler_of(rings, every_minutes=every_minutes)
    with (
        _set_by_signals(rings.stop),
        served(rings.metrics, metrics_port, host=metrics_host) as port,
    ):
        rings.metrics.begin_with(list_checkpoints(deployment.checkpoints_dir))
        scheduler.start()
        log.info("scheduler_started", every_minutes=every_minutes, metrics_port=port)
        rings.stop.wait()
        scheduler.shutdown(wait=True)
    log.info("scheduler_ended")


def scheduler_of(rings: Rings, *, every_minutes: float) -> BackgroundScheduler:
    """Jobs in UTC, each ringing at once and then at its time; late rings count, once."""
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(4)},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    bells = [
        Bell("nightly", rings.nightly, timedelta(minutes=NIGHTLY_EVERY_MINUTES)),
        Bell("hourly", rings.hourly, timedelta(minutes=every_minutes)),
    ]
    items = rings.deployment.items
    if items.is_declared and rings.publish is not None:
        bells.append(Bell("items", rings.items, timedelta(minutes=items.look_every_minutes)))
    often = rings.deployment.publishing.statistics_every_minutes
    if often is not None and rings.refresh is not None:
        bells.append(Bell("statistics", rings.statistics, timedelta(minutes=often)))
    for bell in bells:
        scheduler.add_job(
            bell.ring, AtItsTime(bell.every), id=bell.name, next_run_time=rings.clock.now()
        )
    watch = threading.Event()
    scheduler.add_listener(
        lambda _: _in_background(scheduler, bells, rings, watch), EVENT_SCHEDULER_STARTED
    )
    scheduler.add_listener(lambda _: watch.set(), EVENT_SCHEDULER_SHUTDOWN)
    return scheduler


class AtItsTime(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Rings at each whole multiple of its length since the epoch, and a minute later."""

    def __init__(self, every: timedelta) -> None:
        self._seconds = every.total_seconds()

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """The next time after `now`, whatever rang before: so a ring between does not move it."""
        after = AFTER_THE_HOUR.total_seconds()
        begun = (now.timestamp() - after) // self._seconds
        return datetime.fromtimestamp((begun + 1) * self._seconds + after, UTC)


@dataclass
class Bell:
    """A job, and by a clock that never jumps when it rang last."""

    name: str
    call: Callable[[], None]
    every: timedelta
    rang_at: float = field(default_factory=monotonic_seconds)
    is_ringing: bool = False

    def ring(self) -> None:
        """Called by the scheduler, never twice at once."""
        self.rang_at, self.is_ringing = monotonic_seconds(), True
        try:
            self.call()
        finally:
            self.is_ringing = False

    def is_overdue(self) -> bool:
        """Whether it has been silent for longer than it may be, by elapsed time."""
        silent = monotonic_seconds() - self.rang_at
        return not self.is_ringing and silent > self.every.total_seconds() + CHECK_SECONDS


def _in_background(
    scheduler: BackgroundScheduler, bells: Sequence[Bell], rings: Rings, stop: threading.Event
) -> None:
    """The scheduler waits for a time of the wall clock. Where that is set back it would wait until
    the clock has caught up, and where it is set forward it would sleep on: so it is looked after by
    elapsed time. What is due is read off the files, so that a ring too many does nothing wrong.
    """

    def watch() -> None:
        rings.metrics.turned()
        while not stop.wait(CHECK_SECONDS):
            for bell in bells:
                if bell.is_overdue():
                    scheduler.modify_job(bell.name, next_run_time=rings.clock.now())
            scheduler.wakeup()
            rings.metrics.turned()

    threading.Thread(target=watch, name="bells", daemon=True).start()


@contextmanager
def _set_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT ask for a stop while the block runs, if this thread can hear them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal(each, lambda *_: stop.set()) for each in (SIGTERM, SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal(each, handler)

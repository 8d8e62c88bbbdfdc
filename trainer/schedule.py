"""The scheduler: APScheduler rings, the files say what is due.

A ring looks at shards and checkpoints, and runs what they say is missing; so ringing late, twice,
or in two processes does nothing wrong, and hours of being down are made up at the next ring. An
hourly ring comes a minute after each full hour (or cadence), a look for a due nightly every ten.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from signal import SIGINT, SIGTERM, signal

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from trainer import run as runs
from trainer.due import NightlyDue, nightly_due
from twintide.clock import Clock, floor_to_minutes
from twintide.config import Deployment
from twintide.errors import Refused, Retryable, TwintideError
from twintide.telemetry import get_log

NIGHTLY_EVERY_MINUTES = 10
"""How often a due nightly is looked for."""

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
    bug: Exception | None = None
    """What nobody expected: it ends the program, and is raised there."""

    _hourly_turn: threading.Lock = field(default_factory=threading.Lock)
    _nothing_in: NightlyDue | None = None
    """What was due, and then had no click to learn: quiet days are not looked into again."""

    def hourly(self) -> None:
        """Learn what is new, then publish."""
        with self._borne("hourly"):
            self._hourly_and_publish()

    def nightly(self) -> None:
        """Learn the days that are complete, hand over to the hourly line, then publish."""
        with self._borne("nightly"):
            due = nightly_due(self.deployment, clock=self.clock)
            if due.day is None or due == self._nothing_in:
                return
            outcomes = runs.nightly(self.deployment, clock=self.clock)
            log.info("nightly_ended", up_to=str(due.day), runs=[each.why for each in outcomes])
            if any(each.checkpoint for each in outcomes):
                self._hourly_and_publish()
            else:
                self._nothing_in = due

    def _hourly_and_publish(self) -> None:
        with self._hourly_turn:  # the hand-over and a ring of the hour take turns
            outcome = runs.hourly(self.deployment, clock=self.clock)
            log.info("hourly_ended", why=outcome.why)
            if self.publish is not None:
                self.publish()  # also where nothing was learnt: an earlier one may have failed

    @staticmethod
    def _failed(what: str, why: str, hint: str = "") -> None:
        log.error("run_failed", run=what, why=why, hint=hint)

    @contextmanager
    def _borne(self, what: str) -> Iterator[None]:
        """Whatever a person or time can mend is said, and tried again at the next ring."""
        try:
            yield
        except Retryable as error:
            log.warning("run_postponed", run=what, why=error.message)
        except Refused as error:
            log.warning("run_waiting", run=what, why=error.message, hint=error.hint)
        except TwintideError as error:
            self._failed(what, error.message, error.hint)
        except OSError as error:  # a full disk, say: nothing half is left
            self._failed(what, f"the disk refuses: {error}")
        except Exception as error:  # noqa: BLE001  raised again by `run`, in the main thread
            self.bug = error
            self.stop.set()


def run(
    deployment: Deployment,
    *,
    clock: Clock,
    publish: Publish | None,
    stop: threading.Event | None = None,
) -> None:
    """Ring until SIGTERM, Ctrl-C or `stop`; ends after the runs at work."""
    rings = Rings(deployment, clock, publish, stop or threading.Event())
    scheduler = scheduler_of(rings, every_minutes=deployment.training.hourly.every_minutes)
    with _set_by_signals(rings.stop):
        scheduler.start()
        log.info("scheduler_started", every_minutes=deployment.training.hourly.every_minutes)
        rings.stop.wait()
        scheduler.shutdown(wait=True)
    log.info("scheduler_ended")
    if rings.bug is not None:
        raise rings.bug


def scheduler_of(rings: Rings, *, every_minutes: int) -> BackgroundScheduler:
    """Two jobs in UTC, each ringing at once and then at its time; late rings count, once."""
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(2)},
        job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
    )
    now = rings.clock.now()
    for name, ring, minutes in (
        ("nightly", rings.nightly, NIGHTLY_EVERY_MINUTES),
        ("hourly", rings.hourly, every_minutes),
    ):
        first = floor_to_minutes(now, minutes) + AFTER_THE_HOUR
        trigger = IntervalTrigger(minutes=minutes, start_date=first, timezone=UTC)
        scheduler.add_job(ring, trigger, id=name, next_run_time=now)
    return scheduler


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

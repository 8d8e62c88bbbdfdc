"""The schedule of training: what is due, and that late, doubled and colliding rings do no harm."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

import apscheduler.executors.base
import apscheduler.schedulers.base
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from structlog.testing import capture_logs

from streaming.offline import write_shards
from tests.trainer.conftest import START, Line, at, deployment_in, small_stream
from trainer import schedule
from trainer.schedule import Rings, run, scheduler_of
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock, SystemClock, monotonic_seconds
from twintide.days import Calendar
from twintide.due import due_day
from twintide.errors import Retryable

ROOT = Path(__file__).parents[2]
UTC_DAYS = Calendar(time(0), ZoneInfo("UTC"))
VIENNA = Calendar(time(4), ZoneInfo("Europe/Vienna"))


def utc(day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@dataclass
class Scheduled:
    """The rings of a line, and what they published."""

    line: Line
    clock: HeldClock
    published: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rings = Rings(self.line.deployment, self.clock, self._publish)

    def ring(self, when: datetime, *kinds: str) -> None:
        self.clock.move_to(when)
        for kind in kinds:
            getattr(self.rings, kind)()

    def names(self) -> list[str]:
        return [made.name for made in list_checkpoints(self.line.deployment.checkpoints_dir)]

    def _publish(self) -> None:
        self.published.append(self.names()[-1])


@pytest.fixture
def scheduled(line: Line) -> Scheduled:
    return Scheduled(line, HeldClock(at(0)))


@pytest.mark.parametrize(
    ("learnt", "newest_shard_at", "complete", "now", "due"),
    [
        (None, utc(2), None, utc(3), None),
        (None, None, utc(2), utc(3), None),
        (None, utc(2), utc(2), utc(3), date(2026, 3, 1)),
        (None, utc(1, 23), utc(1, 23), utc(3), date(2026, 2, 28)),
        (date(2026, 3, 1), utc(2, 5), utc(2, 5), utc(3), None),
        (date(2026, 3, 1), utc(3), utc(3), utc(2, 23), None),
        (date(2026, 3, 1), utc(9), utc(9), utc(9), date(2026, 3, 8)),
        (date(2026, 3, 1), utc(3, 7), utc(9), utc(9), date(2026, 3, 3)),
        (date(2026, 3, 3), utc(3, 7), utc(9), utc(9), None),
    ],
    ids=[
        "completeness not known",
        "no shard",
        "first day",
        "day not complete",
        "learnt",
        "clock behind",
        "days missed",
        "then silence",
        "silence learnt",
    ],
)
def test_the_newest_complete_day_is_due_until_it_is_learnt(
    learnt: date | None,
    newest_shard_at: datetime | None,
    complete: datetime | None,
    now: datetime,
    due: date | None,
) -> None:
    """Neither a day that may still get clicks, nor one that is not over by the clock, nor one after
    the last shard.
    """
    found = due_day(
        learnt,
        newest_shard_at=newest_shard_at,
        complete=complete,
        now=now,
        calendar=UTC_DAYS,
    )

    assert found == due


def test_a_day_of_23_hours_is_due_when_it_is_over() -> None:
    """On 29 March 2026 clocks in Vienna jump from 02:00 to 03:00, and 04:00 there is 02:00 UTC."""
    before, after = utc(29, 1, 59), utc(29, 2)

    days = [
        due_day(date(2026, 3, 27), newest_shard_at=now, complete=now, now=now, calendar=VIENNA)
        for now in (before, after)
    ]

    assert days == [None, date(2026, 3, 28)]


@pytest.mark.long
@pytest.mark.promise("T7")
def test_missed_days_are_made_up_in_order_and_then_handed_over_and_published(
    scheduled: Scheduled,
) -> None:
    """Down for three days: one ring learns day after day, hands over, and publishes once."""
    scheduled.ring(at(3, 5), "nightly")

    assert scheduled.names() == [
        "nightly-000001", "nightly-000002", "nightly-000003", "hourly-000004",
    ]  # fmt: skip
    assert scheduled.published == ["hourly-000004"]


@pytest.mark.long
@pytest.mark.promise("T7")
def test_ringing_again_learns_nothing_again(scheduled: Scheduled) -> None:
    """Twice at one instant, and an hour later with no new click: the same checkpoints."""
    scheduled.ring(at(1, 5), "nightly", "hourly")
    before = scheduled.names()

    scheduled.ring(at(1, 5), "hourly", "nightly", "nightly", "hourly")

    assert scheduled.names() == before


@pytest.mark.long
@pytest.mark.promise("T7")
def test_a_late_hour_is_learnt_whole_by_the_next_ring(scheduled: Scheduled) -> None:
    """Rings that never came are made up by the one that does: nothing is left unlearnt."""
    scheduled.ring(at(1, 5), "nightly")

    scheduled.ring(at(2, 0), "hourly")

    head = scheduled.line.load(scheduled.names()[-1]).manifest
    learnt = [
        each for each in scheduled.line.slices().values() if each.is_covered_by(head.position)
    ]
    assert max(each.footer.until for each in learnt) == at(1, 23, 40)


def test_before_the_first_nightly_the_hourly_ring_waits(scheduled: Scheduled) -> None:
    """It is no crash and publishes nothing; after the nightly it goes on."""
    scheduled.ring(at(0, 12), "hourly")
    assert (scheduled.names(), scheduled.published) == ([], [])

    scheduled.ring(at(1, 1), "nightly")
    assert scheduled.published == ["hourly-000002"]


@contextmanager
def held_elsewhere(path: Path) -> Iterator[None]:
    """Another process holds the lock."""
    code = (
        "import sys; from pathlib import Path; from twintide.files import exclusive_lock\n"
        "with exclusive_lock(Path(sys.argv[1]), who='the rival'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "held\n"
        yield
        rival.communicate("")


@pytest.mark.promise("T7")
def test_a_run_in_another_process_postpones_this_one(scheduled: Scheduled) -> None:
    """Two runs of a line never overlap; the next ring makes up what was postponed."""
    scheduled.ring(at(1, 1), "nightly")
    before = scheduled.names()

    with held_elsewhere(scheduled.line.deployment.checkpoints_dir / ".hourly.lock"):
        scheduled.ring(at(1, 3), "hourly")
    assert scheduled.names() == before

    scheduled.ring(at(1, 3), "hourly")
    assert scheduled.names() == [*before, "hourly-000003"]


@pytest.mark.promise("T7")
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OSError(28, "No space left on device"), "the disk refuses"),
        pytest.param(
            ZeroDivisionError("a bug"),
            "nobody foresaw: ZeroDivisionError: a bug",
            marks=pytest.mark.long,
        ),
        pytest.param(
            Retryable("the publish changed nothing: the disk is full"),
            "the disk is full",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_failed_is_said_and_made_up_although_nothing_was_learnt(
    line: Line, failure: Exception, said: str
) -> None:
    """The files say that the newest checkpoint is not live; the next look for a night tries again,
    and so does every ring of an hour. Not even what nobody foresaw ends the scheduler, for a run to
    come may well succeed.
    """
    told: list[str] = []
    failures = [failure]

    def publish() -> None:
        if failures:
            raise failures.pop()
        told.append("published")

    rings = Rings(line.deployment, HeldClock(at(1, 5)), publish)
    with capture_logs() as logs:
        rings.nightly()
    assert (told, rings.stop.is_set()) == ([], False)
    assert [said in each["why"] for each in logs if each["event"] == "run_failed"] == [True]

    rings.nightly()
    assert told == ["published"]
    rings.nightly()
    assert told == ["published"]
    rings.hourly()

    assert told == ["published"] * 2


@pytest.mark.long
def test_a_day_without_clicks_is_not_looked_into_again(tmp_path: Path) -> None:
    """Its slices say that it holds none, so by the files it is not due."""
    deployment = deployment_in(tmp_path)
    events = small_stream(deployment, days=2)
    is_first_day = pc.less(events["event_at"], pa.scalar(at(1), events["event_at"].type))
    clicked = pc.and_(events["clicked"], is_first_day)
    place = events.column_names.index("clicked")
    write_shards(deployment, events.set_column(place, "clicked", clicked), complete_until=at(2))
    rings = Rings(deployment, HeldClock(at(2, 5)), publish=None)
    rings.nightly()

    with capture_logs() as logs:
        for _ in range(3):
            rings.nightly()

    assert [each["event"] for each in logs if each["event"] == "nightly_ended"] == []


def test_clicks_that_come_late_for_a_day_without_any_are_learnt(tmp_path: Path) -> None:
    """The files say what is due, however often the same day was looked into before."""
    deployment = deployment_in(tmp_path)
    events = small_stream(deployment, days=1)
    place = events.column_names.index("clicked")
    without = events.set_column(place, "clicked", pa.array([False] * len(events)))
    write_shards(deployment, without, complete_until=at(1))
    rings = Rings(deployment, HeldClock(at(1, 5)), publish=None)
    rings.nightly()
    assert list_checkpoints(deployment.checkpoints_dir) == []

    write_shards(deployment, events.slice(len(events) - 200), complete_until=at(1))
    rings.nightly()

    assert list_checkpoints(deployment.checkpoints_dir)[0].day == START.date()


def test_rings_come_a_minute_after_the_hour_and_none_is_dropped(scheduled: Scheduled) -> None:
    """However late a ring is, it counts, once; a ring at the start makes up what was missed."""
    scheduled.clock.move_to(at(1, 10, 25))
    scheduler = scheduler_of(scheduled.rings, every_minutes=60)
    scheduler.start(paused=True)
    try:
        jobs = {each.id: each for each in scheduler.get_jobs()}
        first = jobs["hourly"].trigger.get_next_fire_time(None, at(1, 10, 25))
        settings = [
            (job.misfire_grace_time, job.coalesce, job.max_instances) for job in jobs.values()
        ]
    finally:
        scheduler.shutdown(wait=False)

    assert first == at(1, 11, 1)
    assert settings == [(None, True, 1)] * 2
    assert {each.next_run_time for each in jobs.values()} == {at(1, 10, 25)}


@pytest.mark.promise("T7")
@pytest.mark.parametrize("hours", [-3, -0.5, 3], ids=["three back", "half back", "three forward"])
def test_bells_ring_by_elapsed_time_whatever_the_wall_clock_does(
    monkeypatch: pytest.MonkeyPatch, hours: float
) -> None:
    """Set back they go on at once; set forward they ring once, not three hours' worth."""
    offset = [timedelta(0)]

    class Faked(datetime):
        """What APScheduler takes for the time."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return Wall().now().astimezone(tz)

    class Wall(SystemClock):
        def now(self) -> datetime:
            return super().now() + offset[0]

    for module in (apscheduler.schedulers.base, apscheduler.executors.base):
        monkeypatch.setattr(module, "datetime", Faked)
    monkeypatch.setattr(schedule, "CHECK_SECONDS", 0.05)
    rung: queue.Queue[float] = queue.Queue()
    at_work = threading.Lock()

    class Ringing(Rings):
        def hourly(self) -> None:
            assert at_work.acquire(blocking=False)
            rung.put(monotonic_seconds())
            at_work.release()

        def nightly(self) -> None:
            pass

    deployment = deployment_in(Path("nowhere"))
    scheduler = scheduler_of(Ringing(deployment, Wall(), None), every_minutes=0.4 / 60)
    scheduler.start()
    try:
        for _ in range(3):
            rung.get(timeout=30)
        offset[0] = timedelta(hours=hours)
        after = [rung.get(timeout=30) for _ in range(4)]
    finally:
        scheduler.shutdown(wait=True)

    assert after[-1] - after[0] > 0.4  # no burst of what three hours would have held


def test_stop_lets_the_run_at_work_end(line: Line) -> None:
    """The checkpoint of the run that was at work when the stop came is there afterwards."""
    stop = Event()

    run(line.deployment, clock=HeldClock(at(1, 5)), publish=stop.set, stop=stop)

    names = [made.name for made in list_checkpoints(line.deployment.checkpoints_dir)]
    assert names[:2] == ["nightly-000001", "hourly-000002"]


@pytest.fixture
def config_file(line: Line, tmp_path: Path) -> Path:
    values = line.deployment.model_dump(mode="json")
    path = tmp_path / "twintide.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    return path


@pytest.mark.long
def test_sigterm_ends_the_daemon_in_order(config_file: Path) -> None:
    """`python -m trainer schedule` makes up what is due at once; SIGTERM ends it with 0."""
    with subprocess.Popen(
        [sys.executable, "-m", "trainer", "schedule", "-c", str(config_file)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stderr is not None
        events = []
        for said in daemon.stderr:
            events.append(said)
            if "nightly_ended" in said:
                daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=60) == 0

    assert "scheduler_ended" in events[-1]

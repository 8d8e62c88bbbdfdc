"""Which nightly run is due: read off the checkpoints and the ledger, without loading a learner."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from twintide import line
from twintide.behind import newest_minute, unsliced_since
from twintide.checkpoints import CheckpointManifest, list_checkpoints
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.days import Calendar, complete_until
from twintide.history import PARTITION as HISTORY
from twintide.records import Position
from twintide.shards import Ledger
from twintide.slices import chain_dir, read_tail


@dataclass(frozen=True)
class NightlyDue:
    """Where the nightly line stands."""

    newest: str | None
    """Name of the newest nightly checkpoint."""

    day: date | None
    """The newest day that a run should learn up to now; None where nothing is due."""


def due_day(
    learnt: date | None,
    *,
    newest_shard_at: datetime | None,
    complete: datetime | None,
    now: datetime,
    calendar: Calendar,
) -> date | None:
    """The newest day that a nightly run should learn up to; None where nothing is due.

    `learnt` is the day of the newest nightly checkpoint, `complete` the instant up to which all
    shards are there (None: not known). Days after the newest shard have nothing to learn.
    """
    if complete is None or newest_shard_at is None:
        return None
    over = calendar.before(calendar.day_of(min(complete, now)))
    newest = min(over, calendar.day_of(newest_shard_at))
    return newest if learnt is None or learnt < newest else None


def nightly_due(deployment: Deployment, *, clock: Clock) -> NightlyDue:
    """What the files of a deployment say."""
    return due_after(list_checkpoints(deployment.checkpoints_dir), deployment, clock=clock)


def due_after(
    made: Sequence[CheckpointManifest], deployment: Deployment, *, clock: Clock
) -> NightlyDue:
    """The same where the checkpoints are read already."""
    newest = line.newest_nightly(made)
    calendar = Calendar.of(deployment.training)
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    partitions = {*ledger.watermarks(), *([HISTORY] if ledger.history() else [])}
    minutes = [newest_minute(ledger, each, clock=clock) for each in partitions]
    day = due_day(
        newest.day if newest else None,
        newest_shard_at=max((each for each in minutes if each), default=None),
        complete=complete_until(ledger, clock=clock),
        now=clock.now(),
        calendar=calendar,
    )
    if day is not None and not _waits(
        deployment, ledger, newest.position if newest else {}, until=calendar.end_of(day)
    ):
        day = None  # before the first event, or quiet since the last nightly
    return NightlyDue(newest.name if newest else None, day)


def _waits(deployment: Deployment, ledger: Ledger, learnt: Position, *, until: datetime) -> bool:
    """Whether clicks before `until` are in slices and not learnt, or shards not yet sliced."""
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    tail = read_tail(root, learnt)
    for each in tail.slices:
        in_time = each.footer.hour_at < until
        if each.footer.rows and in_time and not each.is_covered_by(learnt):
            return True
    ends = tail.ends
    since = unsliced_since(ledger, ends)
    names = ledger.names(since=since, until=until)
    return any(
        name.partition not in ends or name.first >= ends[name.partition][0] for name in names
    )

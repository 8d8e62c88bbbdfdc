"""Which nightly run is due: read off the checkpoints and the ledger, without loading a learner."""

from dataclasses import dataclass
from datetime import date, datetime

from trainer import line
from trainer.chains import newest_minute
from trainer.days import Calendar, complete_until
from twintide.checkpoints import list_checkpoints
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.records import Position
from twintide.shards import Ledger
from twintide.slices import chain_dir, read_chain


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
    newest = line.newest_nightly(list_checkpoints(deployment.checkpoints_dir))
    calendar = Calendar.of(deployment.training)
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    minutes = [newest_minute(ledger, each, clock=clock) for each in ledger.watermarks()]
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
    sliced: Position = {}
    last_hour: dict[int, datetime] = {}
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    for each in read_chain(root):
        for partition, (_, next_) in each.footer.ranges.items():
            sliced[partition] = next_
            last_hour[partition] = each.footer.hour_at
        in_time = each.footer.hour_at < until
        if each.footer.rows and in_time and not each.is_covered_by(learnt):
            return True
    partitions = {mark.partitions for mark in ledger.watermarks().values()}
    knows_all = len(last_hour) >= max(partitions, default=1)
    since = min(last_hour.values()) if knows_all else None
    names = ledger.names(since=since, until=until)
    return any(name.first >= sliced.get(name.partition, 0) for name in names)

"""Which nightly run is due: read off the checkpoints and the ledger, without loading a learner."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from trainer import line
from trainer.days import Calendar, complete_until
from twintide.checkpoints import list_checkpoints
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.shards import Ledger


@dataclass(frozen=True)
class NightlyDue:
    """Where the nightly line stands."""

    newest: str | None
    """Name of the newest nightly checkpoint."""

    day: date | None
    """The newest day that a run should learn up to now; None where nothing is due."""


def due_day(
    learnt: date | None, *, complete: datetime | None, now: datetime, calendar: Calendar
) -> date | None:
    """The newest day that a nightly run should learn up to; None where nothing is due.

    `learnt` is the day of the newest nightly checkpoint, `complete` the instant up to which all
    shards are there (None: not known).
    """
    if complete is None:
        return None
    newest = calendar.day_of(min(complete, now)) - timedelta(days=1)
    return newest if learnt is None or learnt < newest else None


def nightly_due(deployment: Deployment, *, clock: Clock) -> NightlyDue:
    """What the files of a deployment say."""
    newest = line.newest_nightly(list_checkpoints(deployment.checkpoints_dir))
    day = due_day(
        newest.day if newest else None,
        complete=complete_until(Ledger(deployment.shards_dir, deployment.kafka.topic)),
        now=clock.now(),
        calendar=Calendar.of(deployment.training),
    )
    return NightlyDue(newest.name if newest else None, day)

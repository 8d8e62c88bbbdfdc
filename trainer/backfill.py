"""The first model out of weeks of history: each day is a nightly run, one after the other."""

from collections.abc import Callable
from datetime import date

from trainer.nightly import OnDays, nightly
from trainer.run import OnStep, Outcome
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.errors import Refused


def backfill(
    deployment: Deployment,
    *,
    clock: Clock,
    first: date,
    last: date | None = None,
    on_step: OnStep | None = None,
    on_day: Callable[[date], None] | None = None,
    on_days: OnDays = lambda _: None,
) -> list[Outcome]:
    """Learn every complete day from `first` to `last`, by default yesterday. A day that is learnt
    already stays so: a backfill that was killed is begun again by the same call, and goes on.

    Clicks of days before the first make histories and statistics, and are not learnt, now or later:
    the checkpoints say so. Raises Refused where the days are in the wrong order, and as `nightly`.
    """
    check_days(first, last)
    return nightly(
        deployment,
        clock=clock,
        day=last,
        since=first,
        on_step=on_step,
        on_day=on_day,
        on_days=on_days,
    )


def check_days(first: date, last: date | None) -> None:
    """Raises Refused where the days are in the wrong order."""
    if last is not None and last < first:
        raise Refused(f"{first} is after {last}", hint="the first day comes first: --from, --to")

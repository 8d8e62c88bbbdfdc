"""The nightly run: each complete day that is due becomes one shuffled epoch and a checkpoint."""

from collections.abc import Callable
from datetime import date

from trainer.gathered import Gathered
from trainer.passes import learn_shuffled
from trainer.publishing import manifest_of, publish
from trainer.run import (
    Begun,
    OnStep,
    Outcome,
    begin,
    declared_listing,
    declared_vectors,
    line_lock,
    slicer_of,
)
from trainer.saves import Epoch, Saves
from twintide import line
from twintide.checkpoints import CheckpointManifest, list_checkpoints
from twintide.clock import Clock, from_unix_ms, iso
from twintide.config import Deployment
from twintide.days import Calendar, check_history, complete_until
from twintide.errors import Refused
from twintide.events import EARLIEST_MS
from twintide.leftout import Interval
from twintide.scratch import clear
from twintide.shards import Ledger
from twintide.storefile import LastSaved

OnDays = Callable[[list[date]], None]
"""Called with the days that are going to be learnt, in order."""

EARLIEST_DAY = from_unix_ms(EARLIEST_MS).date()
"""No event that is accepted is older."""

EPOCH = ".epoch"
"""Below the checkpoints: what is kept of an epoch while it is learnt, and not after."""


def nightly(
    deployment: Deployment,
    *,
    clock: Clock,
    day: date | None = None,
    since: date | None = None,
    on_step: OnStep | None = None,
    on_day: Callable[[date], None] | None = None,
    on_days: OnDays = lambda _: None,
) -> list[Outcome]:
    """Make up every complete day that no nightly has learnt, in order, up to yesterday (or `day`).
    `since`: what lies before that day, and is not learnt, is left out for good; `day` is the last
    one then, with clicks or without.

    Raises Refused where the day asked for is not complete, has no clicks or is learnt already.
    """
    calendar = Calendar.of(deployment.training)
    yesterday = calendar.before(calendar.day_of(clock.now()))
    if day is not None and day > yesterday:
        raise Refused(
            f"day {day} is not over: the newest that is over is {yesterday}",
            hint="leave --date out to learn every day that is complete",
        )
    if day is not None and day < EARLIEST_DAY:
        raise _no_clicks_on(day)
    with line_lock(deployment, "nightly"):
        parent = line.newest_nightly(list_checkpoints(deployment.checkpoints_dir))
        if parent is not None:
            line.check_goes_on(deployment, parent)
        last_day = day or yesterday
        last_day = _last_complete(
            deployment, calendar, last_day, asked=day is not None, clock=clock
        )
        vectors = declared_vectors(deployment)
        begun = begin(deployment, parent, vectors, declared_listing(deployment, clock), clock)
        first_open = _first_open(calendar, begun, since)
        slicer = slicer_of(deployment, begun, clock=clock)
        to_come = slicer.days_to_come(last_day)
        is_learnt = parent is not None and parent.day is not None and last_day <= parent.day
        # Of a backfill the day is the end of many, which need not have clicks to the last.
        is_wanted = day is not None and (since is None or is_learnt)
        if day is not None and is_wanted and day not in to_come:
            raise _no_clicks(day, parent)
        outcomes = []
        waiting = _gathered(deployment, begun)
        nights = _nights(to_come, first_open, last_day)
        on_days(nights)
        for night in nights:
            if on_day:
                on_day(night)
            for taken in slicer.of_days(night):
                waiting.add(taken)
            if any(each.slice_.footer.rows for each in waiting.slices):
                outcomes.append(_one_night(deployment, begun, waiting, night, on_step))
                waiting = _gathered(deployment, begun)
        if day is not None and is_wanted and (not outcomes or waiting.slices):
            raise _no_clicks(day, parent)
        clear(deployment.checkpoints_dir / EPOCH)
        return outcomes or [Outcome(None, f"no complete day up to {last_day} is waiting")]


def _nights(days: set[date], first_open: date, last_day: date) -> list[date]:
    """The days to learn, in order; what came late for a day that is learnt joins the next night."""
    nights = {max(day, first_open) for day in days}
    return sorted(night for night in nights if night <= last_day)


def _first_open(calendar: Calendar, begun: Begun, since: date | None) -> date:
    """The first day that a night may learn, and what lies before that is left out."""
    parent = begun.parent
    first = calendar.after(parent.day) if parent and parent.day else date.min
    if since is None or since <= first:
        return first
    before = Interval(since=from_unix_ms(EARLIEST_MS), until=calendar.start_of(since))
    begun.left_out += (before,)
    return since


def _gathered(deployment: Deployment, begun: Begun) -> Gathered:
    return Gathered(begun, deployment.training.nightly.memory_rows)


def _one_night(
    deployment: Deployment,
    begun: Begun,
    gathered: Gathered,
    day: date,
    on_step: OnStep | None,
) -> Outcome:
    """One shuffled epoch over these slices, on the weights that `begun` holds."""
    seed = deployment.training.seed * 1_000_003 + day.toordinal()
    saves = _saves(deployment, begun, gathered, day, seed)
    losses = learn_shuffled(
        deployment,
        begun,
        gathered,
        day=day,
        seed=seed,
        folder=deployment.checkpoints_dir / EPOCH / "rows",
        saves=saves,
        on_step=on_step,
    )
    manifest = manifest_of(
        deployment, begun, kind="nightly", base=None, day=day, losses=losses, seed=seed
    )
    published = publish(deployment, begun, manifest)
    saves.clear()
    begun.goes_on(published)
    return Outcome(published, f"learnt {day}")


def _saves(deployment: Deployment, begun: Begun, gathered: Gathered, day: date, seed: int) -> Saves:
    """Where this epoch is saved in its middle."""
    root, parent = deployment.checkpoints_dir, begun.parent
    return Saves(
        root / EPOCH / "saves",
        Epoch.of(deployment, begun, gathered, day=day, seed=seed),
        every_rows=deployment.training.nightly.save_every_rows,
        last=LastSaved(root / parent.name, parent.stores, parent.files) if parent else None,
    )


def _last_complete(
    deployment: Deployment, calendar: Calendar, day: date, *, asked: bool, clock: Clock
) -> date:
    """`day`, or the newest complete day before it; Refused where `day` itself was asked for."""
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    check_history(ledger)
    until = complete_until(ledger, clock=clock)
    if until is None:
        raise Refused(
            "no day is complete: ingest has not yet looked at every partition of "
            f"{deployment.kafka.topic!r}",
            hint="start `twintide ingest -c FILE`, and look at `twintide status -c FILE`",
        )
    newest = calendar.before(calendar.day_of(until))
    if day <= newest:
        return day
    if asked:
        raise Refused(
            f"day {day} is not complete: shards are known to be complete until {iso(until)} only, "
            f"and the day ends at {iso(calendar.end_of(day))}",
            hint="wait until ingest has passed its end",
        )
    return newest


def _no_clicks(asked: date, parent: CheckpointManifest | None) -> Refused:
    if parent and parent.day and asked <= parent.day:
        return Refused(
            f"day {asked} is learnt already: {parent.name} stands at {parent.day}",
            hint="`twintide rewind --to CHECKPOINT` goes back",
        )
    return _no_clicks_on(asked)


def _no_clicks_on(day: date) -> Refused:
    return Refused(
        f"there are no clicks on day {day}", hint="leave --date out to learn every complete day"
    )

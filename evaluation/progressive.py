"""Progressive evaluation: what would each update policy have shown, click by click?

In virtual time, through the real slices, learner, versions and index: at each tick every policy
does what is due, then the clicks until the next tick are scored by what it has live, and only then
may any policy learn them. Only Kafka is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from evaluation.baseline import BaselineRunner
from evaluation.clicked import Clicked, clicked_of, history_of
from evaluation.lists import ClickCounts
from evaluation.model import History, ModelRunner
from evaluation.policies import Policy
from evaluation.runner import Runner
from evaluation.seen import Seen
from evaluation.span import Span
from evaluation.ticks import Pace, due_ticks
from streaming.items import read_items
from trainer.slicing import Slicer
from twintide.clock import HeldClock, floor_to_minutes
from twintide.config import Deployment, fill_in
from twintide.days import Calendar
from twintide.derived.state import DerivedState
from twintide.features.item_statistics import ItemStatistics
from twintide.shards import Ledger


@dataclass(frozen=True)
class Tick:
    """How far an evaluation has come."""

    done: int
    ticks: int
    at: datetime
    """All clicks before this are scored and learnt."""

    runners: Sequence[Runner]


OnTick = Callable[[Tick], None]


def progressive(
    deployment: Deployment,
    policies: Sequence[Policy],
    span: Span,
    *,
    folder: Path,
    history: History = "as-requested",
    on_tick: OnTick | None = None,
) -> list[Runner]:
    """Run the policies over the shards of a deployment; each gets its own folder below `folder`.

    Policies of one cadence share their slices and are driven together, since slices do not depend
    on who learns them.
    """
    paces = sorted({(p.cadence_minutes, p.refresh_minutes) for p in policies})
    ticks = {cadence: _ticks(deployment, span, cadence) for cadence, _ in paces}
    total = sum(len(ticks[cadence]) for cadence, _ in paces)
    runners: list[Runner] = []
    done = 0
    for pace in paces:
        shared = _with_pace(deployment, *pace, folder=folder)
        own = [p for p in policies if (p.cadence_minutes, p.refresh_minutes) == pace]
        seen = Seen()
        paced = [_runner(p, shared, span, seen.counts, folder=folder, history=history) for p in own]
        runners += paced
        for at in _drive(paced, seen, shared, span, ticks[pace[0]]):
            done += 1
            if on_tick:
                on_tick(Tick(done, total, at, _in_order(runners, policies)))
    return _in_order(runners, policies)


def _in_order(runners: Sequence[Runner], policies: Sequence[Policy]) -> list[Runner]:
    return sorted(runners, key=lambda runner: policies.index(runner.policy))


def _ticks(deployment: Deployment, span: Span, cadence: int) -> list[datetime]:
    """When a policy of that cadence has to act: cost follows the clicks, not the calendar."""
    training = deployment.training
    pace = Pace(cadence, training.hourly.holdback_minutes, Calendar.of(training))
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    busy = {name.hour_at for name in ledger.names()}
    return due_ticks(busy, pace, begin=span.first_at, end=min(span.last_at, span.score_until))


def _drive(
    runners: Sequence[Runner],
    seen: Seen,
    shared: Deployment,
    span: Span,
    ticks: Sequence[datetime],
) -> Iterator[datetime]:
    """Go from tick to tick; yields the end of each."""
    slicer = Slicer(shared, DerivedState.empty(shared), {}, clock=HeldClock(span.last_at))
    holdback = timedelta(minutes=shared.training.hourly.holdback_minutes)
    step = timedelta(minutes=shared.training.hourly.every_minutes)
    window = timedelta(minutes=shared.shards.minutes)
    for now in ticks:
        seen.tick(now)
        for runner in runners:
            runner.tick(now)  # 1. learn what lies before now, and go live with it
        until = now + step if now < ticks[-1] else now + step + window  # all that is left
        slices = [*slicer.extend(now + step - holdback), *slicer.extend(until)]
        for each in slices:
            clicked = clicked_of(each, shared)
            if not len(clicked.rows):
                continue
            scored = clicked.between(span.score_from, span.score_until)
            if len(scored.rows):
                _score(runners, scored, seen, now)  # 2. score the clicks after now
            seen.learn(clicked, history_of(clicked, shared))  # 3. only then may counts have them
        yield now + step


def _score(runners: Sequence[Runner], clicked: Clicked, seen: Seen, now: datetime) -> None:
    groups = seen.groups(clicked)
    hour_at = floor_to_minutes(now, 60)
    space = seen.space(runners)
    for runner in runners:
        lists = runner.lists(clicked)
        runner.board.add(hour_at, clicked.rows.item_keys, lists, groups)
        if space is not None:
            runner.board.add_distances(space.distances(lists[:, :10]))


def _with_pace(
    deployment: Deployment, cadence_minutes: int, refresh_minutes: int, *, folder: Path
) -> Deployment:
    """Slices end at ticks, statistics are as old as a deployment of that pace would have them."""
    day_start = Calendar.of(deployment.training).start_of(date(2026, 1, 1))
    candidate = tuple(
        feature.model_copy(
            update={
                "refresh_minutes": refresh_minutes,
                "refresh_offset_minutes": (day_start.hour * 60 + day_start.minute)
                % refresh_minutes,
            }
        )
        if isinstance(feature, ItemStatistics)
        else feature
        for feature in deployment.model.candidate
    )
    model = deployment.model.model_copy(update={"candidate": candidate})
    return fill_in(
        deployment.model_copy(update={"model": model}),
        {
            "folders": {
                "shards": str(deployment.shards_dir),
                "slices": str(folder / f"slices-{cadence_minutes}-{refresh_minutes}min"),
            },
            "training": {"hourly": {"every_minutes": cadence_minutes}},
        },
    )


def _runner(
    policy: Policy,
    shared: Deployment,
    span: Span,
    counts: ClickCounts,
    *,
    folder: Path,
    history: History,
) -> Runner:
    feature = shared.model.longest_history()
    if policy.kind == "baseline":
        return BaselineRunner(policy, counts, feature.name if feature else None)
    own = folder / policy.name
    learns = "everything" if policy.learns_everything else shared.training.hourly.learns
    deployment = fill_in(
        shared,
        {
            "folders": {"checkpoints": str(own / "checkpoints"), "versions": str(own / "versions")},
            "training": {"hourly": {"learns": learns}, "keep_hourly": 2, "keep_nightly": 2},
            "publishing": {"keep_versions": 3},
        },
    )
    # What is not to be had today was then: a source tells of the past what items are, no more.
    items = deployment.items.model_copy(update={"complete": False, "available_column": None})
    deployment = deployment.model_copy(update={"items": items})
    read_items(deployment, HeldClock(span.first_at))
    return ModelRunner(policy, deployment, span, history)

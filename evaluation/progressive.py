"""Progressive evaluation: what would each update policy have shown, click by click?

In virtual time, through the real slices, learner, versions and index: at each tick every policy
does what is due, then the clicks until the next tick are scored by what it has live, and only then
may any policy learn them. Only Kafka is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from evaluation.clicked import Clicked, clicked_of, history_of
from evaluation.lanes import Lane, Scoring, lanes_of
from evaluation.policies import Policy
from evaluation.runner import Runner
from evaluation.scored import Clicks, Marks
from trainer.slicing import Slicer
from twintide.clock import HeldClock, monotonic_seconds, to_unix_ms
from twintide.config import Deployment
from twintide.derived.state import DerivedState
from twintide.holdback import minutes_held_back


@dataclass(frozen=True)
class Tick:
    """How far an evaluation has come."""

    done: int
    done_here: int
    """Without those that were done before it was stopped."""

    ticks: int
    at: datetime
    """All clicks before this are scored and learnt."""

    seconds_here: float
    """What was done here would have taken a usual machine."""

    seconds_left: float
    """And what is left."""

    runners: Sequence[Runner]


OnTick = Callable[[Tick], None]


def progressive(
    deployment: Deployment,
    policies: Sequence[Policy],
    scoring: Scoring,
    *,
    folder: Path,
    on_tick: OnTick | None = None,
) -> list[Runner]:
    """Run the policies over the shards of a deployment; each gets its own folder below `folder`.

    Policies of one cadence share their slices and are driven together, since slices do not depend
    on who learns them. What lies in `folder` of an evaluation that was stopped is gone on with.
    """
    lanes = lanes_of(deployment, policies, scoring, folder=folder)
    runners = sorted(
        (each for lane in lanes for each in lane.runners),
        key=lambda runner: policies.index(runner.policy),
    )
    total = sum(len(lane.ticks) for lane in lanes)
    firsts = [lane.kept.ticks() for lane in lanes]
    done, here = 0, 0.0
    left = sum(sum(lane.seconds[first:]) for lane, first in zip(lanes, firsts, strict=True))
    for lane, first in zip(lanes, firsts, strict=True):
        for number, at in enumerate(_drive(lane, scoring)):
            done += 1
            if number >= first:
                here, left = here + lane.seconds[number], left - lane.seconds[number]
            if on_tick:
                on_tick(Tick(done, max(done - sum(firsts), 0), total, at, here, left, runners))
    return runners


def _drive(lane: Lane, scoring: Scoring) -> Iterator[datetime]:
    """Go from tick to tick; yields the end of each."""
    shared, span, seen = lane.shared, scoring.span, lane.seen
    slicer = Slicer(shared, DerivedState.empty(shared), {}, clock=HeldClock(span.last_at))
    held_back = minutes_held_back(shared.training.hourly, shared.shards, None)
    holdback = timedelta(minutes=held_back)
    step = timedelta(minutes=shared.training.hourly.every_minutes)
    window = timedelta(minutes=shared.shards.minutes)
    done = lane.kept.restore(lane.clicks, lane.runners)
    for number, now in enumerate(lane.ticks):
        is_open, before = number >= done, len(lane.clicks)
        seen.tick(now)
        for runner in lane.runners if is_open else ():
            runner.tick(now, slicer.state)  # 1. learn what lies before now, and go live with it
        until = now + step if now < lane.ticks[-1] else now + step + window  # all that is left
        began = monotonic_seconds()
        ends = (now + step - holdback, until)
        slices = [taken.slice_ for end in ends for taken in slicer.in_order(end)]
        if is_open:
            _spent_on_slices(lane, monotonic_seconds() - began)
        for each in slices:
            clicked = clicked_of(each, shared)
            if not len(clicked.rows):
                continue
            scored = clicked.between(span.score_from, span.score_until).of_sample(scoring.sample)
            if len(scored.rows) and is_open:
                _score(lane, scored, now)  # 2. score the clicks after now
            seen.learn(clicked, history_of(clicked, shared))  # 3. only then may counts have them
        if is_open:
            lane.kept.add(lane.clicks[before:], lane.runners)
        yield now + step


def _spent_on_slices(lane: Lane, seconds: float) -> None:
    """Each model policy would have to make them, were it alone."""
    for runner in lane.runners:
        if runner.policy.kind == "model" and runner.policy.exact_of is None:
            runner.costs.seconds["slicing"] += seconds


def _score(lane: Lane, clicked: Clicked, now: datetime) -> None:
    groups = lane.seen.groups(clicked, history_of(clicked, lane.shared))
    lane.clicks.append(Clicks.of(clicked, groups, tick_ms=to_unix_ms(now)))
    for runner in lane.runners:
        marks = Marks.of(
            clicked.rows.item_keys,
            runner.lists(clicked),
            lane.seen.head,
            space=lane.seen.space,
            answering=runner.answering(clicked),
        )
        runner.board.add(marks)

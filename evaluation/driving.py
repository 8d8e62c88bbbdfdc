"""A lane is gone through in virtual time: learn, score, and only then count, tick by tick.

At each tick every policy does what is due, then the clicks until the next tick are scored by what
it has live, and only then may any policy learn them.
"""

from collections.abc import Iterator
from datetime import timedelta

from evaluation.clicked import Clicked, clicked_of, history_of
from evaluation.lanes import Lane, Scoring
from evaluation.runner import Runner
from evaluation.scored import Clicks, Marks
from trainer.slicing import Slicer
from twintide.clock import HeldClock, processor_seconds, to_unix_ms
from twintide.derived.state import DerivedState
from twintide.holdback import minutes_held_back


def drive(lane: Lane, scoring: Scoring) -> Iterator[int]:
    """Go from tick to tick, on from what is kept; yields the number of each when it is done, in
    order from the first on.
    """
    shared, span, seen = lane.shared, scoring.span, lane.seen
    slicer = Slicer(shared, DerivedState.empty(shared), {}, clock=HeldClock(span.last_at))
    held_back = minutes_held_back(shared.training.hourly, shared.shards, None)
    holdback = timedelta(minutes=held_back)
    step = timedelta(minutes=shared.training.hourly.every_minutes)
    window = timedelta(minutes=shared.shards.minutes)
    for unit in lane.units:
        unit.take_up(unit.kept.ticks())
    lane.take_up_clicks(min(unit.done for unit in lane.units))
    for number, now in enumerate(lane.ticks):
        is_open, before = number >= lane.done, len(lane.clicks)
        units = [each for each in lane.units if number >= each.done]
        runners = [runner for unit in units for runner in unit.runners]
        seen.tick(now)
        for runner in runners:
            runner.tick(now, slicer.state)  # 1. learn what lies before now, and go live with it
        until = now + step if now < lane.ticks[-1] else now + step + window  # all that is left
        began = processor_seconds()
        ends = (now + step - holdback, until)
        slices = [taken.slice_ for end in ends for taken in slicer.in_order(end)]
        _spent_on_slices(runners, processor_seconds() - began)
        for each in slices:
            clicked = clicked_of(each, shared)
            if not len(clicked.rows):
                continue
            scored = clicked.between(span.score_from, span.score_until).of_sample(scoring.sample)
            if len(scored.rows) and is_open:
                _score(lane, runners, scored, tick_ms=to_unix_ms(now))  # 2. the clicks after now
            seen.learn(clicked, history_of(clicked, shared))  # 3. only then may counts have them
        if is_open:
            lane.keep_clicks(lane.clicks[before:])
        for unit in units:
            unit.keep(len(lane.clicks) - before)
        yield number


def _spent_on_slices(runners: list[Runner], seconds: float) -> None:
    """Each model policy would have to make them, were it alone."""
    for runner in runners:
        if runner.policy.kind == "model" and runner.policy.exact_of is None:
            runner.costs.seconds["slicing"] += seconds


def _score(lane: Lane, runners: list[Runner], clicked: Clicked, *, tick_ms: int) -> None:
    groups = lane.seen.groups(clicked, history_of(clicked, lane.shared))
    lane.clicks.append(Clicks.of(clicked, groups, tick_ms=tick_ms))
    for runner in runners:
        marks = Marks.of(
            clicked.rows.item_keys,
            runner.lists(clicked),
            lane.seen.head,
            space=lane.seen.space,
            answering=runner.answering(clicked),
        )
        runner.board.add(marks)

"""Progressive evaluation: what would each update policy have shown, click by click?

In virtual time, through the real slices, learner, versions and index; only Kafka is left out. All
of it is done in this process, or the policies are shared out among several.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from evaluation.lanes import Scoring
from evaluation.model import ModelRunner
from evaluation.policies import Policy
from evaluation.processes import Asked, Step, at_once, driven
from evaluation.runner import Runner
from evaluation.shares import Share
from evaluation.work import Progress
from streaming.items import read_items
from twintide.clock import HeldClock
from twintide.config import Deployment


@dataclass(frozen=True)
class Tick:
    """How far an evaluation has come."""

    done: int
    done_here: int
    """Without those that were done before it was stopped."""

    ticks: int
    at: datetime
    """All clicks before this are scored and learnt, of those that go with the tick."""

    progress: Sequence[Progress]
    """Of each process."""

    runners: Sequence[Runner]


OnTick = Callable[[Tick], None]


def progressive(
    deployment: Deployment,
    policies: Sequence[Policy],
    scoring: Scoring,
    *,
    folder: Path,
    processes: int | None = 1,
    on_tick: OnTick | None = None,
) -> list[Runner]:
    """Run the policies over the shards of a deployment; each gets its own folder below `folder`.

    Policies of one cadence share their slices and are driven together, since slices do not depend
    on who learns them. What lies in `folder` of an evaluation that was stopped is gone on with, by
    however many processes at once; None: by as many as are worth it.
    """
    asked = Asked(deployment, policies, scoring, folder, processes)
    shares = asked.shares()
    runners = sorted(
        (each for share in shares for way in share for unit in way.units for each in unit.runners),
        key=lambda runner: (policies.index(runner.policy), runner.seed),
    )
    for each in runners:
        if isinstance(each, ModelRunner):
            read_items(each.deployment, HeldClock(scoring.span.first_at))
    count = _Count.of(shares, runners)
    for share, step in _steps(asked, shares):
        tick = count.tick(share, step)
        if on_tick:
            on_tick(tick)
    return runners


def _steps(asked: Asked, shares: Sequence[Share]) -> Iterator[tuple[int, Step]]:
    """What each of them says is taken up, where it was done elsewhere."""
    if len(shares) == 1:
        yield from ((0, step) for step in driven(shares[0], asked.scoring))
        return
    for share, (number, tick) in at_once(asked, len(shares)):
        way = shares[share][number]
        way.lane.take_up_clicks(tick + 1)
        for unit in way.units:
            unit.take_up(tick + 1)
        yield share, (number, tick)


@dataclass
class _Count:
    """What is done, and what is left of it."""

    shares: Sequence[Share]
    runners: Sequence[Runner]
    kept: list[list[int]]
    """Ticks of each way of each share that were done before."""

    progress: list[Progress]
    done: int = 0

    @classmethod
    def of(cls, shares: Sequence[Share], runners: Sequence[Runner]) -> "_Count":
        """Before the first tick."""
        kept = [[way.kept_ticks() for way in share] for share in shares]
        left = [
            sum(sum(way.seconds[first:]) for way, first in zip(share, firsts, strict=True))
            for share, firsts in zip(shares, kept, strict=True)
        ]
        return cls(shares, runners, kept, [Progress(0.0, each) for each in left])

    def tick(self, share: int, step: Step) -> Tick:
        """One more."""
        number, tick = step
        way, before = self.shares[share][number], sum(map(sum, self.kept))
        self.done += 1
        if tick >= self.kept[share][number]:
            self.progress[share] = self.progress[share].after(way.seconds[tick])
        return Tick(
            self.done,
            max(self.done - before, 0),
            sum(len(each.lane.ticks) for every in self.shares for each in every),
            way.lane.ends_at(tick),
            list(self.progress),
            self.runners,
        )

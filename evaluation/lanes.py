"""The lanes of an evaluation: policies of one pace and one form of slices are driven together, all
of them or some of their units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluation.baseline import BaselineRunner
from evaluation.exact import ExactRunner
from evaluation.ingredients import setup_of
from evaluation.kept import Kept, clicks_in, clicks_to_arrays
from evaluation.model import ModelRunner
from evaluation.policies import DAY_MINUTES, Policy
from evaluation.runner import Runner
from evaluation.scored import Clicks, Scoreboard
from evaluation.seen import Seen
from evaluation.setup import History, Setup
from evaluation.span import Span
from evaluation.ticks import Pace, due_ticks
from evaluation.units import Unit
from evaluation.work import Moment, moments
from twintide.config import Deployment, fill_in
from twintide.config.pace import refreshed_every
from twintide.days import Calendar
from twintide.holdback import minutes_held_back
from twintide.shards import Ledger
from twintide.slices import fingerprint_of

THREADS = 1
"""Of each process: the steps of most models are too small for a second one."""


@dataclass(frozen=True)
class Scoring:
    """What is gone through, and how clicks are scored."""

    span: Span
    history: History = "as-requested"
    sample: float = 1.0
    """The share of users whose clicks are scored; all are learnt."""

    seeds: tuple[int, ...] = (0,)
    """Each model policy is trained with each of these."""

    clicks_ms: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """When the clicks were, sorted: by them it is told how long it will take."""


@dataclass
class Lane:
    """Policies of one pace that share slices, at work."""

    shared: Deployment
    ticks: list[datetime]
    units: list[Unit]
    seen: Seen
    kept: Kept
    """Of the clicks."""

    clicks: list[Clicks] = field(default_factory=list)
    """That were scored, in order."""

    moments: list[Moment] = field(default_factory=list)
    """What each tick is to do."""

    sample: float = 1.0
    """Of the clicks, what is scored."""

    done: int = 0
    """Ticks of which the clicks are there."""

    @property
    def runners(self) -> list[Runner]:
        """Of all units."""
        return [runner for unit in self.units for runner in unit.runners]

    def ends_at(self, number: int) -> datetime:
        """Until when clicks are scored at the tick with this number."""
        return self.ticks[number] + timedelta(minutes=self.shared.training.hourly.every_minutes)

    def keep_clicks(self, clicks: Sequence[Clicks]) -> None:
        """Those of the tick that was just done, which are among `clicks` already."""
        if not self.kept.has(self.done):  # another process, which has other units of these
            self.kept.add(self.done, clicks_to_arrays(clicks))
        self.done += 1

    def take_up_clicks(self, until: int) -> None:
        """What was kept of the first so many ticks, where this has not got it yet."""
        while self.done < until:
            self.clicks += clicks_in(self.kept.read(self.done))
            self.done += 1


def lanes_of(
    deployment: Deployment,
    policies: Sequence[Policy],
    scoring: Scoring,
    *,
    folder: Path,
    slices: Path,
) -> list[Lane]:
    """One lane for each pace and each form of slices, whose chain lies below `slices`; each policy
    has its own folder below `folder`.
    """
    sharing: dict[tuple[int, int, str], list[tuple[Policy, Setup]]] = {}
    for policy in policies:
        setup = _setup(policy, Setup(deployment, scoring.history), slices=slices)
        own = setup.deployment
        form = fingerprint_of(own.events, own.model)
        pace = (policy.cadence_minutes, policy.refresh_minutes)
        sharing.setdefault((*pace, form), []).append((policy, setup))
    return [_lane(members, scoring, folder=folder) for _, members in sorted(sharing.items())]


def _setup(policy: Policy, given: Setup, *, slices: Path) -> Setup:
    """What the policy works with: what it has declared otherwise, at its pace."""
    changed = setup_of(policy, given)
    pace = (policy.cadence_minutes, policy.refresh_minutes)
    return replace(changed, deployment=_with_pace(changed.deployment, *pace, slices=slices))


def _lane(members: list[tuple[Policy, Setup]], scoring: Scoring, *, folder: Path) -> Lane:
    shared = members[0][1].deployment
    form = fingerprint_of(shared.events, shared.model)
    name = f"{shared.slices_dir.name}-{form}"
    scored = folder / f"scored-{name}"
    ticks, kept = _ticks(shared, scoring.span), Kept(scored / "clicks")
    lane = Lane(shared, ticks, [], Seen(), kept, sample=scoring.sample)
    lists = list(_lists([policy for policy, _ in members], lane))
    if lists:
        lane.units.append(Unit(lists, Kept(scored / "lists")))
    exact = [policy for policy, _ in members if policy.exact_of is not None]
    for policy, setup in members:
        if policy.kind == "model" and policy.exact_of is None:
            beside = [each for each in exact if each.exact_of == policy.name]
            lane.units += _units(policy, setup, beside, lane, scoring, folder=folder)
    calendar = Calendar.of(shared.training)
    lane.moments = list(moments(lane.ticks, scoring.clicks_ms, calendar, scoring.span))
    return lane


def _ticks(shared: Deployment, span: Span) -> list[datetime]:
    """When a policy of that cadence has to act: cost follows the clicks, not the calendar."""
    hourly = shared.training.hourly
    held_back = minutes_held_back(hourly, shared.shards, None)  # no gate says how much it takes
    pace = Pace(hourly.every_minutes, held_back, Calendar.of(shared.training))
    ledger = Ledger(shared.shards_dir, shared.kafka.topic)
    busy = {name.hour_at for name in ledger.names()}
    return due_ticks(busy, pace, begin=span.first_at, end=min(span.last_at, span.score_until))


def _lists(policies: Sequence[Policy], lane: Lane) -> Iterator[Runner]:
    """A list is the same with every seed."""
    feature = lane.shared.model.longest_history()
    name = feature.name if feature else None
    for policy in policies:
        if policy.kind == "baseline":
            yield BaselineRunner(policy, lane.seen.counts, name, board=Scoreboard(lane.clicks))


def _units(
    policy: Policy,
    setup: Setup,
    exact: Sequence[Policy],
    lane: Lane,
    scoring: Scoring,
    *,
    folder: Path,
) -> Iterator[Unit]:
    """A model policy with each seed, and beside it the same without its index."""
    for seed in scoring.seeds:
        home = folder / f"{policy.name}-{seed}"
        own = _own(policy, setup.deployment, folder=home, seed=seed)
        model = ModelRunner(
            policy, own, scoring.span, setup.history, seed, board=Scoreboard(lane.clicks)
        )
        beside = [ExactRunner(each, model, board=Scoreboard(lane.clicks)) for each in exact]
        yield Unit([model, *beside], Kept(home / "scored"))


def _with_pace(
    deployment: Deployment, cadence_minutes: int, refresh_minutes: int, *, slices: Path
) -> Deployment:
    """Slices end at ticks, statistics are as old as a deployment of that pace would have them."""
    offset_minutes = _day_start(deployment) if refresh_minutes == DAY_MINUTES else 0
    model = refreshed_every(deployment.model, refresh_minutes, offset_minutes=offset_minutes)
    return fill_in(
        deployment.with_model(model),
        {
            "folders": {
                "shards": str(deployment.shards_dir),
                "slices": str(slices / f"{cadence_minutes}-{refresh_minutes}min"),
            },
            "training": {"hourly": {"every_minutes": cadence_minutes}},
        },
    )


def _day_start(deployment: Deployment) -> int:
    """In minutes after midnight UTC: when a night brings new statistics. Hours do by the hour."""
    start = Calendar.of(deployment.training).start_of(date(2026, 1, 1))
    return start.hour * 60 + start.minute


def _own(policy: Policy, shared: Deployment, *, folder: Path, seed: int) -> Deployment:
    """Checkpoints and versions of a policy's own."""
    hourly = {key: way for key in ("learns", "order") if (way := getattr(policy, key)) is not None}
    folders = {"checkpoints": str(folder / "checkpoints"), "versions": str(folder / "versions")}
    keeping = {"keep_hourly": 2, "keep_nightly": 2}
    training = {"hourly": hourly, "threads": THREADS, "seed": seed, **keeping}
    own = fill_in(
        shared,
        {"folders": folders, "training": training, "publishing": {"keep_versions": 3}},
    )
    # What is not to be had today was then: a source tells of the past what items are, no more.
    items = own.items.model_copy(update={"complete": False, "available_column": None})
    return own.model_copy(update={"items": items})

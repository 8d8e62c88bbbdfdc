"""The lanes of an evaluation: policies of one pace and one form of slices are driven together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from evaluation.baseline import BaselineRunner
from evaluation.exact import ExactRunner
from evaluation.ingredients import setup_of
from evaluation.kept import Kept
from evaluation.model import ModelRunner
from evaluation.policies import DAY_MINUTES, Policy
from evaluation.runner import Runner
from evaluation.scored import Clicks, Scoreboard
from evaluation.seen import Seen
from evaluation.setup import History, Setup
from evaluation.span import Span
from evaluation.ticks import Pace, due_ticks
from evaluation.work import moments, seconds_of
from streaming.items import read_items
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.config.pace import refreshed_every
from twintide.days import Calendar
from twintide.holdback import minutes_held_back
from twintide.shards import Ledger
from twintide.slices import fingerprint_of


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
    runners: list[Runner]
    seen: Seen
    kept: Kept
    clicks: list[Clicks] = field(default_factory=list)
    """That were scored, in order."""

    seconds: list[float] = field(default_factory=list)
    """What each tick takes, on a usual machine."""


def lanes_of(
    deployment: Deployment, policies: Sequence[Policy], scoring: Scoring, *, folder: Path
) -> list[Lane]:
    """One lane for each pace and each form of slices; each policy has its own folder below
    `folder`.
    """
    sharing: dict[tuple[int, int, str], list[tuple[Policy, Setup]]] = {}
    for policy in policies:
        setup = _setup(policy, Setup(deployment, scoring.history), folder=folder)
        own = setup.deployment
        form = fingerprint_of(own.events, own.model)
        pace = (policy.cadence_minutes, policy.refresh_minutes)
        sharing.setdefault((*pace, form), []).append((policy, setup))
    return [_lane(members, scoring, folder=folder) for _, members in sorted(sharing.items())]


def _setup(policy: Policy, given: Setup, *, folder: Path) -> Setup:
    """What the policy works with: what it has declared otherwise, at its pace."""
    changed = setup_of(policy, given)
    pace = (policy.cadence_minutes, policy.refresh_minutes)
    return replace(changed, deployment=_with_pace(changed.deployment, *pace, folder=folder))


def _lane(members: list[tuple[Policy, Setup]], scoring: Scoring, *, folder: Path) -> Lane:
    shared = members[0][1].deployment
    form = fingerprint_of(shared.events, shared.model)
    kept = Kept(shared.slices_dir.with_name(f"scored-{shared.slices_dir.name}-{form}"))
    lane = Lane(shared, _ticks(shared, scoring.span), [], Seen(), kept)
    for policy, setup in members:
        lane.runners += _runners(policy, setup, lane, scoring, folder=folder)
    calendar, at_work = Calendar.of(shared.training), [each.policy for each in lane.runners]
    found = moments(lane.ticks, scoring.clicks_ms, calendar, scoring.span)
    lane.seconds = [seconds_of(each, at_work, sample=scoring.sample) for each in found]
    return lane


def _ticks(shared: Deployment, span: Span) -> list[datetime]:
    """When a policy of that cadence has to act: cost follows the clicks, not the calendar."""
    hourly = shared.training.hourly
    held_back = minutes_held_back(hourly, shared.shards, None)  # no gate says how much it takes
    pace = Pace(hourly.every_minutes, held_back, Calendar.of(shared.training))
    ledger = Ledger(shared.shards_dir, shared.kafka.topic)
    busy = {name.hour_at for name in ledger.names()}
    return due_ticks(busy, pace, begin=span.first_at, end=min(span.last_at, span.score_until))


def _runners(
    policy: Policy, setup: Setup, lane: Lane, scoring: Scoring, *, folder: Path
) -> Iterator[Runner]:
    """A list is the same with every seed."""
    if policy.kind == "baseline":
        feature = lane.shared.model.longest_history()
        name = feature.name if feature else None
        yield BaselineRunner(policy, lane.seen.counts, name, board=Scoreboard(lane.clicks))
        return
    if policy.exact_of is not None:
        models = [each for each in lane.runners if each.policy.name == policy.exact_of]
        for model in models:
            yield ExactRunner(policy, cast("ModelRunner", model), board=Scoreboard(lane.clicks))
        return
    for seed in scoring.seeds:
        own = _own(policy, setup.deployment, folder=folder / f"{policy.name}-{seed}", seed=seed)
        read_items(own, HeldClock(scoring.span.first_at))
        yield ModelRunner(
            policy, own, scoring.span, setup.history, seed, board=Scoreboard(lane.clicks)
        )


def _with_pace(
    deployment: Deployment, cadence_minutes: int, refresh_minutes: int, *, folder: Path
) -> Deployment:
    """Slices end at ticks, statistics are as old as a deployment of that pace would have them."""
    offset_minutes = _day_start(deployment) if refresh_minutes == DAY_MINUTES else 0
    model = refreshed_every(deployment.model, refresh_minutes, offset_minutes=offset_minutes)
    return fill_in(
        deployment.with_model(model),
        {
            "folders": {
                "shards": str(deployment.shards_dir),
                "slices": str(folder / f"slices-{cadence_minutes}-{refresh_minutes}min"),
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
    training = {"hourly": hourly, "keep_hourly": 2, "keep_nightly": 2, "seed": seed}
    own = fill_in(
        shared,
        {"folders": folders, "training": training, "publishing": {"keep_versions": 3}},
    )
    # What is not to be had today was then: a source tells of the past what items are, no more.
    items = own.items.model_copy(update={"complete": False, "available_column": None})
    return own.model_copy(update={"items": items})

"""The lanes of an evaluation: policies of one pace, that share slices and are driven together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from evaluation.baseline import BaselineRunner
from evaluation.kept import Kept
from evaluation.model import History, ModelRunner
from evaluation.policies import Policy
from evaluation.runner import Runner
from evaluation.scored import Clicks, Scoreboard
from evaluation.seen import Seen
from evaluation.span import Span
from evaluation.ticks import Pace, due_ticks
from streaming.items import read_items
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.days import Calendar
from twintide.features.item_statistics import ItemStatistics
from twintide.holdback import minutes_held_back
from twintide.shards import Ledger


@dataclass(frozen=True)
class Scoring:
    """What is gone through, and how clicks are scored."""

    span: Span
    history: History = "as-requested"
    sample: float = 1.0
    """The share of users whose clicks are scored; all are learnt."""

    seeds: tuple[int, ...] = (0,)
    """Each model policy is trained with each of these."""


@dataclass
class Lane:
    """Policies of one pace, at work."""

    shared: Deployment
    ticks: list[datetime]
    runners: list[Runner]
    seen: Seen
    kept: Kept
    clicks: list[Clicks] = field(default_factory=list)
    """That were scored, in order."""


def lanes_of(
    deployment: Deployment, policies: Sequence[Policy], scoring: Scoring, *, folder: Path
) -> list[Lane]:
    """One lane for each pace; each policy has its own folder below `folder`."""
    return [
        _lane(
            _with_pace(deployment, *pace, folder=folder),
            [p for p in policies if (p.cadence_minutes, p.refresh_minutes) == pace],
            scoring,
            folder=folder,
        )
        for pace in sorted({(p.cadence_minutes, p.refresh_minutes) for p in policies})
    ]


def _lane(
    shared: Deployment, policies: Sequence[Policy], scoring: Scoring, *, folder: Path
) -> Lane:
    kept = Kept(shared.slices_dir.with_name(f"scored-{shared.slices_dir.name}"))
    lane = Lane(shared, _ticks(shared, scoring.span), [], Seen(), kept)
    for policy in policies:
        lane.runners += _runners(policy, lane, scoring, folder=folder)
    return lane


def _ticks(shared: Deployment, span: Span) -> list[datetime]:
    """When a policy of that cadence has to act: cost follows the clicks, not the calendar."""
    hourly = shared.training.hourly
    held_back = minutes_held_back(hourly, shared.shards, None)  # no gate says how much it takes
    pace = Pace(hourly.every_minutes, held_back, Calendar.of(shared.training))
    ledger = Ledger(shared.shards_dir, shared.kafka.topic)
    busy = {name.hour_at for name in ledger.names()}
    return due_ticks(busy, pace, begin=span.first_at, end=min(span.last_at, span.score_until))


def _runners(policy: Policy, lane: Lane, scoring: Scoring, *, folder: Path) -> Iterator[Runner]:
    """A list is the same with every seed."""
    if policy.kind == "baseline":
        feature = lane.shared.model.longest_history()
        name = feature.name if feature else None
        yield BaselineRunner(policy, lane.seen.counts, name, board=Scoreboard(lane.clicks))
        return
    for seed in scoring.seeds:
        own = _own(policy, lane.shared, folder=folder / f"{policy.name}-{seed}", seed=seed)
        read_items(own, HeldClock(scoring.span.first_at))
        yield ModelRunner(
            policy, own, scoring.span, scoring.history, seed, board=Scoreboard(lane.clicks)
        )


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


def _own(policy: Policy, shared: Deployment, *, folder: Path, seed: int) -> Deployment:
    """Checkpoints and versions of a policy's own."""
    learns = "everything" if policy.learns_everything else shared.training.hourly.learns
    folders = {"checkpoints": str(folder / "checkpoints"), "versions": str(folder / "versions")}
    training = {"hourly": {"learns": learns}, "keep_hourly": 2, "keep_nightly": 2, "seed": seed}
    own = fill_in(
        shared,
        {"folders": folders, "training": training, "publishing": {"keep_versions": 3}},
    )
    # What is not to be had today was then: a source tells of the past what items are, no more.
    items = own.items.model_copy(update={"complete": False, "available_column": None})
    return own.model_copy(update={"items": items})

"""Progressive evaluation: what would each update policy have shown, click by click?

In virtual time, through the real slices, learner, versions and index: at each tick every policy
does what is due, then the clicks until the next tick are scored by what it has live, and only then
may any policy learn them. Only Kafka is left out.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from console.decays import Weighed
from console.diversity import ItemSpace
from console.items import read_items
from console.lists import LAST_ITEMS, POPULAR_MS, ClickCounts, Together, co_visited, neighbours
from console.metrics import DEPTH, Groups, Scoreboard
from console.policies import Policy
from console.ticks import Pace, after_first_day, due_ticks, gaps_in
from publisher import gc
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from trainer.epoch import Rows
from trainer.hourly import hourly
from trainer.nightly import nightly
from trainer.slicing import Slicer
from twintide.clock import HeldClock, floor_to_minutes, from_unix_ms, monotonic_seconds, to_unix_ms
from twintide.config import Deployment, fill_in
from twintide.days import Calendar
from twintide.derived.state import DerivedState
from twintide.features.item_statistics import ItemStatistics
from twintide.keys import NO_KEY, Keys
from twintide.ragged import Encoded, Ids
from twintide.shards import Ledger
from twintide.slices import IS_CLICK, USER_KEY, Slice
from twintide.versions import read_state

History = Literal["as-requested", "as-of-version"]
HEAD_ITEMS = 100


@dataclass(frozen=True)
class Span:
    """What is gone through, and which part of it is scored."""

    first_at: datetime
    last_at: datetime
    score_from: datetime
    score_until: datetime


@dataclass(frozen=True)
class Clicked:
    """The clicks of one slice, to be scored. B of them."""

    rows: Rows
    users: Keys

    def between(self, begin: datetime, end: datetime) -> "Clicked":
        """Those of these moments."""
        at_ms = self.rows.at_ms
        inside = np.flatnonzero((at_ms >= to_unix_ms(begin)) & (at_ms < to_unix_ms(end)))
        return Clicked(self.rows.take(inside), self.users[inside])

    @property
    def query(self) -> Encoded:
        return self.rows.query


class Runner(Protocol):
    """One policy at work."""

    policy: Policy
    board: Scoreboard
    train_seconds: float
    versions: int

    def tick(self, now: datetime) -> None:
        """Do what is due at `now`, with nothing but the clicks before it."""

    def lists(self, clicked: Clicked) -> Keys:
        """uint64 [B, DEPTH]: the list of each click, best first, 0 where there is nothing more."""


@dataclass
class ModelRunner:
    """A model policy: trains and publishes through the real stages, in a folder of its own."""

    policy: Policy
    deployment: Deployment
    span: Span
    history: History
    board: Scoreboard = field(default_factory=Scoreboard)
    train_seconds: float = 0.0
    versions: int = 0
    live: LoadedVersion | None = None
    """What answers at this moment."""

    _next_day_end: datetime | None = None
    _has_nightly: bool = False

    def tick(self, now: datetime) -> None:
        if self.policy.stops_before_scoring and now > self.span.score_from:
            return
        clock = HeldClock(now, end=self.span.last_at)
        began = monotonic_seconds()
        trained = self._night(clock) | self._pass(clock)
        self.train_seconds += monotonic_seconds() - began
        if trained:
            self._publish(clock)

    def _night(self, clock: HeldClock) -> bool:
        calendar = Calendar.of(self.deployment.training)
        yesterday = calendar.before(calendar.day_of(clock.now()))
        due = self._next_day_end is None or clock.now() >= self._next_day_end
        if not (self.policy.nightly and due and calendar.end_of(yesterday) > self.span.first_at):
            return False
        self._next_day_end = calendar.end_of(calendar.day_of(clock.now()))
        outcomes = nightly(self.deployment, clock=clock)
        trained = any(each.checkpoint for each in outcomes)
        self._has_nightly |= trained
        return trained

    def _pass(self, clock: HeldClock) -> bool:
        begun = self.policy.learns_everything or self._has_nightly
        if not (self.policy.passes and begun):
            return False
        return hourly(self.deployment, clock=clock).checkpoint is not None

    def _publish(self, clock: HeldClock) -> None:
        publish(self.deployment, clock=clock, judge=False)
        self.versions += 1
        current = read_state(self.deployment.versions_dir).current
        if current and (self.live is None or self.live.name != current):
            self.live = load_version(self.deployment.versions_dir, current)
        gc.run(self.deployment)

    def lists(self, clicked: Clicked) -> Keys:
        found = np.zeros((len(clicked.rows), DEPTH), np.uint64)
        if self.live is None:
            return found
        query = dict(clicked.query)
        if self.history == "as-of-version":
            query |= self.live.remembered(clicked.users, clicked.rows.at_ms)
        _, positions = self.live.search(query, DEPTH)
        keys = np.append(self.live.item_keys, np.uint64(0))
        found[:, : positions.shape[1]] = keys[positions]  # position -1 is the 0 at the end
        return found


@dataclass
class BaselineRunner:
    """A baseline: its list is frozen at each tick."""

    policy: Policy
    counts: ClickCounts
    history_name: str | None
    board: Scoreboard = field(default_factory=Scoreboard)
    train_seconds: float = 0.0
    versions: int = 0
    _popular: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    _weighed: Weighed = field(default_factory=Weighed.empty)
    _together: Together | None = None
    """Made when it is first asked for: nobody is, before scoring begins."""

    _now_ms: int = 0

    def tick(self, now: datetime) -> None:
        now_ms, name = to_unix_ms(now), self.policy.name
        self._weighed = self.counts.decays.popular.first(4 * DEPTH)
        self._together, self._now_ms = None, now_ms
        if name in POPULAR_MS:
            self._popular = self.counts.popular(name, now_ms=now_ms, k=DEPTH)
        else:
            self._popular = self._weighed.best(DEPTH)
        self.versions += 1

    def lists(self, clicked: Clicked) -> Keys:
        history = clicked.query.get(self.history_name or "")
        if self.policy.name in _OF_HISTORY and isinstance(history, Ids):
            last, made = _OF_HISTORY[self.policy.name]
            self._together = self._together or self.counts.together(last, now_ms=self._now_ms)
            return made(history, self._together, self._weighed, k=DEPTH)
        found = np.zeros((len(clicked.rows), DEPTH), np.uint64)
        found[:, : len(self._popular)] = self._popular
        return found


_OF_HISTORY = {"co-visitation": (1, co_visited), "item-knn": (LAST_ITEMS, neighbours)}
"""Baselines that look at what a user clicked before: at how many items, and how."""


@dataclass
class Seen:
    """Who and what has occurred so far, for the groups of the report."""

    counts: ClickCounts = field(default_factory=ClickCounts)
    _users: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    _items: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    _head: Keys = field(default_factory=lambda: np.zeros(0, np.uint64))
    _space: ItemSpace | None = None

    def tick(self, now: datetime) -> None:
        self.counts.tick(to_unix_ms(now))
        self._head = self.counts.popular("popular-24h", now_ms=to_unix_ms(now), k=HEAD_ITEMS)

    def space(self, runners: "Sequence[Runner]") -> ItemSpace | None:
        """The item vectors of the first model policy that has a live version."""
        live = next((r.live for r in runners if isinstance(r, ModelRunner) and r.live), None)
        if live is not None and (self._space is None or self._space.version != live.name):
            self._space = ItemSpace.of(live)
        return self._space

    def groups(self, clicked: Clicked) -> Groups:
        anonymous = clicked.users == NO_KEY
        return Groups(
            new_user=~np.isin(clicked.users, self._users) & ~anonymous,
            anonymous=anonymous,
            new_item=~np.isin(clicked.rows.item_keys, self._items),
            head=np.isin(clicked.rows.item_keys, self._head),
        )

    def learn(self, clicked: Clicked, history: Ids | None) -> None:
        self.counts.add(clicked.rows.item_keys, history, clicked.rows.at_ms)
        self._users = np.union1d(self._users, clicked.users)
        self._items = np.union1d(self._items, clicked.rows.item_keys)


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
            clicked = _clicked(each, shared)
            if not len(clicked.rows):
                continue
            scored = clicked.between(span.score_from, span.score_until)
            if len(scored.rows):
                _score(runners, scored, seen, now)  # 2. score the clicks after now
            seen.learn(clicked, _history_of(clicked, shared))  # 3. only then may counts have them
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


def _clicked(slice_: Slice, deployment: Deployment) -> Clicked:
    table: pa.Table = slice_.read()
    table = table.filter(table[IS_CLICK])
    rows = Rows.of(table, deployment.model, name=f"slice {slice_.name}")
    return Clicked(rows, table[USER_KEY].to_numpy())


def _history_of(clicked: Clicked, deployment: Deployment) -> Ids | None:
    feature = deployment.model.longest_history()
    found = clicked.query.get(feature.name) if feature else None
    return found if isinstance(found, Ids) else None


def report(runners: Sequence[Runner], *, data: dict[str, Any]) -> dict[str, Any]:
    """report.json."""
    return {
        "format": 1,
        "data": data,
        "policies": [
            {
                "name": runner.policy.name,
                "kind": runner.policy.kind,
                **runner.board.report(items=data["items"]),
                "train_seconds": round(runner.train_seconds, 3),
                "versions": runner.versions,
            }
            for runner in runners
        ],
    }


def default_span(at_ms: npt.NDArray[np.int64]) -> Span:
    """The first 24 hours are learnt and not scored; gaps do not count. `at_ms` is sorted."""
    first_at, last_at = from_unix_ms(int(at_ms[0])), from_unix_ms(int(at_ms[-1]))
    score_from = after_first_day(first_at, gaps_in(at_ms))
    return Span(first_at, last_at, score_from, last_at + timedelta(milliseconds=1))

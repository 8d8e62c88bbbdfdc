"""A model policy at work: it trains and publishes through the real stages, in virtual time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any

import numpy as np

from evaluation.clicked import Clicked
from evaluation.costs import Costs
from evaluation.live import Live
from evaluation.metrics import DEPTH
from evaluation.policies import Policy
from evaluation.scored import Answering, Scoreboard
from evaluation.setup import History
from evaluation.span import Span
from evaluation.statistics import Statistics
from publisher import gc
from publisher.index.searched import Positions
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock, floor_to_minutes, to_unix_ms
from twintide.config import Deployment
from twintide.days import Calendar
from twintide.derived.state import DerivedState
from twintide.due import due_day
from twintide.keys import Keys
from twintide.ragged import Encoded
from twintide.verified import Verified
from twintide.versions import read_state

AUC_CLICKS = 32
"""Of each slice: AUC is a hint, and asks for the score of every item."""


@dataclass
class ModelRunner:
    """A model policy: trains and publishes through the real stages, in a folder of its own."""

    policy: Policy
    deployment: Deployment
    span: Span
    history: History
    seed: int = 0
    board: Scoreboard = field(default_factory=Scoreboard)
    costs: Costs = field(default_factory=Costs)
    versions: int = 0
    _live: Live | None = None
    _gone_on_with: tuple[str, int] | None = None
    """What answered where an evaluation was stopped: a version, and how new its statistics were."""

    _asked: date | None = None
    """The newest day that nightlies were asked to learn up to."""

    _has_nightly: bool = False
    _verified: Verified = field(default_factory=Verified)
    """Files that it has hashed: a checkpoint shares its rows with the next one, and its version."""

    _was_stopped: bool = False
    """Perhaps between a run and its publish."""

    @cached_property
    def _statistics(self) -> Statistics:
        return Statistics(self.deployment)

    def tick(self, now: datetime, state: DerivedState) -> None:
        if self.policy.stops_before_scoring and now > self.span.score_from:
            return
        clock = HeldClock(now, end=self.span.last_at)
        with self.costs.of("training"):
            trained = self._night(clock) | self._pass(clock)
        if trained or self._was_stopped:
            self._was_stopped = False
            with self.costs.of("publishing"):
                self._publish(clock)
        if self.live and not trained and self._refreshes():
            with self.costs.of("statistics"):
                self._live = self._statistics.refreshed(self.live, state, now)

    @property
    def live(self) -> Live | None:
        """What answers at this moment."""
        if self._gone_on_with is not None:
            name, refreshed_ms = self._gone_on_with
            self._go_live(name, refreshed_ms)
        return self._live

    def _refreshes(self) -> bool:
        """Between passes."""
        return self.policy.learns_every_minutes is not None

    def _night(self, clock: HeldClock) -> bool:
        calendar = Calendar.of(self.deployment.training)
        day = due_day(
            self._asked,
            newest_shard_at=self.span.last_at,
            complete=clock.now(),  # nothing is late in virtual time
            now=clock.now(),
            calendar=calendar,
        )
        if not self.policy.nightly or day is None or calendar.end_of(day) <= self.span.first_at:
            return False
        self._asked = day
        outcomes = nightly(self.deployment, clock=clock)
        trained = any(each.checkpoint for each in outcomes)
        self._has_nightly |= trained
        return trained

    def _pass(self, clock: HeldClock) -> bool:
        begun = not self.policy.nightly or self._has_nightly
        every, now = self.policy.learns_every_minutes, clock.now()
        is_due = every is None or floor_to_minutes(now, every) == now
        if not (self.policy.passes and begun and is_due):
            return False
        return hourly(self.deployment, clock=clock).checkpoint is not None

    def _publish(self, clock: HeldClock) -> None:
        if list_checkpoints(self.deployment.checkpoints_dir):
            publish(self.deployment, clock=clock, judge=False, verified=self._verified)
        current = read_state(self.deployment.versions_dir).current
        if current and (self.live is None or self.live.version.name != current):
            self._go_live(current, to_unix_ms(clock.now()))
        gc.run(self.deployment)

    def _go_live(self, name: str, refreshed_ms: int) -> None:
        version = load_version(self.deployment.versions_dir, name, verified=self._verified)
        self._live, self._gone_on_with = Live.of(version, refreshed_ms), None
        self.versions = int(name[1:])

    def standing(self) -> dict[str, Any]:
        return {
            "seconds": self.costs.seconds,
            "asked": str(self._asked) if self._asked else None,
            "has_nightly": self._has_nightly,
            "live": [self.live.version.name, self.live.refreshed_ms] if self.live else None,
        }

    def go_on(self, standing: dict[str, Any]) -> None:
        self.costs.seconds.update(standing["seconds"])
        self._asked = date.fromisoformat(standing["asked"]) if standing["asked"] else None
        self._has_nightly = standing["has_nightly"]
        if standing["live"]:
            name, refreshed_ms = standing["live"]
            self._gone_on_with, self.versions = (name, refreshed_ms), int(name[1:])
        self._was_stopped = True

    def lists(self, clicked: Clicked) -> Keys:
        return self._lists(clicked, Live.search)

    def exact_lists(self, clicked: Clicked) -> Keys:
        """The same, were there no index."""
        return self._lists(clicked, Live.search_all)

    def _lists(self, clicked: Clicked, search: Callable[[Live, Encoded, int], Positions]) -> Keys:
        found = np.zeros((len(clicked.rows), DEPTH), np.uint64)
        if self.live is None:
            return found
        positions = search(self.live, self._query(self.live.version, clicked), DEPTH)
        keys = np.append(self.live.item_keys, np.uint64(0))
        found[:, : positions.shape[1]] = keys[positions]  # position -1 is the 0 at the end
        return found

    def answering(self, clicked: Clicked) -> Answering:
        if self.live is None:
            return Answering()
        asked = clicked.take(np.arange(min(len(clicked.rows), AUC_CLICKS)))
        better = self.live.shares_below(self._query(self.live.version, asked), asked.rows.item_keys)
        newest_at = self.live.version.manifest.newest_event_at
        return Answering(
            to_unix_ms(newest_at) if newest_at else 0,
            self.live.refreshed_ms,
            float(better.sum()),
            len(better),
        )

    def _query(self, version: LoadedVersion, clicked: Clicked) -> Encoded:
        if self.history == "as-requested":
            return clicked.query
        return clicked.query | version.remembered(clicked.users, clicked.rows.at_ms)

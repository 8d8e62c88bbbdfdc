"""A model policy at work: it trains and publishes through the real stages, in virtual time."""

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

import numpy as np

from evaluation.clicked import Clicked
from evaluation.metrics import DEPTH, Scoreboard
from evaluation.policies import Policy
from evaluation.span import Span
from publisher import gc
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide.clock import HeldClock, monotonic_seconds
from twintide.config import Deployment
from twintide.days import Calendar
from twintide.due import due_day
from twintide.keys import Keys
from twintide.versions import read_state

History = Literal["as-requested", "as-of-version"]


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

    _asked: date | None = None
    """The newest day that nightlies were asked to learn up to."""

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

"""A baseline at work: a list that is made anew at each tick."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from evaluation.clicked import Clicked
from evaluation.costs import Costs
from evaluation.decays import Weighed
from evaluation.lists import LAST_ITEMS, POPULAR_MS, ClickCounts, Together, co_visited, neighbours
from evaluation.metrics import DEPTH
from evaluation.policies import Policy
from evaluation.scored import Answering, Scoreboard
from twintide.clock import to_unix_ms
from twintide.derived.state import DerivedState
from twintide.keys import NO_KEYS, Keys
from twintide.ragged import Ids


@dataclass
class BaselineRunner:
    """A baseline: its list is frozen at each tick."""

    policy: Policy
    counts: ClickCounts
    history_name: str | None
    seed: int = 0
    board: Scoreboard = field(default_factory=Scoreboard)
    costs: Costs = field(default_factory=Costs)
    versions: int = 0
    _popular: Keys = field(default_factory=lambda: NO_KEYS)
    _weighed: Weighed = field(default_factory=Weighed.empty)
    _together: Together | None = None
    """Made when it is first asked for: nobody is, before scoring begins."""

    _now_ms: int = 0

    def tick(self, now: datetime, state: DerivedState | None = None) -> None:
        del state  # lists are counted
        with self.costs.of("lists"):
            self._make(now)

    def _make(self, now: datetime) -> None:
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
            with self.costs.of("lists"):
                self._together = self._together or self.counts.together(last, now_ms=self._now_ms)
            return made(history, self._together, self._weighed, k=DEPTH)
        found = np.zeros((len(clicked.rows), DEPTH), np.uint64)
        found[:, : len(self._popular)] = self._popular
        return found

    def standing(self) -> dict[str, Any]:
        return {"versions": self.versions, "seconds": self.costs.seconds}

    def go_on(self, standing: dict[str, Any]) -> None:
        self.versions = standing["versions"]
        self.costs.seconds.update(standing["seconds"])

    def answering(self, clicked: Clicked) -> Answering:
        del clicked  # a list has no score for an item that is not in it
        return Answering()


_OF_HISTORY = {"co-visitation": (1, co_visited), "item-knn": (LAST_ITEMS, neighbours)}
"""Baselines that look at what a user clicked before: at how many items, and how."""

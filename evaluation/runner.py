"""What every policy at work can do, whatever it is."""

from datetime import datetime
from typing import Any, Protocol

from evaluation.clicked import Clicked
from evaluation.costs import Costs
from evaluation.policies import Policy
from evaluation.scored import Answering, Scoreboard
from twintide.derived.state import DerivedState
from twintide.keys import Keys


class Runner(Protocol):
    """One policy at work, with one seed."""

    policy: Policy
    board: Scoreboard
    costs: Costs

    @property
    def seed(self) -> int:
        """With which it was trained."""

    @property
    def versions(self) -> int:
        """How many it has made so far."""

    def tick(self, now: datetime, state: DerivedState) -> None:
        """Do what is due at `now`, with nothing but the clicks before it; `state` has taken in just
        these.
        """

    def lists(self, clicked: Clicked) -> Keys:
        """uint64 [B, DEPTH]: the list of each click, best first, 0 where there is nothing more."""

    def standing(self) -> dict[str, Any]:
        """How far it has come, for `go_on`, in words of JSON."""

    def go_on(self, standing: dict[str, Any]) -> None:
        """Take up where an evaluation was stopped."""

    def answering(self, clicked: Clicked) -> Answering:
        """How old what answers is, and how well it tells clicked items from others."""

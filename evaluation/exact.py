"""An exact search beside the index: what a policy's index alone costs.

The model is the policy's own, so nothing is learnt or published twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from evaluation.clicked import Clicked
from evaluation.costs import Costs
from evaluation.figures import Figures, between
from evaluation.model import ModelRunner
from evaluation.policies import Policy
from evaluation.scored import Answering, Scoreboard
from twintide.derived.state import DerivedState
from twintide.keys import Keys


def beside_exact(policies: Sequence[Policy]) -> Iterator[Policy]:
    """The policies, and behind each model policy the same without its index."""
    for each in policies:
        yield each
        if each.kind == "model":
            yield replace(each, name=f"{each.name}, exact", exact_of=each.name)


@dataclass
class ExactRunner:
    """What another runner has live, searched through whole."""

    policy: Policy
    of: ModelRunner
    board: Scoreboard = field(default_factory=Scoreboard)
    costs: Costs = field(default_factory=Costs)

    @property
    def seed(self) -> int:
        return self.of.seed

    @property
    def versions(self) -> int:
        return self.of.versions

    def tick(self, now: datetime, state: DerivedState) -> None:
        """The other one does it."""

    def lists(self, clicked: Clicked) -> Keys:
        return self.of.exact_lists(clicked)

    def answering(self, clicked: Clicked) -> Answering:
        del clicked
        return Answering()

    def standing(self) -> dict[str, Any]:
        return {}

    def go_on(self, standing: dict[str, Any]) -> None:
        """Nothing to take up."""


def index_of(whole: Figures, exact: Figures | None) -> dict[str, Any]:
    """What a report says of a policy's index: what an exact search finds, and the policy less it.
    Nothing where none was made, or not of all clicks yet.
    """
    if exact is None or len(exact.users) != len(whole.users):
        return {}
    found = {"exact": exact.summary(exact.everything), "difference": between(whole, exact)}
    return {"index": found}

"""Objectives, declared: what stands in `model.objectives`.

An objective is a set of events, its positives, and a loss that learns from them. Each has one
vector of an item and one of a query, so that a request can say how much each counts. Without any
declared there is one, `click`: its positives are the clicks, with the model's own loss and reward.
What an event is to an objective stands in slices; see trainer.labels.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from twintide.events import Condition
from twintide.features.kind import Name
from twintide.losses import AnyLoss, Softmax
from twintide.reward import Reward

CLICK = "click"
"""The objective of a model that declares none."""

MOST_OBJECTIVES = 16
"""Vectors in the index are as many times as wide."""


class Objective(BaseModel):
    """What is learnt from some events: which, by which loss, and how much it counts."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    positive: Condition | None = None
    """Which events are its positives; null: the clicks, as `events.positive` says."""

    scenario: Name | None = None
    """One of `model.scenarios`: only events of it are positives."""

    loss: AnyLoss = Softmax()
    """What is learnt from a positive: its item against others of the batch, or a number."""

    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """What its loss counts beside those of the other objectives."""

    request_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """What it counts in an answer, where the request does not say; 0 leaves it out. The gate and
    `twintide evaluate` go by these.
    """

    reward: Reward | None = None
    """What a positive counts; null: all the same."""

    def columns_read(self) -> set[str]:
        """The event columns that its positives are told by, but for its scenario's."""
        read = {self.positive.column} if self.positive else set()
        read |= {self.reward.column} if self.reward else set()
        target = self.loss.target_column()
        return read | ({target} if target else set())

    def binds(self) -> dict[str, Any]:
        """What of it rows of slices depend on, but for its scenario: its loss and weights may
        change, and slices stay.
        """
        parts = self.model_dump(mode="json", include={"positive", "reward"})
        return parts | {"target": self.loss.target_column()}

"""Losses, declared: what stands in `model.loss`.

    declared    one class here: a kind's keys, and which of them mean nothing together
    -> applied  one function in trainer.losses

A new loss is those two. No torch here: a configuration is checked without it. What every loss is
given is a logit for each click and candidate column,

    logit = sharpness · (cosine / temperature + popularity bias) − log Q

so temperature, bias and log Q mean the same for all. The index orders items by the bracket.
"""

from abc import ABC
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Negatives = Annotated[int, Field(ge=1, le=65_535)]


class Loss(BaseModel, ABC):
    """What every kind of loss is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str

    negatives: Negatives | None = None
    """How many of the batch's items each click has as negatives, drawn evenly from those that it
    may have; null takes them all.
    """

    def sharpness(self) -> float:
        """What a score is multiplied by before log Q is subtracted."""
        return 1.0


class Softmax(Loss):
    """List-wise, and the default: the clicked item against all negatives at once, sampled softmax.
    It learns how probable a click is among them.
    """

    kind: Literal["softmax"] = "softmax"


AnyLoss = Softmax
"""Whatever may stand in `model.loss`."""

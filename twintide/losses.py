"""Losses, declared: what stands in `model.loss`.

    declared    one class here: a kind's keys, and which of them mean nothing together
    -> applied  one function in trainer.losses

A new loss is those two. No torch here: a configuration is checked without it. What every loss is
given is a logit for each click and candidate column,

    logit = sharpness · (similarity / temperature + popularity bias) − log Q

so these mean the same for all, and the index orders items by the bracket. Minus log Q is right for
each of them: what is positive with probability p and negative with probability q has its best logit
at log(p / q), so the score comes out at log p, and at log(p / q) without. A weight of 1 / Q for
each negative has the same optimum, and every loss would have to know of it. A loss that learns a
number is given the bracket alone.
"""

from abc import ABC
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from twintide.problems import Problem


def _of_clicks(value: object) -> object:
    """Whoever writes a word here mostly means the items that were shown and not clicked."""
    if isinstance(value, str):
        raise ValueError(  # noqa: TRY004  pydantic tells ValueErrors
            "must be a number: negatives are items of other clicks. An item that was shown and not "
            "clicked is never one, since whatever retrieval showed was a very good match already; "
            "it is data for the ranking model"
        )
    return value


Count = Annotated[int, Field(ge=1, le=65_535), BeforeValidator(_of_clicks)]
Floats = npt.NDArray[np.float32]
Factor = Annotated[float, Field(ge=0.001, le=1000)]


class Loss(BaseModel, ABC):
    """What every kind of loss is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    needs_intercept: ClassVar[bool] = False
    """Whether it judges each score by itself, so that a learnt zero point has to be among them."""

    kind: str

    def drawn(self) -> int | None:
        """How many negatives are drawn for each click; None for none: it takes all, or has none."""
        return None

    def sharpness(self) -> float:
        """What a score is multiplied by before log Q is subtracted."""
        return 1.0

    def temperature(self, declared: float) -> float:
        """What similarities are divided by to begin with."""
        return declared

    def target_column(self) -> str | None:
        """The event column that holds the number which it learns; None where it learns an order."""
        return None

    def scaled(self, targets: Floats) -> Floats:
        """The numbers on the scale on which it learns them."""
        return targets

    def problems(self, *, reach: float) -> Iterator[Problem]:
        """Which keys mean nothing where similarity / temperature of two items differs by `reach` at
        most, by their own names.
        """
        del reach
        yield from ()


class AgainstOthers(Loss, ABC):
    """A loss that judges a click's item against others."""

    negatives: Count | None = None
    """How many of the batch's other items each click has as negatives, drawn evenly, with
    replacement; null takes them all.
    """

    def drawn(self) -> int | None:
        return self.negatives


class Softmax(AgainstOthers):
    """List-wise, and the default: sampled softmax, the clicked item against all negatives at once.
    The score learns how probable a click is.
    """

    kind: Literal["softmax"] = "softmax"


class Bce(AgainstOthers):
    """Point-wise: weighted cross-entropy, each item by itself, was it clicked or not. The score
    learns how probable a click is. Without `popularity_bias` an intercept is learnt in its place.
    """

    needs_intercept: ClassVar[bool] = True

    kind: Literal["bce"]

    negatives: Count = 3
    """Negatives of each click, drawn evenly from the batch's other items, with replacement; 2 or 3
    are usual.
    """

    gamma: Factor = 1.0
    """What scores are multiplied by. As 1 / temperature does, a larger one trades recall for
    precision; on plain cosines (`temperature: 1`) 1.2 is usual.
    """

    positive_weight: Factor = 1.2
    """What a click counts, where a negative counts 1."""

    def sharpness(self) -> float:
        return self.gamma


class Hinge(AgainstOthers):
    """Pair-wise: the clicked item's score is to be ahead of each negative's by a margin; beyond it
    a pair teaches nothing. The mean over the click's negatives.
    """

    kind: Literal["hinge"]

    margin: Annotated[float, Field(gt=0, le=2000)] = 2.0
    """In units of similarity / temperature: 2 at a temperature of 0.05 is 0.1 of a cosine."""

    def problems(self, *, reach: float) -> Iterator[Problem]:
        if self.margin >= reach:
            yield Problem(
                "margin",
                f"{self.margin:g} is never reached: cosine / temperature of two items differs by "
                f"{reach:g} at most, so that no pair would ever be done",
                hint=f"margin: {reach / 20:g} is a tenth of a cosine",
            )


class Logistic(AgainstOthers):
    """Pair-wise: log(1 + exp(sigma · (negative's score − clicked item's score))), a hinge that is
    smooth. The mean over the click's negatives.
    """

    kind: Literal["logistic"]

    sigma: Factor = 1.0
    """What differences of scores are multiplied by, as 1 / temperature does."""

    def sharpness(self) -> float:
        return self.sigma


class Bpr(AgainstOthers):
    """Pair-wise: minus log of the probability that the clicked item is preferred to a negative
    (Rendle et al., UAI 2009), the logistic loss at sigma 1. The mean over the click's negatives.
    """

    kind: Literal["bpr"]


class OfNumbers(Loss, ABC):
    """A loss that learns how large a number is, such as how long something is watched: the score
    itself, on the scale of what the nights have seen. No other item is judged, and log Q is none of
    its business.
    """

    needs_intercept: ClassVar[bool] = True

    column: Annotated[str, Field(min_length=1)]
    """Column of the event that holds the number, int64 or float64: seconds watched, money spent. An
    event where it is null is no positive.
    """

    def temperature(self, declared: float) -> float:
        """One: a similarity is about as large as a number on that scale."""
        del declared
        return 1.0

    def target_column(self) -> str | None:
        return self.column


class Mse(OfNumbers):
    """The squared distance of the score from a number of the event. The score learns the mean."""

    kind: Literal["mse"]


class LogMse(OfNumbers):
    """The squared distance from log(1 + the number): for durations and amounts, of which few are
    very large. With a click's log probability beside it, their sum orders by what is expected.
    """

    kind: Literal["log_mse"]

    def scaled(self, targets: Floats) -> Floats:
        found: Floats = np.log1p(np.maximum(targets, 0))
        return found


AnyLoss = Annotated[
    Softmax | Bce | Hinge | Logistic | Bpr | Mse | LogMse, Field(discriminator="kind")
]
"""Whatever may stand in `model.loss`."""

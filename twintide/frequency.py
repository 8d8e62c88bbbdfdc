"""How often each item is clicked, declared: what stands in `model.frequency`.

logQ needs it of every column of a batch; the model itself never sees it. No torch here.
"""

from abc import ABC
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _power_of_two(number: int) -> int:
    if number.bit_count() != 1:
        raise ValueError(f"must be a power of two, such as {1 << number.bit_length()}")
    return number


class Estimated(BaseModel, ABC):
    """What every kind of estimator is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str

    learning_rate: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    """What the newest click on an item counts in the mean gap between its clicks, once there were
    1 / learning_rate of them. A larger one follows popularity faster and is less exact.
    """

    newcomers: Literal["as_batch", "counted"] = "as_batch"
    """How frequent an item is taken to be in the batch of its first click, where it has one there:
    as the batch's others are in mean, which is too frequent for most and lets a model find more of
    what nobody has clicked yet; or as newcomers were counted to be.
    """


class Exact(Estimated):
    """One mean for each item, and the default."""

    kind: Literal["exact"] = "exact"

    most_items: Annotated[int, Field(ge=1024, le=200_000_000)] = 5_000_000
    """Items that are remembered, of 24 bytes each. When there are more, the half that was not
    clicked for longest is forgotten.
    """


class Hashed(Estimated):
    """As many means as there are slots, whatever comes: items whose hashes are equal share one
    (Yi et al., RecSys 2019, algorithm 3).
    """

    kind: Literal["hashed"]

    arrays: Annotated[int, Field(ge=1, le=8)] = 2
    """Hash functions, each with slots of its own. A collision can only shrink a gap, so the widest
    of them counts.
    """

    slots: Annotated[int, Field(ge=1024, le=1 << 28), AfterValidator(_power_of_two)] = 1 << 20
    """Of each of them, a power of two: several times the number of items."""


AnyFrequency = Annotated[Exact | Hashed, Field(discriminator="kind")]
"""Whatever may stand in `model.frequency`."""

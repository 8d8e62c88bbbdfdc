"""What a click counts: `model.reward` lets one that led to much teach more than one that led to
nothing (Yi et al., RecSys 2019, section 3: the log-likelihood is weighted by the reward).
"""

from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

Floats = npt.NDArray[np.float32]


class Reward(BaseModel):
    """A number of the click by which its loss is multiplied; a click without one counts 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    column: str
    """Column of the event, int64 or float64: seconds watched, money spent."""

    transform: Literal["none", "log1p"] = "none"
    """`log1p` takes log(1 + x), so that ten times as much does not count ten times."""

    divided_by: Annotated[float, Field(ge=1e-6, le=1e18)] = 1.0
    """Brings it, once transformed, to about 1."""

    at_most: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """What a click counts at most; the least is 0."""

    def of(self, events: pa.Table) -> Floats:
        """[N]: what each click counts."""
        numbers = events[self.column].cast(pa.float64(), safe=False)
        known = pc.is_finite(pc.fill_null(numbers, np.nan)).to_numpy()
        amounts = np.maximum(pc.fill_null(numbers, 0.0).to_numpy(), 0.0)
        if self.transform == "log1p":
            amounts = np.log1p(amounts)
        counts = np.clip(amounts / self.divided_by, 0.0, self.at_most)
        return np.where(known, counts, 1.0).astype(np.float32)

"""A number of an event: an age, a price, a length."""

from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from twintide.features.kind import Doubt, Known
from twintide.features.shapes import Measured
from twintide.ragged import Numbers

LARGEST = 1e4
"""Scaled numbers are cut here: one absurd value must not stop a line for good."""

LOUD = 30.0
"""A scaled number beyond this is far from the -1..1 of everything else that a tower sees."""

_LOUD_SHARE = 0.1


class Dense(Measured):
    """A number, scaled by a declared transform and cut at ±10,000; a missing one is 0."""

    readable: ClassVar[frozenset[str]] = frozenset({"int64", "float64", "bool"})

    kind: Literal["dense"]
    column: str
    """Column of the event, int64, float64 or bool."""

    transform: Literal["none", "log1p"] = "none"
    """`log1p` takes sign(x) · log(1 + |x|), for prices, counts and lengths."""

    divided_by: Annotated[float, Field(ge=1e-6, le=1e18)] = 1.0
    """Brings it, once transformed, to about -1..1."""

    standardise: bool = False
    """Bring it to mean 0 and spread 1 instead, by all that nightly retrains have seen; `transform`
    comes before.
    """

    def is_standardised(self) -> bool:
        return self.standardise

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def count(self) -> int:
        return 1

    def encode(self, events: pa.Table, *, time_column: str) -> Numbers:
        del time_column
        return Numbers(self._scaled(events[self.column])[:, None])

    def _scaled(self, column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
        exact_or_near = column.cast(pa.float64(), safe=False)  # beyond 2^53 rounded
        numbers = pc.fill_null(exact_or_near, 0.0).to_numpy()
        numbers = np.nan_to_num(numbers, posinf=0.0, neginf=0.0)
        if self.transform == "log1p":
            numbers = np.sign(numbers) * np.log1p(np.abs(numbers))
        with np.errstate(over="ignore"):  # infinity is cut as well
            cut = np.clip(numbers / self.divided_by, -LARGEST, LARGEST)
        return np.asarray(cut, np.float32)

    def sample(self, known: Known) -> Numbers:
        return Numbers(np.linspace(0, 1, known.count, dtype=np.float32)[:, None])

    def doubt(self, clicks: pa.Table, *, time_column: str) -> Doubt | None:
        del time_column
        if self.standardise:
            return None
        share = float((np.abs(self._scaled(clicks[self.column])) > LOUD).mean())
        if share <= _LOUD_SHARE:
            return None
        return Doubt(
            f"column {self.column!r} drowns what else the tower sees: {share:.0%} are beyond "
            f"±{LOUD:g}",
            "`standardise: true`, `transform: log1p` or a larger `divided_by` brings it to about "
            "-1..1",
        )

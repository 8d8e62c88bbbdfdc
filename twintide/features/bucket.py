"""A number of an event as one of a few ids: young and old differ in kind, not in degree."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field, FiniteFloat

from twintide.features.kind import Known
from twintide.features.shapes import OneId
from twintide.keys import NO_KEY, keys_of
from twintide.ragged import Ids, one_id_each


def _ascending(boundaries: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(boundaries)):
        raise ValueError("must ascend, each boundary once")
    return boundaries


class Bucket(OneId):
    """The range that a number lies in, looked up in an embedding table; a missing one is the
    default row.
    """

    readable: ClassVar[frozenset[str]] = frozenset({"int64", "float64"})

    kind: Literal["bucket"]
    column: str
    """Column of the event, int64 or float64."""

    boundaries: Annotated[
        tuple[FiniteFloat, ...], Field(min_length=1, max_length=1000), AfterValidator(_ascending)
    ]
    """Where a new range begins, ascending: [18, 30] makes three ranges, and 18 is in the second."""

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        numbers = events[self.column].cast(pa.float64(), safe=False)
        known = pc.is_finite(pc.fill_null(numbers, np.nan)).to_numpy()
        ranges = np.searchsorted(self.boundaries, pc.fill_null(numbers, 0.0).to_numpy(), "right")
        keys = keys_of(pa.array(ranges.astype(np.int64)))
        keys[~known] = NO_KEY
        return one_id_each(keys)

    def sample(self, known: Known) -> Ids:
        return one_id_each(keys_of(pa.array(np.arange(known.count) % (len(self.boundaries) + 1))))

"""Several ids of an event as one: what holds for men in Rome need not hold for men or for Rome."""

from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import Known, spread
from twintide.features.shapes import OneId
from twintide.keys import NO_KEY, keys_of, mixed
from twintide.ragged import Ids, one_id_each


class Cross(OneId):
    """Several columns as one id, looked up in an embedding table; where one of them is missing it
    is the default row.
    """

    readable: ClassVar[frozenset[str]] = frozenset({"string", "int64", "bool"})
    column_key: ClassVar[str] = "columns"

    kind: Literal["cross"]
    columns: Annotated[tuple[str, ...], Field(min_length=2, max_length=8)]
    """Columns of the event, string, int64 or bool."""

    buckets: Annotated[int, Field(ge=1, le=2**40)] | None = None
    """Into how many ids the pairs are hashed, so that the table stays that small; null: each pair
    has an id of its own.
    """

    def reads(self) -> tuple[str, ...]:
        return self.columns

    def is_of_users_or_items(self, events: EventSchema) -> bool:
        return bool({events.user, events.item} & set(self.columns))

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        crossed = np.zeros(len(events), np.uint64)
        missing = np.zeros(len(events), np.bool_)
        for column in self.columns:
            keys = keys_of(events[column])
            crossed = mixed(crossed ^ keys)  # mixing in between: (a, b) is not (b, a)
            missing |= keys == NO_KEY
        if self.buckets is not None:
            crossed %= np.uint64(self.buckets)
            crossed += np.uint64(1)
        crossed[crossed == NO_KEY] = 1
        crossed[missing] = NO_KEY
        return one_id_each(crossed)

    def sample(self, known: Known) -> Ids:
        return one_id_each(spread(known.ids_in(self.table), known.count))

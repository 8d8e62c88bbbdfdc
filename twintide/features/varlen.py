"""A list of ids of an event: topics, tags, followed authors."""

from typing import Annotated, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import Doubt, Known, a_few_each
from twintide.features.shapes import ManyIds
from twintide.ragged import Ids, cut_to, lists_of_ids

_ALL = 10_000
"""Ids of one list: an event has no more."""


class Varlen(ManyIds):
    """A list of ids, pooled; an empty list is the zero vector."""

    readable: ClassVar[frozenset[str]] = frozenset({"list<string>", "list<int64>"})

    tuned: ClassVar[frozenset[str]] = frozenset({"max_length", "told_length"})
    later_keys: ClassVar[frozenset[str]] = frozenset({"told_length"})

    kind: Literal["varlen"]
    column: str
    """Column of the event, list<string> or list<int64>."""

    pooling: Literal["mean", "sum"] = "mean"
    """What becomes of several rows."""

    max_length: Annotated[int, Field(ge=1, le=_ALL)] = _ALL
    """Ids of one list that are kept: its first ones."""

    told_length: Annotated[int, Field(ge=1, le=_ALL)] = _ALL
    """Ids of one list that the model is told: its first ones. Unlike with `max_length` the others
    are kept, so that requests may filter by each of them.
    """

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def is_filterable(self) -> bool:
        return True

    @property
    def reads_all(self) -> bool:
        return self.max_length == _ALL

    def told(self, ids: Ids) -> Ids:
        return ids if self.told_length == _ALL else cut_to(ids, self.told_length)

    def pools(self) -> Literal["mean", "sum"]:
        return self.pooling

    def id_type(self, events: EventSchema) -> str:
        return events.columns.get(self.column, "int64")

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        return cut_to(lists_of_ids(events[self.column]), self.max_length)

    def sample(self, known: Known) -> Ids:
        return a_few_each(known.ids_in(self.table), known.count)

    def doubt(self, clicks: pa.Table, *, time_column: str) -> Doubt | None:
        del time_column
        if pc.sum(pc.list_value_length(clicks[self.column])).as_py():
            return None
        reason = f"every list of column {self.column!r} is empty in the sample"
        return Doubt(reason, "leave the feature out")

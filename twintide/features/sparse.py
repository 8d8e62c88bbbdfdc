"""One id of an event: a user, an item, a category, a region."""

from typing import ClassVar, Literal

import pyarrow as pa

from twintide.events import EventSchema
from twintide.features.kind import Known, spread
from twintide.features.shapes import OneId
from twintide.keys import keys_of
from twintide.ragged import Ids, one_id_each


class Sparse(OneId):
    """One id, looked up in an embedding table; an unknown or missing id is its default row."""

    readable: ClassVar[frozenset[str]] = frozenset({"string", "int64", "bool"})

    kind: Literal["sparse"]
    column: str
    """Column of the event, string, int64 or bool."""

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def is_filterable(self) -> bool:
        return True

    def is_id(self, column: str) -> bool:
        return self.column == column

    def id_type(self, events: EventSchema) -> str:
        return events.columns.get(self.column, "int64")

    def is_of_users_or_items(self, events: EventSchema) -> bool:
        return self.column in {events.user, events.item}

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        return one_id_each(keys_of(events[self.column]))

    def sample(self, known: Known) -> Ids:
        if self.column == known.user_column:
            return one_id_each(known.users)
        return one_id_each(spread(known.ids_in(self.table), known.count))

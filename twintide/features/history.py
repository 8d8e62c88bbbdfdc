"""What a user clicked before an event."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import Known, Side
from twintide.features.shapes import ManyIds
from twintide.ragged import Ids


class History(ManyIds):
    """The items that the user clicked last, before this event, pooled; derived from the stream."""

    is_derived: ClassVar[bool] = True
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the user")
    at_most_one: ClassVar[bool] = True

    kind: Literal["history"]
    length: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Items that are remembered of each user."""

    pooling: Literal["mean", "sum"] = "mean"
    """What becomes of several rows."""

    def pools(self) -> Literal["mean", "sum"]:
        return self.pooling

    def id_type(self, events: EventSchema) -> str:
        return events.columns.get(events.item, "int64")

    def is_of_users_or_items(self, events: EventSchema) -> bool:
        del events
        return True

    def sample(self, known: Known) -> Ids:
        return known.history(self.length)

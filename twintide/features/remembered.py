"""What all features of a user's clicked items have in common."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import LookedUp, Side


class Remembered(LookedUp):
    """Items that the user clicked before an event, out of the histories of the ordered pass."""

    derived_from: ClassVar[Literal["histories", "item_clicks"] | None] = "histories"
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the user")
    length: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Items that are remembered of each user."""

    def id_type(self, events: EventSchema) -> str:
        return events.columns.get(events.item, "int64")

    def is_of_users_or_items(self, events: EventSchema) -> bool:
        del events
        return True

    def reach(self) -> int:
        return self.length

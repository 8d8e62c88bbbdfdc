"""What a user clicked before an event."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import Known, Side
from twintide.features.shapes import ManyIds
from twintide.ragged import Ids, newest


class History(ManyIds):
    """The items that the user clicked last, before this event, pooled; derived from the stream.
    A model may have several: the last item alone (`length: 1`) beside the last twenty.
    """

    derived_from: ClassVar[Literal["histories", "item_clicks"] | None] = "histories"
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the user")

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

    def reach(self) -> int:
        return self.length

    def of_histories(self, histories: Ids) -> Ids:
        return newest(histories, self.length)

    def sample(self, known: Known) -> Ids:
        return known.history(self.length)

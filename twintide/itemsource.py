"""The `items:` of a declaration: what says which items there are, before anybody clicks them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from twintide.events import EventSchema
from twintide.modelspec import ModelSpec
from twintide.places import Place
from twintide.topicname import TopicName


class ItemsConfig(BaseModel):
    """A source of items with what they are and whether they can be had. Without one the catalogue
    is every item that was ever clicked, as clicks last told of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    file: Place | None = None
    """A Parquet file, or a folder of them, with one row for each item; rename another one over it
    at any time. Its columns are called and typed as the event columns that candidate features read;
    what it says of an item counts more than what clicks say.
    """

    topic: TopicName | None = None
    """In place of a file: a compacted Kafka topic. A message's key is the item's id, its value a
    JSON object with the fields that a file would have as columns; a message without a value delists
    the item.
    """

    id_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of item ids; null: called as `events.item` is."""

    available_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of true and false: an item that is not available leaves the index at the next
    publish. Null, there or here, is available.
    """

    listed_at_column: Annotated[str, Field(min_length=1)] | None = None
    """Its column of the instants at which items were listed: then `item_statistics` tell the age
    since that, and not since the first click.
    """

    complete: bool = False
    """Whether it holds all items: one that it lacks then leaves the index, even if clicked."""

    look_every_minutes: Annotated[int, Field(ge=1, le=1440)] = 10
    """How often the scheduler looks whether it says something new, which is then published."""

    @property
    def is_declared(self) -> bool:
        """Whether there is a source at all."""
        return self.file is not None or self.topic is not None

    def ids_in(self, events: EventSchema) -> str:
        """Its column of item ids."""
        return self.id_column or events.item


def attributes_of(events: EventSchema, model: ModelSpec) -> tuple[str, ...]:
    """The event columns that a source of items may fill: those that candidate features read, but
    for the item's id.
    """
    return tuple(name for name in model.columns_read("candidate") if name != events.item)

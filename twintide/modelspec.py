"""The `model:` of a declaration: what a two-tower model sees, its tables, its towers, its loss."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from twintide.events import EventSchema
from twintide.features import Feature
from twintide.features.history import History
from twintide.features.item_statistics import ItemStatistics
from twintide.features.kind import SIDES, Kind, LookedUp, Side

LayerWidth = Annotated[int, Field(ge=16, le=16_384)]
"""In a narrower layer all units may die at once, and every item gets the same vector."""


class ModelSpec(BaseModel):
    """A two-tower model: its features, its tables, its towers, its loss."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    embedding_width: Annotated[int, Field(ge=4, le=1024)] = 64
    """Numbers in one row of a table."""

    query: Annotated[tuple[Feature, ...], Field(min_length=1)]
    """What the query tower sees: the user and the moment."""

    candidate: Annotated[tuple[Feature, ...], Field(min_length=1)]
    """What the candidate tower sees: the item. One sparse feature reads the item's id."""

    hidden: Annotated[tuple[LayerWidth, ...], Field(max_length=16)] = (256, 128)
    """Widths of the hidden layers of both towers."""

    output_width: Annotated[int, Field(ge=8, le=1024)] = 64
    """Numbers in one vector of the index."""

    temperature: Annotated[float, Field(ge=0.001, le=100)] = 0.05
    """What cosines are divided by; learnt from here on by the nightly retrain."""

    popularity_bias: bool = True
    """Add a learnt number per item to the score: on news-like streams popularity is signal."""

    logq: bool = True
    """Correct the sampled softmax for how often an item is drawn as a candidate."""

    def features(self, side: Side) -> tuple[Feature, ...]:
        """What the tower of that side sees, in the order of its inputs."""
        return self.query if side == "query" else self.candidate

    def all_features(self) -> Iterator[tuple[Side, Feature]]:
        """Every feature, with the side whose tower sees it."""
        for side in SIDES:
            for feature in self.features(side):
                yield side, feature

    def lookups(self, side: Side) -> tuple[LookedUp, ...]:
        """The features of a side that look rows up in a table."""
        return tuple(f for f in self.features(side) if isinstance(f, LookedUp))

    def input_width(self, features: tuple[Kind, ...]) -> int:
        """Numbers that these features give to a tower, side by side."""
        return sum(feature.width(self.embedding_width) for feature in features)

    def columns_read(self, side: Side) -> tuple[str, ...]:
        """Event columns that a side's features read, in order of first use."""
        names = [name for feature in self.features(side) for name in feature.reads()]
        return tuple(dict.fromkeys(names))

    def table_names(self, side: Side) -> tuple[str, ...]:
        """Tables that a side reads, in order of first use."""
        return tuple(dict.fromkeys(feature.table for feature in self.lookups(side)))

    def all_table_names(self) -> tuple[str, ...]:
        """Tables that either side reads, in order of first use."""
        return tuple(dict.fromkeys((*self.table_names("query"), *self.table_names("candidate"))))

    def id_tables(self, events: EventSchema) -> tuple[str, ...]:
        """Tables looked up by user or item id: all that an hourly pass may change."""
        lookups = (*self.lookups("query"), *self.lookups("candidate"))
        return tuple(dict.fromkeys(f.table for f in lookups if f.is_of_users_or_items(events)))

    def item_feature(self, events: EventSchema) -> LookedUp:
        """The candidate's item id; its table has a row for every item of the catalogue."""
        return next(f for f in self.lookups("candidate") if f.is_id(events.item))

    def history(self) -> History | None:
        """The history feature, where the model declares one."""
        return next((f for f in self.query if isinstance(f, History)), None)

    def item_statistics(self) -> ItemStatistics | None:
        """The item statistics, where the model declares them."""
        return next((f for f in self.candidate if isinstance(f, ItemStatistics)), None)

"""What all features of what a user did before have in common."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field

from twintide.conditions import fits
from twintide.events import Condition, EventSchema
from twintide.features.kind import DerivedFrom, LookedUp, Side
from twintide.problems import Problem


class Remembered(LookedUp):
    """Items of what the user did before an event, out of the histories of the ordered pass."""

    derived_from: ClassVar[DerivedFrom | None] = "histories"
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belongs to the user")
    later_keys: ClassVar[frozenset[str]] = frozenset({"of"})
    tuned: ClassVar[frozenset[str]] = frozenset({"length"})

    of: Condition | None = None
    """Which events it remembers, said as `events.positive` is: likes, skips, whatever is in the
    stream, clicks or not; null: clicks. To be remembered makes an event neither a positive nor its
    item a negative: it is what the user did, and an input.
    """

    length: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Items that are remembered of each user."""

    def id_type(self, events: EventSchema) -> str:
        return events.columns.get(events.item, "int64")

    def is_of_users_or_items(self, events: EventSchema) -> bool:
        del events
        return True

    def problems(self, events: EventSchema) -> Iterator[Problem]:
        if self.of is not None:
            yield from fits("of", self.of, events)
            if self.of == events.positive:
                yield Problem(
                    "of",
                    "is what events.positive says: clicks are remembered without it",
                    hint="leave it out",
                )

    def remembers(self) -> Condition | None:
        return self.of

    def reach(self) -> int:
        return self.length

"""What a user clicked before an event, in its order, and what of it matters now."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from twintide.features.kind import Known, Sequence, WidthOf
from twintide.features.remembered import Remembered
from twintide.features.shapes import AgedIds
from twintide.problems import Problem
from twintide.ragged import Ids, newest


class AttentionHistory(Remembered, AgedIds):
    """The items that the user clicked last, before this event, as a small causal encoder sees them:
    each item after those before it, with its age; derived from the stream. It begins as the mean of
    their rows, and the nightly retrain learns what of them matters.
    """

    tuned: ClassVar[frozenset[str]] = Remembered.tuned | {"layers"}

    kind: Literal["attention_history"]
    length: Annotated[int, Field(ge=1, le=200)] = 20
    """Items that are remembered of each user."""

    layers: Annotated[int, Field(ge=1, le=4)] = 1
    """Layers of self-attention, each over what the one before made of an item and those before it.
    """

    heads: Annotated[int, Field(ge=1, le=16)] = 1
    """Into how many parts of a row attention looks by itself; the width of the table is a multiple.
    """

    def reads_ages(self) -> bool:
        return True

    def sequence(self) -> Sequence:
        return Sequence(length=self.length, layers=self.layers, heads=self.heads)

    def misfits(self, width_of: WidthOf) -> Iterator[Problem]:
        if width_of(self.table) % self.heads:
            yield Problem(
                "heads",
                f"{self.heads} do not divide a row of table {self.table!r}, which is "
                f"{width_of(self.table)} wide",
                hint="such as heads: 1",
                reads=("model.embedding_width", "model.tables"),
            )

    def of_histories(self, histories: Ids) -> Ids:
        return newest(histories, self.length)

    def sample(self, known: Known) -> Ids:
        return self.of_histories(known.history(self))

"""What a user clicked before an event, the newest of it most."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import Known
from twintide.features.remembered import Remembered
from twintide.features.shapes import WeightedIds
from twintide.problems import Problem
from twintide.ragged import Ids, newest

FADING_CLICK: dict[str, Any] = {"length": 1, "half_life_hours": 0.2, "pooling": "sum"}
"""Of a declaration: what was clicked last, of which half is left after 12 minutes."""


class DecayedHistory(Remembered, WeightedIds):
    """The items that the user clicked last, before this event, pooled so that an item counts half
    of one that came `half_life_items` later, or `half_life_hours` later; derived from the stream.
    """

    later_keys: ClassVar[frozenset[str]] = Remembered.later_keys | {"half_life_hours", "pooling"}
    tuned: ClassVar[frozenset[str]] = Remembered.tuned | {"half_life_items", "half_life_hours"}

    kind: Literal["decayed_history"]
    length: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Items that are remembered of each user."""

    half_life_items: Annotated[float, Field(ge=0.1, le=10_000)] = 5.0
    """After how many newer items an item counts half."""

    half_life_hours: Annotated[float, Field(ge=0.01, le=1e6)] | None = None
    """After how many hours an item counts half, as of the event's time; null: items are counted."""

    pooling: Literal["mean", "sum"] = "mean"
    """The weighted `mean`, to which what is old counts as little as what is new counts much; or the
    `sum` of weight · row, which fades as all of it grows old.
    """

    def reads_ages(self) -> bool:
        return self.half_life_hours is not None

    def problems(self, events: EventSchema) -> Iterator[Problem]:
        yield from super().problems(events)
        default = type(self).model_fields["half_life_items"].default
        if self.half_life_hours is not None and self.half_life_items != default:
            yield Problem(
                "half_life_items",
                "is given, and half_life_hours too",
                hint="leave one of them out",
            )

    def of_histories(self, histories: Ids) -> Ids:
        ids = newest(histories, self.length)
        rows = ids.row_of_key()
        half_lives = self._half_lives(ids)
        if self.pooling == "sum":
            return Ids(ids.keys, ids.offsets, np.exp2(-half_lives).astype(np.float32))
        # Of the newest, which counts 1 before all are shares: what is very old is not 0 of 0.
        counts = np.exp2(self._of_newest(half_lives, ids)[rows] - half_lives)
        totals = np.bincount(rows, counts, minlength=len(ids))
        return Ids(ids.keys, ids.offsets, (counts / totals[rows]).astype(np.float32))

    def _half_lives(self, ids: Ids) -> npt.NDArray[np.float64]:
        """How many of them lie behind each item."""
        if self.half_life_hours is None:
            newer = np.repeat(ids.offsets[1:], np.diff(ids.offsets)) - 1 - np.arange(len(ids.keys))
            found: npt.NDArray[np.float64] = newer / self.half_life_items
            return found
        if ids.ages is None:
            raise TypeError("a history without ages")
        return ids.ages.astype(np.float64) / self.half_life_hours

    @staticmethod
    def _of_newest(half_lives: npt.NDArray[np.float64], ids: Ids) -> npt.NDArray[np.float64]:
        """[B]: that of each row's last item."""
        last = np.append(half_lives, 0.0)[ids.offsets[1:] - 1]
        return np.where(np.diff(ids.offsets) > 0, last, 0.0)

    def sample(self, known: Known) -> Ids:
        return self.of_histories(known.history(self))

"""How an item fares in the stream."""

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from twintide.features.kind import DerivedFrom, Side
from twintide.features.refreshed import Refreshed, Windows

LOG_SHARE_SCALE = 3.0
"""What log shares are divided by, to bring them to about 0..2."""


class ItemStatistics(Refreshed):
    """How the item fares: log share of all clicks in each window, trend, age; derived from the
    stream.

    They are as of the start of the event's `refresh_minutes`, since that is what a server has.
    """

    derived_from: ClassVar[DerivedFrom | None] = "item_clicks"
    only_tower: ClassVar[tuple[Side, str]] = ("candidate", "belong to the item")
    at_most_one: ClassVar[bool] = True

    kind: Literal["item_statistics"]
    windows_minutes: Windows = (10, 60, 180, 1440)
    """How far back each share of clicks looks; the trend is the first less the last."""

    @property
    def count(self) -> int:
        """A share for each window, trend, age, and whether the item is new."""
        return len(self.windows_minutes) + 3

    def popularity(self) -> tuple[int, float]:
        """Its log share of clicks in the longest window."""
        return self.windows_minutes.index(max(self.windows_minutes)), LOG_SHARE_SCALE

    def unclicked(self, age_hours: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """float32 [N, count]: of items that nobody has clicked."""
        nothing = np.zeros((len(age_hours), self.count), np.float32)
        return self.aged(nothing, age_hours, np.ones(len(age_hours), np.bool_))

    def aged(
        self,
        values: npt.NDArray[np.float32],
        age_hours: npt.NDArray[np.float64],
        where: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float32]:
        """`values` with these ages in the rows of `where`."""
        changed = values.copy()
        for place, numbers in zip((-2, -1), ages(age_hours), strict=True):
            changed[where, place] = numbers[where]
        return changed


def ages(
    age_hours: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """The last two statistics of items of these ages: how old, and whether new."""
    return np.log1p(np.maximum(age_hours, 0.0)) / 4.0, age_hours <= 0

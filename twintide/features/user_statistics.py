"""How much a user has clicked of late."""

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from twintide.features.item_statistics import ages
from twintide.features.kind import DerivedFrom, Known, Side
from twintide.features.refreshed import Refreshed, Windows
from twintide.ragged import Numbers

LOG_CLICKS_SCALE = 3.0
"""What log(1 + clicks) is divided by, to bring it to about 0..2."""


class UserStatistics(Refreshed):
    """How active the user is: log(1 + clicks) in each window, hours since the first click on a log
    scale, and whether the user is new; derived from the stream. A user of whom no click was stored
    before the refresh is new.
    """

    derived_from: ClassVar[DerivedFrom | None] = "user_clicks"
    only_tower: ClassVar[tuple[Side, str]] = ("query", "belong to the user")
    at_most_one: ClassVar[bool] = True

    kind: Literal["user_statistics"]
    windows_minutes: Windows = (60, 1440, 10_080)
    """How far back each count of clicks looks."""

    @property
    def count(self) -> int:
        """A count for each window, age, and whether the user is new."""
        return len(self.windows_minutes) + 2

    def numbers(
        self, counts: npt.NDArray[np.int64], age_hours: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """float32 [N, count], of clicks [N, windows]; a user is new at an age of 0."""
        age, is_new = ages(age_hours)
        clicks = np.log1p(counts) / LOG_CLICKS_SCALE
        return np.concatenate((clicks, age[:, None], is_new[:, None]), axis=1).astype(np.float32)

    def of_new(self, users: int) -> npt.NDArray[np.float32]:
        """float32 [users, count]: of users that nobody knows."""
        nothing = np.zeros((users, len(self.windows_minutes)), np.int64)
        return self.numbers(nothing, np.zeros(users))

    def sample(self, known: Known) -> Numbers:
        return Numbers(
            np.linspace(0, 1, known.count * self.count, dtype=np.float32).reshape(-1, self.count)
        )

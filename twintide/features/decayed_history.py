"""What a user clicked before an event, the newest of it most."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from twintide.features.kind import Known
from twintide.features.remembered import Remembered
from twintide.features.shapes import WeightedIds
from twintide.ragged import Ids, newest


class DecayedHistory(Remembered, WeightedIds):
    """The items that the user clicked last, before this event, as a weighted mean in which an item
    counts half of one that came `half_life_items` later; derived from the stream.
    """

    kind: Literal["decayed_history"]
    length: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Items that are remembered of each user."""

    half_life_items: Annotated[float, Field(ge=0.1, le=10_000)] = 5.0
    """After how many newer items an item counts half."""

    def of_histories(self, histories: Ids) -> Ids:
        ids = newest(histories, self.length)
        lengths = np.diff(ids.offsets)
        newer = np.repeat(ids.offsets[1:], lengths) - 1 - np.arange(len(ids.keys))
        counts = np.exp2(-newer / self.half_life_items)
        totals = np.bincount(ids.row_of_key(), counts, minlength=len(ids))
        shares = counts / np.repeat(totals, lengths)
        return Ids(ids.keys, ids.offsets, shares.astype(np.float32))

    def sample(self, known: Known) -> Ids:
        return self.of_histories(known.history(self.length))

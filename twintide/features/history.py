"""What a user clicked before an event."""

from typing import Literal

from twintide.features.kind import Known
from twintide.features.remembered import Remembered
from twintide.features.shapes import ManyIds
from twintide.ragged import Ids, newest


class History(Remembered, ManyIds):
    """The items that the user clicked last, before this event, pooled; derived from the stream.
    With `of` those that the user liked, or skipped, or did anything else with. A model may have
    several: the last item alone (`length: 1`) beside the last twenty.
    """

    kind: Literal["history"]
    pooling: Literal["mean", "sum"] = "mean"
    """What becomes of several rows."""

    def pools(self) -> Literal["mean", "sum"]:
        return self.pooling

    def of_histories(self, histories: Ids) -> Ids:
        return newest(histories, self.length)

    def sample(self, known: Known) -> Ids:
        return self.of_histories(known.history(self))

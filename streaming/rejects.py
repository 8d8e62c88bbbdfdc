"""How many bad messages are too many: one is set aside, a flood stops the line.

Training on the good rest of a broken stream would teach the model the break.
"""

import numpy as np
import numpy.typing as npt

from twintide.errors import Refused

WINDOW = 10_000
"""Messages of a partition that are judged together."""

_FEWEST = 1_000
"""A shorter past counts as this long, so that the first bad message is no flood."""


class RejectWatch:
    """The newest messages of each partition: which were bad."""

    def __init__(self, topic: str, *, max_ratio: float) -> None:
        self._topic = topic
        self._max_ratio = max_ratio
        self._newest: dict[int, npt.NDArray[np.bool_]] = {}

    def forget(self, partition: int) -> None:
        """What was seen will be read again."""
        self._newest.pop(partition, None)

    def check(self, partition: int, is_bad: npt.NDArray[np.bool_], *, sample: str) -> None:
        """Judge the messages of the next shard; `sample` is a reason to show.

        Raises Refused where any WINDOW messages in a row hold too many bad ones.
        """
        past = self._newest.get(partition, np.zeros(0, np.bool_))
        seen = np.concatenate([past, is_bad])
        self._newest[partition] = seen[-(WINDOW - 1) :]
        if not is_bad.any():
            return
        bad_before = np.concatenate([[0], np.cumsum(seen)])
        width = min(WINDOW, len(seen))
        worst = int((bad_before[width:] - bad_before[:-width]).max())
        judged = max(width, _FEWEST)
        if worst > self._max_ratio * judged:
            raise Refused(
                f"{worst} of {judged} messages in a row of {self._topic}, partition {partition}, "
                f"are bad (such as: {sample})",
                hint="mend the producer or `events`; shards.max_rejected_ratio is the limit",
            )

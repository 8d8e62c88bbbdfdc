"""Runs of Kafka messages, as plain values: what the source hands out and the cutter cuts.

Nothing here knows Kafka or the disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

OVERHEAD_BYTES = 64
"""What one message costs in memory besides its value: the object, its offset and its time."""


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one partition in offset order; n of them."""

    offsets: Int64s
    """Shape [n], growing; holes are legal (compaction, transactions)."""

    next: int
    """Position after them: beyond the last offset + 1 where something without a message follows."""

    times_ms: Int64s
    """Shape [n]: the broker's time of each message (CreateTime or LogAppendTime), Unix ms."""

    values: Sequence[Any]
    """n values; bytes, or None for a tombstone. The cutter never looks at them."""

    bytes: int
    """Roughly what they hold in memory."""

    def __len__(self) -> int:
        return len(self.offsets)

    def split(self, at: int) -> tuple["Messages", "Messages"]:
        """The first `at` messages, whose `next` is the offset of the one behind, and the rest."""
        share = self.bytes * at // max(1, len(self))
        behind = int(self.offsets[at])
        return (
            Messages(self.offsets[:at], behind, self.times_ms[:at], self.values[:at], share),
            Messages(
                self.offsets[at:],
                self.next,
                self.times_ms[at:],
                self.values[at:],
                self.bytes - share,
            ),
        )


def messages_of(
    offsets: Int64s,
    next_offset: int,
    times_ms: Int64s,
    values: Sequence[bytes | None],
    *,
    size: int | None = None,
) -> Messages:
    """Messages and what they hold in memory; `size` is that of the values, where it is known."""
    if size is None:
        size = sum(len(value) for value in values if value is not None)
    return Messages(offsets, next_offset, times_ms, values, size + OVERHEAD_BYTES * len(values))


def joined(runs: Sequence[Messages]) -> Messages:
    """Some runs of a partition, one behind the other, as one."""
    if len(runs) == 1:
        return runs[0]
    return Messages(
        np.concatenate([run.offsets for run in runs]),
        runs[-1].next,
        np.concatenate([run.times_ms for run in runs]),
        list(chain.from_iterable(run.values for run in runs)),
        sum(run.bytes for run in runs),
    )

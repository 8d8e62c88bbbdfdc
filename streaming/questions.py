"""When the brokers are asked what the logs of which partitions hold, and whose answer counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from streaming.ask import Said
from streaming.reading import Reading
from streaming.source import Source
from twintide.clock import Clock, monotonic_seconds
from twintide.shards import ShardFooter

_LOOK_SECONDS = 5.0
_SOON_SECONDS = 0.5


@dataclass(frozen=True)
class Asked:
    """One question."""

    at: datetime
    position: int
    """Where the partition was read to by then. More may have been read when the answer comes, of
    what was written since and of later leader epochs: an answer says nothing of that.
    """


class Questions:
    """Those that are open: one for each partition at most."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._asked: dict[int, Asked] = {}
        """By partition, while nobody has answered."""

        self._looked_at = 0.0

    def forget(self, partition: int) -> None:
        """An answer that is still on its way says nothing any more."""
        self._asked.pop(partition, None)

    def answered(self, said: Said) -> Asked | None:
        """What this answers; None where nobody waits for it: the partition may have been taken from
        us, or have begun anew since.
        """
        asked = self._asked.get(said.partition)
        if asked is None or asked.at != said.at:
            return None
        return self._asked.pop(said.partition)

    def ask(
        self, to_resume: Mapping[int, ShardFooter | None], readings: Mapping[int, Reading]
    ) -> None:
        """Ask for the logs of partitions: those to resume at once, the others now and then."""
        wanted = set(to_resume)
        is_time = monotonic_seconds() - self._looked_at >= self._look_after(readings)
        if is_time:
            self._looked_at = monotonic_seconds()
            wanted |= set(readings)
            self._source.tell_group({p: each.cutter.first for p, each in readings.items()})
        wanted -= set(self._asked)
        # Asked for none, it still says that it answers, and what the topic is.
        if wanted or is_time:
            at = self._clock.now()
            self._asked |= {p: Asked(at, _position(readings.get(p))) for p in wanted}
            epochs = {p: _epoch_at(to_resume.get(p), readings.get(p)) for p in wanted}
            self._source.ask(epochs, at=at)

    def _look_after(self, readings: Mapping[int, Reading]) -> float:
        """Soon, where a partition stands at the end and that is not written down yet."""
        is_news = any(
            each.cutter.is_empty
            and each.watermark_next != each.cutter.next
            and self._source.is_at_end(partition, each.cutter.next)
            for partition, each in readings.items()
        )
        return _SOON_SECONDS if is_news or not self._source.owned else _LOOK_SECONDS


def _position(reading: Reading | None) -> int:
    return 0 if reading is None else reading.cutter.next


def _epoch_at(before: ShardFooter | None, reading: Reading | None) -> int:
    """The leader epoch at a partition's position; -1 where it is not known."""
    found = before.leader_epoch if before else reading.leader_epoch if reading else None
    return -1 if found is None else found

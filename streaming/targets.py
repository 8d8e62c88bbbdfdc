"""How far a run that ends by itself reads: to where the logs ended when it began."""

from dataclasses import dataclass
from datetime import datetime

from streaming.ask import LogState


@dataclass(frozen=True)
class Target:
    """How far one partition is read."""

    until: int
    """What is committed by then: an open transaction holds back what lies behind."""

    end: int
    at: datetime
    """When its log was asked for."""


class Targets:
    """Partition -> its target, once its leader has said what its log holds."""

    def __init__(self) -> None:
        self._of: dict[int, Target] = {}

    def __getitem__(self, partition: int) -> Target:
        return self._of[partition]

    def note(self, partition: int, log: LogState, at: datetime) -> None:
        """The first answer counts: what comes later is for another run."""
        self._of.setdefault(partition, Target(until=min(log.stable, log.end), end=log.end, at=at))

    def is_reached(self, partition: int, position: int) -> bool:
        """Whether all is read up to there; False while nobody knows where that is."""
        target = self._of.get(partition)
        return target is not None and position >= target.until

    def waiting(self, partition: int, position: int) -> int:
        """Messages of the log as it was then that are not read."""
        return max(0, self._of[partition].end - position)

"""Partitions that cannot be read at the moment: why, who must act, and when each is tried again.

What goes wrong with one partition is its own affair: the others are read on. This module keeps the
book of it and says each trouble once, again when it changes, and once a minute while it lasts. It
never touches Kafka or the disk.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from twintide.clock import monotonic_seconds
from twintide.errors import TwintideError

_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 5.0
_OPERATOR_RETRY_SECONDS = 30.0
_TELL_SECONDS = 60.0

Tell = Callable[["Trouble"], None]


class Ends(Enum):
    """What shows that a trouble is over."""

    ANSWER = auto()
    """Its leader says what its log holds, and reading goes on from the newest shard."""

    READ = auto()
    """What lies at the offset in question was read."""

    COMMIT = auto()
    """A shard was committed; this ends every trouble."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with one partition."""

    partition: int
    error: TwintideError
    ends: Ends
    needs_operator: bool
    """Whether it does not pass by itself."""

    offset: int
    """The one in question; -1 where it is about none."""

    since: float
    """Monotonic seconds when it began."""

    retry_at: float
    """Monotonic seconds when it is tried again."""

    tries: int = 1
    """How often in a row."""

    told_at: float = 0.0


class Troubles:
    """Partition -> its trouble, for those that have one."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._of: dict[int, Trouble] = {}

    def __contains__(self, partition: int) -> bool:
        return partition in self._of

    def all(self) -> list[Trouble]:
        """By partition."""
        return [self._of[partition] for partition in sorted(self._of)]

    def of(self, partition: int) -> Trouble | None:
        """The trouble of a partition; None where it has none."""
        return self._of.get(partition)

    def add(
        self,
        partition: int,
        error: TwintideError,
        *,
        ends: Ends,
        needs_operator: bool = False,
        offset: int = -1,
    ) -> None:
        """Something went wrong, for the first time or again."""
        now = monotonic_seconds()
        before = self._of.get(partition)
        tries = 1 if before is None else before.tries + 1
        wait = min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 10))
        trouble = Trouble(
            partition,
            error,
            ends,
            needs_operator=needs_operator,
            offset=offset,
            since=now if before is None else before.since,
            retry_at=now + (_OPERATOR_RETRY_SECONDS if needs_operator else wait),
            tries=tries,
            told_at=now if before is None else before.told_at,
        )
        is_other = before is None or before.ends != ends or before.needs_operator != needs_operator
        if is_other or now - trouble.told_at >= _TELL_SECONDS:
            trouble = replace(trouble, told_at=now)
            self._tell(trouble)
        self._of[partition] = trouble

    def end(self, partition: int, by: Ends, *, position: int = -1) -> bool:
        """Something went well; whether that ends a trouble. `position`: what was read up to."""
        trouble = self._of.get(partition)
        if trouble is None or (by is not Ends.COMMIT and by is not trouble.ends):
            return False
        if by is Ends.READ and position <= trouble.offset:
            return False
        del self._of[partition]
        return True

    def forget(self, partition: int) -> None:
        """It is not ours any more."""
        self._of.pop(partition, None)

    def are_all_for_an_operator(self, partitions: frozenset[int]) -> bool:
        """Whether none of these can be read before somebody has decided something."""
        return bool(partitions) and all(
            partition in self._of and self._of[partition].needs_operator for partition in partitions
        )

"""How far a log has been taken, partition by partition: comparing positions, and combining them.

A partition that a position does not name has not been begun: its next offset is 0.
"""

from collections.abc import Callable, Iterable, Sequence

from twintide.records import Position


def reaches(position: Position, other: Position) -> bool:
    """Whether a position is at least as far as another, in each partition."""
    return all(position.get(partition, 0) >= next_ for partition, next_ in other.items())


def combined(positions: Sequence[Position], choose: Callable[[Iterable[int]], int]) -> Position:
    """What `choose` takes of the offsets of each partition: by `min` what all have taken, by `max`
    what any has.
    """
    partitions = {partition for position in positions for partition in position}
    return {
        partition: choose(position.get(partition, 0) for position in positions)
        for partition in partitions
    }

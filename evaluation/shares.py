"""Who does what: the units of all lanes, shared out among processes, the largest first.

What a lane has in common (slices, what was seen so far) every process that has a unit of it does
for itself: sharing it would have them wait for each other at every tick, and the one behind could
read what it must not know yet.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from evaluation.lanes import Lane
from evaluation.units import Unit
from evaluation.work import seconds_of

WORTH_SECONDS = 120.0
"""Of a usual machine: less is not worth the beginning of a process."""


@dataclass(frozen=True)
class Way:
    """A lane, and those of its units that one process drives."""

    lane: Lane
    units: Sequence[Unit]
    seconds: Sequence[float]
    """What each tick takes of a usual machine."""

    def alone(self) -> Lane:
        """The lane with these units only."""
        return replace(self.lane, units=list(self.units))

    def kept_ticks(self) -> int:
        """How many are kept of each of the units."""
        return min(unit.kept.ticks() for unit in self.units)


Share = list[Way]
"""What one process does."""


@dataclass
class _Load:
    """What a process has so far: numbers of units by that of their lane."""

    units: dict[int, list[int]] = field(default_factory=dict)
    seconds: float = 0.0


def shares_of(lanes: Sequence[Lane], *, processes: int | None) -> list[Share]:
    """The shares of so many processes, or of as many as are worth it; the same for the same lanes.
    One for each unit is the most.
    """
    alone = [sum(_seconds(lane, [])) for lane in lanes]
    units = [
        (sum(_seconds(lane, [unit])) - alone[of], of, number)
        for of, lane in enumerate(lanes)
        for number, unit in enumerate(lane.units)
    ]
    total = sum(seconds for seconds, _, _ in units) + sum(alone)
    loads = [_Load() for _ in range(min(processes or _worth(total), len(units)))]
    for seconds, of, number in sorted(units, key=lambda unit: -unit[0]):

        def with_it(load: _Load, seconds: float = seconds, of: int = of) -> float:
            return load.seconds + seconds + (0.0 if of in load.units else alone[of])

        least = min(loads, key=with_it)
        least.seconds = with_it(least)
        least.units.setdefault(of, []).append(number)
    return [list(_ways(lanes, load)) for load in loads]


def _worth(seconds: float) -> int:
    may_use = getattr(os, "sched_getaffinity", None)  # only Linux says which
    cores = len(may_use(0)) if may_use else os.cpu_count() or 1
    return max(1, min(cores, int(seconds / WORTH_SECONDS)))


def _ways(lanes: Sequence[Lane], load: _Load) -> Iterator[Way]:
    for of, numbers in sorted(load.units.items()):
        units = [lanes[of].units[number] for number in sorted(numbers)]
        yield Way(lanes[of], units, _seconds(lanes[of], units))


def _seconds(lane: Lane, units: Sequence[Unit]) -> list[float]:
    policies = [runner.policy for unit in units for runner in unit.runners]
    return [seconds_of(each, policies, sample=lane.sample) for each in lane.moments]

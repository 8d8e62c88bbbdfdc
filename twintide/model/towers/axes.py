"""What each place along an axis of a tower's weights stands for, so that weights outlive a change
of features or objectives: a place keeps its number where both models have one of that unit.

A kind's module says it in `axes`, by the names of its body's weights. An axis that is not named
there must be as long as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from twintide.towers import Head, Shape


@dataclass(frozen=True)
class Unit:
    """What one place of an axis stands for."""

    of: Literal["feature", "objective", "vector", "hidden"]
    """`vector`: a number of the vector of an objective; `objective`: one number for all of it."""

    name: str
    number: int = 0


@dataclass(frozen=True)
class Axis:
    """The units of one axis."""

    units: tuple[Unit | None, ...]
    """One for each place; None for one that no other model has."""

    is_input: bool = False
    """Whether what is new along it begins at zero, so that it says nothing until it has learnt."""

    def and_then(self, count: int) -> "Axis":
        """With so many hidden units behind these."""
        hidden = tuple(Unit("hidden", "", number) for number in range(count))
        return Axis((*self.units, *hidden), self.is_input)


Axes = Mapping[str, Mapping[int, Axis]]
"""Name of a weight -> dimension -> its axis."""


def inputs(shape: Shape) -> Axis:
    """The numbers that a tower is given, each by its feature."""
    units = [
        Unit("feature", feature, number)
        for feature, place in shape.places.items()
        for number in range(place.width)
    ]
    return Axis(tuple(units), is_input=True)


def features(shape: Shape) -> Axis:
    """The features of a tower."""
    return Axis(tuple(Unit("feature", feature) for feature in shape.places))


def outputs(shape: Shape, heads: tuple[Head, ...] | None = None) -> Axis:
    """The vectors that a tower owes, number by number."""
    own = shape.heads if heads is None else heads
    width = shape.output_width
    units = [Unit("vector", head.objective, number) for head in own for number in range(width)]
    return Axis(tuple(units))


def stack(first: Axis, last: Axis, layers: int, *, begin: int = 0) -> dict[str, dict[int, Axis]]:
    """Of hidden layers and the linear one on them, in a row of modules from number `begin` on:
    what the first reads, and what the last gives.
    """
    top = f"{begin + layers}"
    found: dict[str, dict[int, Axis]] = {f"{begin}.weight": {1: first}}
    found.setdefault(f"{top}.weight", {})[0] = last
    found[f"{top}.bias"] = {0: last}
    return found

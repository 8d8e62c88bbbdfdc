"""Towers, declared: what stands in `model.tower`, `model.query_tower` and `model.candidate_tower`.

    declared    one class here: a kind's keys, and what of them does not fit its inputs
    -> applied  one module of the kind's name in twintide.model.towers

A new kind is those two. No torch here: a configuration is checked without it.
"""

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from twintide.features.kind import Side
from twintide.problems import Problem

LayerWidth = Annotated[int, Field(ge=16, le=16_384)]
"""In a narrower layer all units may die at once, and every item gets the same vector."""


@dataclass(frozen=True)
class Place:
    """Where a feature stands among the inputs of its tower."""

    begin: int
    width: int

    @property
    def columns(self) -> slice:
        """Its columns of the inputs [B, X]."""
        return slice(self.begin, self.begin + self.width)


@dataclass(frozen=True)
class Shape:
    """What a tower is given, its features side by side, and how wide a vector it owes."""

    side: Side
    places: dict[str, Place]
    """By feature, in the order of the inputs."""

    output_width: int

    @property
    def input_width(self) -> int:
        """X, the numbers of all its features."""
        return sum(place.width for place in self.places.values())


class Tower(BaseModel, ABC):
    """What every kind of tower is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str

    def problems(self, shape: Shape) -> Iterator[Problem]:
        """What does not fit these inputs, by its own keys."""
        del shape
        yield from ()


class Dnn(Tower):
    """Layer upon layer, each of which sees all of the one below."""

    kind: Literal["dnn"] = "dnn"
    hidden: Annotated[tuple[LayerWidth, ...], Field(max_length=16)] = (256, 128)
    """Widths of the hidden layers; none makes the tower linear."""


AnyTower = Dnn
"""Whatever may stand where a tower is declared."""

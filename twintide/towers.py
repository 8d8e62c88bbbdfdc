"""Towers, declared: what stands in `model.tower`, `model.query_tower` and `model.candidate_tower`.

    declared     one class here: a kind's keys, and what of them does not fit its inputs
    -> applied   one module of the kind's name in twintide.model.towers
    -> exported  one in twintide.model.exported, for servers

A new kind is those three. No torch here: a configuration is checked without it.
"""

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from twintide.features.kind import Name, Side
from twintide.objectives import CLICK
from twintide.problems import Problem

LayerWidth = Annotated[int, Field(ge=16, le=16_384)]
"""In a narrower layer all units may die at once, and every item gets the same vector."""

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "tanh"]
Dropped = Annotated[float, Field(ge=0, le=0.9)]


@dataclass(frozen=True)
class Place:
    """Where a feature stands among the inputs of its tower."""

    begin: int
    width: int
    is_one_id: bool = False
    """Whether it is the row of one id."""

    learns: bool = False
    """Whether it is looked up in a table whose rows learn."""

    @property
    def columns(self) -> slice:
        """Its columns of the inputs [B, X]."""
        return slice(self.begin, self.begin + self.width)


@dataclass(frozen=True)
class Head:
    """A vector that a tower owes: of which objective, in which scenario if in one alone."""

    objective: str
    scenario: str | None = None


@dataclass(frozen=True)
class Shape:
    """What a tower is given, its features side by side, and which vectors it owes."""

    side: Side
    places: dict[str, Place]
    """By feature, in the order of the inputs."""

    output_width: int
    """D, the numbers of one vector."""

    heads: tuple[Head, ...] = (Head(CLICK),)
    """The vectors, which it gives side by side."""

    is_alone: bool = False
    """Whether the tower is declared for this side and no other."""

    @property
    def owed_width(self) -> int:
        """O · D, the numbers of all vectors."""
        return len(self.heads) * self.output_width

    @property
    def input_width(self) -> int:
        """X, the numbers of all its features."""
        return sum(place.width for place in self.places.values())


class Senet(BaseModel):
    """Each feature times a weight that all features together decide: what matters for this row is
    heard, noise is turned down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Literal["senet"]
    reduction_ratio: Annotated[int, Field(ge=1, le=64)] = 2
    """Features for each unit of the layer that decides the weights."""


class Tower(BaseModel, ABC):
    """What every kind of tower is told: what is done before and after."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tuned: ClassVar[frozenset[str]] = frozenset(
        {"feature_weights", "output_activation", "residual"}
    )
    """Keys that leave its layers as they are, so that these keep what they have learnt."""

    kind: str

    feature_weights: Senet | None = None
    """Weigh the features against each other before the tower sees them, as `{kind: senet}` does."""

    output_activation: Literal["linear", "tanh", "relu"] = "linear"
    """What its last numbers go through."""

    residual: Name | None = None
    """A feature that is added to the vector as it is, such as the item's id; it must be as wide as
    the vector.
    """

    def is_staged(self) -> bool:
        """Whether something is done before or after its body."""
        plain = (self.feature_weights, self.output_activation, self.residual)
        return plain != (None, "linear", None)

    def layers_declared(self) -> dict[str, Any]:
        """All that its layers depend on but for inputs and vectors, as JSON has it."""
        drops = getattr(self, "dropout", 0.0) > 0  # a layer of its own, so that others move on
        return self.model_dump(mode="json", exclude=set(self.tuned)) | {"drops": drops}

    def problems(self, shape: Shape) -> Iterator[Problem]:
        """What does not fit these inputs, by its own keys."""
        if self.residual is None:
            return
        place = shape.places.get(self.residual)
        if place is None:
            yield Problem(
                "residual",
                f"the {shape.side} tower sees no feature {self.residual!r}; "
                f"it sees {', '.join(shape.places)}",
                hint="model.query_tower and model.candidate_tower declare one side alone",
            )
        elif place.width != shape.output_width:
            yield Problem(
                "residual",
                f"{self.residual!r} gives {place.width} numbers to the {shape.side} tower, "
                f"and its vectors have {shape.output_width}",
                hint=f"model.output_width: {place.width}, or a table as wide as the vectors",
            )


class Layered(Tower):
    """A tower with layers, each of which sees all of the one below."""

    tuned: ClassVar[frozenset[str]] = Tower.tuned | {"activation", "dropout"}

    hidden: Annotated[tuple[LayerWidth, ...], Field(max_length=16)] = (256, 128)
    """Widths of the hidden layers; none leaves them out."""

    activation: Activation = "relu"
    """What each hidden layer's numbers go through."""

    batch_norm: bool = False
    """Bring each unit of a hidden layer to mean 0 and variance 1 before its activation: of the
    batch where dense weights learn, else by running statistics, which only move there.
    """

    dropout: Dropped = 0.0
    """Share of each hidden layer's numbers that is left out where dense weights learn, drawn by
    the run's seed; none is left out in an hourly pass or in an answer.
    """


class Dnn(Layered):
    """Layer upon layer. Quick, and hard to beat: begin with it."""

    kind: Literal["dnn"] = "dnn"


class Dcn(Layered):
    """Deep and cross network, version 2: beside its layers it multiplies features with each other,
    x(l+1) = x(0) · (W x(l) + b) + x(l), so that "this category at this hour" need not be guessed.
    """

    kind: Literal["dcn"] = "dcn"

    cross_layers: Annotated[int, Field(ge=1, le=8)] = 2
    """How often features are multiplied; products of up to one more than so many."""

    rank: Annotated[int, Field(ge=1, le=1024)] | None = None
    """W as a product of two matrices of this rank, which costs less where there are many inputs;
    null: W as it is.
    """

    structure: Literal["parallel", "stacked"] = "parallel"
    """Whether the hidden layers see the inputs, or what the cross layers made of them."""

    def problems(self, shape: Shape) -> Iterator[Problem]:
        """A rank must save something."""
        yield from super().problems(shape)
        width = shape.input_width
        if self.rank is not None and 2 * self.rank >= width:
            yield Problem(
                "rank",
                f"two matrices of rank {self.rank} hold no fewer weights than one for the {width} "
                f"inputs of the {shape.side} tower",
                hint=f"less than {width / 2:g}, or leave it out",
            )


class Dat(Layered):
    """Dual augmented tower: beside its features it is given a vector that learns to be what the
    other tower makes of this id's clicks: a user's of the items, an item's of its users. So what
    both sides know of each other meets below the product too.
    """

    tuned: ClassVar[frozenset[str]] = Layered.tuned | {
        "augmented",
        "mimic_weight",
        "category",
        "alignment_weight",
    }

    kind: Literal["dat"] = "dat"

    augmented: Name = "augmented"
    """A sparse feature of this side, in a table of its own as wide as the vectors: the augmented
    vector of the user or item. Both sides may have one of this name.
    """

    mimic_weight: Annotated[float, Field(ge=0, le=100)] = 0.5
    """What the squared distance from the other side's vector of a click counts, beside the loss."""

    category: Name | None = None
    """A sparse feature of the candidate: vectors of the items of each of its ids are to spread as
    those of the largest do, so that what is learnt of much helps where there is little. Left out
    of an hourly pass. It means nothing on the query side.
    """

    alignment_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    """What the mean squared difference between covariances of categories counts, where `category`
    is given.
    """

    def problems(self, shape: Shape) -> Iterator[Problem]:
        """The augmented vector is a learnt row as wide as a vector, a category is one id."""
        yield from super().problems(shape)
        example = f"{{kind: sparse, name: {self.augmented}, column: …, table: {self.augmented}}}"
        place = shape.places.get(self.augmented)
        if place is None:
            yield self._not_seen("augmented", self.augmented, shape, hint=example)
        elif not (place.is_one_id and place.learns):
            yield Problem(
                "augmented",
                f"{self.augmented!r} of the {shape.side} tower is not the learnt row of one id",
                hint=example,
            )
        elif place.width != shape.output_width:
            yield Problem(
                "augmented",
                f"{self.augmented!r} has {place.width} numbers on the {shape.side} side, and "
                f"learns to be like vectors of {shape.output_width}",
                hint=f"model.tables: {{…: {{width: {shape.output_width}}}}} for its table",
            )
        if self.category is None:
            yield from self._weighs_nothing()
        elif shape.side == "candidate":
            yield from self._category_problems(self.category, shape)
        elif shape.is_alone:
            yield Problem(
                "category",
                "items are aligned by category, and this is the tower of the other side",
                hint="model.candidate_tower.category, or leave it out",
            )

    def _weighs_nothing(self) -> Iterator[Problem]:
        if self.alignment_weight != type(self).model_fields["alignment_weight"].default:
            yield Problem(
                "alignment_weight",
                "there is no category to align by, so that it weighs nothing",
                hint="category: a sparse feature of the item; or leave it out",
            )

    def _category_problems(self, category: str, shape: Shape) -> Iterator[Problem]:
        place = shape.places.get(category)
        if place is None:
            yield self._not_seen("category", category, shape, hint="a sparse feature of the item")
        elif not place.is_one_id:
            yield Problem(
                "category",
                f"{category!r} is not one id, so that an item may be of several or none",
                hint="a sparse feature of the item",
            )

    @staticmethod
    def _not_seen(key: str, feature: str, shape: Shape, *, hint: str) -> Problem:
        seen = ", ".join(shape.places)
        reason = f"the {shape.side} tower sees no feature {feature!r}; it sees {seen}"
        return Problem(key, reason, hint=hint)


class SharedBottom(Tower):
    """Layers that all objectives share, and on them a tower of each scenario for the objectives
    that are of it; those of no scenario have one together. So pages whose users behave differently
    share what they have in common and no more.
    """

    tuned: ClassVar[frozenset[str]] = Tower.tuned | {"activation", "dropout"}

    kind: Literal["shared_bottom"] = "shared_bottom"

    bottom: Annotated[tuple[LayerWidth, ...], Field(max_length=16)] = (256,)
    """Widths of the layers that all share; none leaves them out."""

    task: Annotated[tuple[LayerWidth, ...], Field(max_length=16)] = (128,)
    """Widths of the layers of each scenario."""

    activation: Activation = "relu"
    """What each hidden layer's numbers go through."""

    batch_norm: bool = False
    """As of a `dnn`."""

    dropout: Dropped = 0.0
    """As of a `dnn`."""

    def layers(self, widths: tuple[int, ...]) -> Layered:
        """Hidden layers of these widths, as they are declared here."""
        return Dnn(
            hidden=widths,
            activation=self.activation,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
        )


def by_scenario(shape: Shape) -> dict[str, list[int]]:
    """Of a shared bottom: name of a scenario's tower -> the numbers of its heads."""
    heads: dict[str, list[int]] = {}
    for number, head in enumerate(shape.heads):
        name = "anywhere" if head.scenario is None else f"of_{head.scenario}"
        heads.setdefault(name, []).append(number)
    return heads


AnyTower = Annotated[Dnn | Dcn | Dat | SharedBottom, Field(discriminator="kind")]
"""Whatever may stand where a tower is declared."""

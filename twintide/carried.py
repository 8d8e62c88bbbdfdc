"""What a model goes on with of the one that was trained before it, and what begins anew.

Names are what is compared: a feature, a table, an objective of the same name is the same one, as
long as it means the same. What is not said to begin anew keeps its numbers. A pure function of two
declarations; `trainer.warm` does to the arrays what is said here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from twintide.features import Feature
from twintide.features.kind import SIDES, LookedUp, Side
from twintide.modelspec import ModelSpec
from twintide.towers import SharedBottom


@dataclass(frozen=True)
class Anew:
    """A part of a model that begins anew."""

    part: str
    why: str
    holds_up_hours: bool
    """Whether the model says nothing sensible before a nightly retrain has taught it."""

    def __str__(self) -> str:
        return f"{self.part} ({self.why})"


@dataclass(frozen=True)
class Carried:
    """What goes on, by name, and what does not."""

    tables: frozenset[str]
    """Learnt rows."""

    towers: frozenset[Side]
    """Layers."""

    features: dict[Side, frozenset[str]]
    """What a tower has learnt of them, where its layers go on."""

    objectives: frozenset[str]
    """All but their vectors, which are as wide as they are."""

    vectors: frozenset[str]
    """Objectives whose vectors go on, where the layers below do."""

    temperatures: frozenset[str]
    """Objectives whose temperature does."""

    numbers: frozenset[str]
    """Objectives whose loss and number are the same as before."""

    anew: tuple[Anew, ...]


def carried(old: ModelSpec, new: ModelSpec) -> Carried:
    """What `new` goes on with of `old`."""
    before, now = old.every_objective(), new.every_objective()
    tables = frozenset(name for name in new.learning_tables() if _keeps_rows(name, old, new))
    towers = frozenset(side for side in SIDES if _keeps_layers(side, old, new))
    features = {side: frozenset(_same_features(side, old, new)) for side in SIDES}
    both = [name for name in now if name in before]
    objectives = frozenset(name for name in both if _keeps_head(name, old, new))
    numbers = frozenset(
        name
        for name in objectives
        if (before[name].loss.kind, before[name].loss.target_column())
        == (now[name].loss.kind, now[name].loss.target_column())
    )
    return Carried(
        tables=tables,
        towers=towers,
        features=features,
        objectives=objectives,
        vectors=objectives if old.output_width == new.output_width else frozenset(),
        temperatures=frozenset(
            name
            for name in objectives
            if before[name].loss.temperature(old.temperature)
            == now[name].loss.temperature(new.temperature)
        ),
        numbers=numbers,
        anew=(
            *_tables_anew(tables, old, new),
            *(each for side in SIDES for each in _tower_anew(side, towers, features, old, new)),
            *_heads_anew(objectives, old, new),
            *_numbers_anew(numbers, old, new),
        ),
    )


def _keeps_rows(table: str, old: ModelSpec, new: ModelSpec) -> bool:
    return table in old.learning_tables() and old.table_width(table) == new.table_width(table)


def _keeps_layers(side: Side, old: ModelSpec, new: ModelSpec) -> bool:
    return old.tower_of(side).layers_declared() == new.tower_of(side).layers_declared()


def _same_features(side: Side, old: ModelSpec, new: ModelSpec) -> Iterator[str]:
    before = {feature.name: feature for feature in old.features(side)}
    for feature in new.features(side):
        other = before.get(feature.name)
        if other is not None and _is_the_same(other, feature, old, new):
            yield feature.name


def _is_the_same(before: Feature, now: Feature, old: ModelSpec, new: ModelSpec) -> bool:
    if before.meaning() != now.meaning():
        return False
    if not isinstance(now, LookedUp):
        return True
    was_fixed, is_fixed = (now.table in spec.vector_tables() for spec in (old, new))
    return was_fixed == is_fixed and _same_width(now.table, old, new)


def _same_width(table: str, old: ModelSpec, new: ModelSpec) -> bool:
    """Files of vectors that nobody has read yet are taken to be as wide as they were."""
    unread = [
        spec
        for spec in (old, new)
        if table in spec.vector_tables() and spec.tables[table].width is None
    ]
    return bool(unread) or old.table_width(table) == new.table_width(table)


def _keeps_head(objective: str, old: ModelSpec, new: ModelSpec) -> bool:
    """Where each scenario has a tower, an objective of another one has another."""
    shares = any(isinstance(new.tower_of(side), SharedBottom) for side in SIDES)
    before, now = (spec.every_objective()[objective].scenario for spec in (old, new))
    return before == now or not shares


def _tables_anew(kept: frozenset[str], old: ModelSpec, new: ModelSpec) -> Iterator[Anew]:
    for table in new.learning_tables():
        if table in kept:
            continue
        if table in old.learning_tables():
            widths = f"{new.table_width(table)} wide, {old.table_width(table)} before"
            yield Anew(f"table {table}", widths, holds_up_hours=True)
        else:
            was_fixed = table in old.vector_tables()
            why = "its rows learn now, they were fixed before" if was_fixed else "new"
            yield Anew(f"table {table}", why, holds_up_hours=was_fixed)


def _tower_anew(
    side: Side,
    towers: frozenset[Side],
    features: dict[Side, frozenset[str]],
    old: ModelSpec,
    new: ModelSpec,
) -> Iterator[Anew]:
    before, now = old.tower_of(side), new.tower_of(side)
    if side not in towers:
        yield Anew(f"{side} tower", "other layers", holds_up_hours=True)
        return
    if now.feature_weights is not None and now.feature_weights != before.feature_weights:
        yield Anew(f"feature weights of the {side} tower", "declared anew", holds_up_hours=True)
    known = {feature.name: feature for feature in old.features(side)}
    for feature in new.features(side):
        other = known.get(feature.name)
        part = f"what the {side} tower makes of {feature.name}"
        if feature.name not in features[side]:
            why = "new" if other is None else "it is another feature than before"
            yield Anew(part, why, holds_up_hours=False)
        elif _sequence(feature) != _sequence(other):
            part = f"the part of the encoder of {feature.name} that depends on its size"
            yield Anew(part, "another size", holds_up_hours=False)


def _sequence(feature: Feature | None) -> object:
    return feature.sequence() if isinstance(feature, LookedUp) else None


def _heads_anew(kept: frozenset[str], old: ModelSpec, new: ModelSpec) -> Iterator[Anew]:
    before, now = old.every_objective(), new.every_objective()
    if old.output_width != new.output_width:
        why = f"{new.output_width} wide, {old.output_width} before"
        yield Anew("the last layer of both towers", why, holds_up_hours=True)
    for name, objective in now.items():
        if name not in before:
            yield Anew(f"objective {name}", "new", holds_up_hours=True)
        elif name not in kept:
            yield Anew(f"objective {name}", "of another scenario", holds_up_hours=True)
        else:
            declared = objective.loss.temperature(new.temperature)
            if declared != before[name].loss.temperature(old.temperature):
                why = f"{declared:g} is declared"
                yield Anew(f"temperature of {name}", why, holds_up_hours=False)
    if new.popularity_bias and not old.popularity_bias:
        yield Anew("popularity bias", "declared now", holds_up_hours=False)
    elif new.popularity_layer not in {0, old.popularity_layer}:
        yield Anew("layer of the popularity bias", "declared now", holds_up_hours=False)
    losses = [objective.loss for objective in now.values()]
    if not new.popularity_bias and any(loss.needs_intercept for loss in losses):
        older = [objective.loss for objective in before.values()]
        if old.popularity_bias or not any(loss.needs_intercept for loss in older):
            yield Anew("intercept", "a loss needs it now", holds_up_hours=False)


def _numbers_anew(kept: frozenset[str], old: ModelSpec, new: ModelSpec) -> Iterator[Anew]:
    for name, objective in new.every_objective().items():
        is_known = name in old.every_objective()
        if is_known and name not in kept and objective.loss.target_column() is not None:
            yield Anew(f"scale of {name}", "it learns another number", holds_up_hours=False)

"""Begin a model with what another one has learnt: the arrays of a checkpoint, as another
declaration goes on with them.

Weights, the sums of their rows and Adam's moments go on by name, each number by what it stands for
(`twintide.model.towers.axes`). What a tower reads for the first time begins at zero in its first
layer: so a new feature changes no answer before it has learnt. What `twintide.carried` says to
begin anew has the numbers of an untrained model.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trainer.dense import PREFIX, begun_at
from trainer.learner import Learner
from twintide.arrays import Arrays
from twintide.carried import Carried, carried
from twintide.features.kind import SIDES, Side
from twintide.model.towers import popularity
from twintide.model.towers.axes import Axis, Unit, inputs
from twintide.model.towers.one import axes_of
from twintide.modelspec import ModelSpec
from twintide.vectorstore import Vectors

Array = npt.NDArray[np.generic]
Places = npt.NDArray[np.int64]
_DENSE = ("dense.", f"{PREFIX}mean.", f"{PREFIX}square.")


def warm_arrays(
    old: ModelSpec,
    new: ModelSpec,
    arrays: Arrays,
    *,
    seed: int,
    vectors: Mapping[str, Vectors],
) -> Arrays:
    """All that a learner of `new` goes on from, of the arrays of a checkpoint of `old`."""
    fresh = Learner.untrained(new, seed=seed, vectors=vectors).arrays()
    kept = carried(old, new)
    axes = _of_kept(_axes_of(old), kept), _axes_of(new)
    sources = {plain_name(name, old): name for name in arrays}
    found = {name: array for name, array in arrays.items() if name.startswith(begun_at(""))}
    for name, array in fresh.items():
        plain = plain_name(name, new)
        source = sources.get(plain)
        if source is None or not _goes_on(plain, kept):
            found[name] = array
        elif name.startswith(_DENSE):
            weight = plain.removeprefix(_kind_of(name))
            before, now = (each.get(weight, {}) for each in axes)
            is_square = name.startswith(f"{PREFIX}square.")
            found[name] = merged(arrays[source], array, before, now, is_square=is_square)
        else:
            found[name] = arrays[source]
    of_mean = f"{PREFIX}mean."
    steps = found[f"{PREFIX}steps"]
    for name in (name for name in fresh if name.startswith(of_mean) and found[name] is fresh[name]):
        found[begun_at(name.removeprefix(of_mean))] = steps
    return found


def merged(
    old: Array,
    fresh: Array,
    before: Mapping[int, Axis],
    now: Mapping[int, Axis],
    *,
    is_square: bool = False,
) -> Array:
    """`fresh`, and in it what both have. Inputs that are new begin at zero; `is_square`: at the
    mean of the others, so that Adam's first steps along them are no larger than theirs.
    """
    was, made = np.atleast_1d(old), np.atleast_1d(fresh).copy()
    if was.ndim != made.ndim:
        return fresh
    from_, to = [], []
    for number, (size, new_size) in enumerate(zip(was.shape, made.shape, strict=True)):
        if (number in before) != (number in now) or (number not in now and size != new_size):
            return fresh
        old_places, places = _places(before.get(number), now.get(number), size)
        from_.append(old_places)
        to.append(places)
    both = was[np.ix_(*from_)]
    for number in (number for number, axis in now.items() if axis.is_input):
        along = [*to]
        along[number] = np.arange(made.shape[number])
        made[np.ix_(*along)] = both.mean() if is_square and both.size else 0
    made[np.ix_(*to)] = both
    return made.reshape(fresh.shape)


def _places(before: Axis | None, now: Axis | None, size: int) -> tuple[Places, Places]:
    """Where along an axis the old array has what the new one has, and where that goes."""
    if before is None or now is None:
        return np.arange(size), np.arange(size)
    known = {unit: place for place, unit in enumerate(before.units) if unit is not None}
    both = [(known[unit], place) for place, unit in enumerate(now.units) if unit in known]
    pairs = np.array(both, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _kind_of(name: str) -> str:
    return next(prefix for prefix in _DENSE if name.startswith(prefix))


def plain_name(name: str, spec: ModelSpec) -> str:
    """The name of a weight as it is where nothing stands around a tower's body."""
    for before in _DENSE:
        for side in SIDES:
            tower = f"{before}{side}."
            if name.startswith(tower):
                return tower + _unwrapped(name.removeprefix(tower), side, spec)
    return name


def _unwrapped(name: str, side: Side, spec: ModelSpec) -> str:
    if spec.sequences(side):
        name = name.removeprefix("tower.")
    return name.removeprefix("body.") if spec.tower_of(side).is_staged() else name


def _goes_on(plain: str, kept: Carried) -> bool:
    """Whether an array has to do with what goes on. What both have of it is told by its axes."""
    if plain.startswith(("table.", "optimizer.rows.")):
        table = plain.removeprefix("optimizer.rows.").removeprefix("table.").partition(".")[0]
        return table in kept.tables
    if plain.startswith("scale.objective."):
        return plain.removeprefix("scale.objective.") in kept.numbers
    weight = plain.removeprefix(_kind_of(plain)) if plain.startswith(_DENSE) else plain
    for side in SIDES:
        if plain.startswith(f"scale.{side}."):
            return plain.removeprefix(f"scale.{side}.") in kept.features[side]
        if weight.startswith(f"{side}."):
            _, part, name, *_ = [*weight.split("."), ""]
            return name in kept.features[side] if part == "encoders" else side in kept.towers
    return True


def _axes_of(spec: ModelSpec) -> dict[str, Mapping[int, Axis]]:
    """Name of a dense weight, as `plain_name` has it -> what its axes stand for."""
    found: dict[str, Mapping[int, Axis]] = {}
    for side in SIDES:
        for name, axes in axes_of(spec.tower_of(side), spec.shape(side)).items():
            found[f"{side}.{name}"] = axes
    heads = Axis(tuple(Unit("objective", name) for name in spec.every_objective()))
    for name, axes in popularity.axes(spec, heads).items():
        found[f"popularity.{name}"] = axes
    return found | {
        "bias.weight": {0: heads, 1: inputs(spec.shape("candidate"))},
        "bias.bias": {0: heads},
        "intercept": {0: heads},
        "log_scale": {0: heads},
    }


def _of_kept(axes: Mapping[str, Mapping[int, Axis]], kept: Carried) -> dict[str, dict[int, Axis]]:
    """The axes of an old model, without the units that do not go on."""
    found = {}
    for name, own in axes.items():
        side: Side = "query" if name.startswith("query.") else "candidate"
        goes_on = {
            "feature": kept.features[side],
            "vector": kept.vectors,
            "objective": kept.temperatures if name == "log_scale" else kept.objectives,
        }
        found[name] = {
            number: replace(axis, units=_those(axis.units, goes_on)) for number, axis in own.items()
        }
    return found


def _those(
    units: tuple[Unit | None, ...], goes_on: Mapping[str, frozenset[str]]
) -> tuple[Unit | None, ...]:
    return tuple(
        unit if unit is None or unit.of == "hidden" or unit.name in goes_on[unit.of] else None
        for unit in units
    )

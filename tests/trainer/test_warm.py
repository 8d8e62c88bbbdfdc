"""A model begins with what another one has learnt: what both have says the same as before."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainer.conftest import deployment_in
from trainer.learner import Learner
from trainer.warm import merged, warm_arrays
from twintide.arrays import Arrays
from twintide.carried import carried
from twintide.config import fill_in
from twintide.features.kind import SIDES, Side
from twintide.model.towers.axes import Axis, Unit
from twintide.modelspec import ModelSpec

SPARSE = {"kind": "sparse", "table": "more", "column": "region"}
NEW_QUERY = {"name": "more", **SPARSE}
NEW_CANDIDATE = {"name": "more", **SPARSE, "column": "liked"}
ATTENDED = {"kind": "attention_history", "name": "attended", "table": "item", "length": 3}
LAYERS = {"hidden": [16, 16], "batch_norm": True}
AUGMENTED = {"kind": "dat", "hidden": [16], "augmented": "user"}
TOWERS: dict[str, dict[str, Any]] = {
    "dnn": {"kind": "dnn", **LAYERS},
    "without layers": {"kind": "dnn", "hidden": []},
    "dcn": {"kind": "dcn", "hidden": [16], "cross_layers": 2},
    "dcn, stacked, of a rank": {"kind": "dcn", **LAYERS, "structure": "stacked", "rank": 2},
    "cross layers alone": {"kind": "dcn", "hidden": []},
    "shared bottom": {"kind": "shared_bottom", "bottom": [16], "task": [16]},
    "shared bottom without layers": {"kind": "shared_bottom", "bottom": [], "task": []},
    "staged": {"kind": "dnn", "hidden": [16], "output_activation": "tanh"},
}
CLICKS_AND_LIKES = {"click": {}, "like": {"positive": {"column": "liked", "equals": True}}}


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small quickstart."""
    return deployment_in(tmp_path_factory.mktemp("warm"))


def spec_of(declared: Any, **changes: Any) -> ModelSpec:
    spec: ModelSpec = fill_in(declared, {"model": changes}).model
    return spec


def with_more(spec: ModelSpec, side: Side, *more: dict[str, Any]) -> list[dict[str, Any]]:
    """Its features, and others before them and among them."""
    own = [each.model_dump(mode="json") for each in spec.features(side)]
    return [*more[:1], *own[:1], *more[1:], *own[1:]]


def trained(spec: ModelSpec) -> Arrays:
    """What a checkpoint might hold: no number of it is where it began."""
    rng = np.random.default_rng(3)
    arrays = Learner.untrained(spec, seed=1).arrays()
    for name, array in arrays.items():
        if name.startswith(("dense.", "optimizer.adam.mean", "optimizer.adam.square")):
            arrays[name] = rng.uniform(0.1, 1, array.shape).astype(np.float32)
        if name.startswith("table.") and name.endswith(".keys"):
            arrays[name] = np.arange(5, dtype=np.uint64)
            table = name.split(".")[1]
            arrays[f"table.{table}.weights"] = rng.normal(size=(5, spec.table_width(table))).astype(
                np.float32
            )
            arrays[f"table.{table}.sums"] = rng.uniform(size=5).astype(np.float32)
    arrays["optimizer.adam.steps"] = np.array([7])
    return arrays


def outputs(spec: ModelSpec, arrays: Arrays, given: dict[str, torch.Tensor], side: Side) -> Any:
    """Vectors and biases of a side, of inputs by feature; features that are not given have any."""
    towers = Learner.from_arrays(spec, arrays).model.towers
    places = spec.inputs(side)
    width = max(place.begin + place.width for place in places.values())
    inputs = torch.rand(6, width, generator=torch.Generator().manual_seed(5))
    for name, place in places.items():
        if name in given:
            inputs[:, place.columns] = given[name]
    inputs = inputs.to(towers.log_scale.device)
    if side == "query":
        return towers.query_vectors(inputs)
    return [part for pair in towers.candidate_vectors(inputs) for part in pair]


def inputs_of(spec: ModelSpec, side: Side) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.rand(6, place.width, generator=generator)
        for name, place in spec.inputs(side).items()
    }


def same(found: Iterable[torch.Tensor], expected: Iterable[torch.Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in pairs)


@pytest.mark.parametrize("tower", TOWERS.values(), ids=TOWERS)
@pytest.mark.parametrize("objectives", [{}, CLICKS_AND_LIKES], ids=["one vector", "two"])
def test_new_features_change_no_answer_before_they_have_learnt(
    declared: Any, tower: dict[str, Any], objectives: dict[str, Any]
) -> None:
    """Wherever among the others they stand, in each kind of tower; also one that brings an
    encoder before it.
    """
    old = spec_of(declared, tower=tower, objectives=objectives)
    query = with_more(old, "query", NEW_QUERY, ATTENDED)
    candidate = with_more(old, "candidate", NEW_CANDIDATE)
    new = spec_of(declared, tower=tower, objectives=objectives, query=query, candidate=candidate)
    arrays = trained(old)

    warm = warm_arrays(old, new, arrays, seed=1, vectors={})

    for side in SIDES:
        given = inputs_of(old, side)
        assert same(outputs(new, warm, given, side), outputs(old, arrays, given, side)), side
    assert (warm["optimizer.adam.mean.bias.weight"][:, :8] == 0).all()
    assert np.all(np.asarray(warm["optimizer.adam.square.bias.weight"], np.float32) > 0)
    assert {str(each) for each in carried(old, new).anew} == {
        "table more (new)",
        "what the query tower makes of more (new)",
        "what the query tower makes of attended (new)",
        "what the candidate tower makes of more (new)",
    }


@pytest.mark.parametrize("before", [0, 8])
def test_a_layer_of_the_popularity_bias_changes_no_answer_before_it_has_learnt(
    declared: Any, before: int
) -> None:
    """Where there was none; where one of another size was, what that said is gone."""
    old = spec_of(declared, popularity_layer=before)
    new = spec_of(declared, popularity_layer=16)
    arrays = trained(old)
    without = {
        name: np.zeros_like(each) if name.endswith("popularity.output.weight") else each
        for name, each in arrays.items()
    }

    warm = warm_arrays(old, new, arrays, seed=1, vectors={})

    given = inputs_of(old, "candidate")
    assert same(outputs(new, warm, given, "candidate"), outputs(old, without, given, "candidate"))
    assert [str(each) for each in carried(old, new).anew] == [
        "layer of the popularity bias (declared now)"
    ]


@pytest.mark.parametrize("tower", ["dnn", "dcn", "shared bottom"])
def test_a_new_objective_leaves_the_others_as_they_were(declared: Any, tower: str) -> None:
    """It comes first by name, and has a vector of its own; what goes takes nothing else along."""
    one = spec_of(declared, tower=TOWERS[tower], objectives={"like": CLICKS_AND_LIKES["like"]})
    two = spec_of(declared, tower=TOWERS[tower], objectives=CLICKS_AND_LIKES)
    arrays = trained(one)

    warm = warm_arrays(one, two, arrays, seed=1, vectors={})
    back = warm_arrays(two, one, warm, seed=1, vectors={})

    for side in SIDES:
        given, each = inputs_of(one, side), 1 if side == "query" else 2
        before = outputs(one, arrays, given, side)
        assert same(outputs(two, warm, given, side)[each:], before)
        assert same(outputs(one, back, given, side), before)
    assert [str(each) for each in carried(one, two).anew] == ["objective click (new)"]
    assert warm["dense.log_scale"][1] == arrays["dense.log_scale"]


def test_what_begins_anew_has_the_numbers_of_an_untrained_model(declared: Any) -> None:
    """A table of another width, towers of other layers, a temperature of another value; and Adam
    counts the steps of each from there.
    """
    old = spec_of(declared)
    new = spec_of(
        declared,
        tables={"user": {"width": 4}},
        candidate_tower={"kind": "dnn", "hidden": [24]},
        temperature=0.1,
    )
    arrays, fresh = trained(old), Learner.untrained(new, seed=1).arrays()

    warm = warm_arrays(old, new, arrays, seed=1, vectors={})

    anew = {name for name, array in fresh.items() if np.array_equal(array, warm[name])}
    assert {"table.user.weights", "table.user.keys", "table.user.sums"} <= anew
    assert {"dense.candidate.0.weight", "dense.candidate.2.weight"} <= anew
    assert warm["dense.log_scale"] == fresh["dense.log_scale"]
    assert {name for name in warm if name not in fresh} == {
        f"optimizer.adam.begun.candidate.{layer}.{part}"
        for layer in (0, 2)
        for part in ("weight", "bias")
    }
    assert (warm["dense.query.0.weight"][:, :4] == 0).all()
    assert (warm["dense.query.2.weight"] == arrays["dense.query.2.weight"]).all()
    assert (warm["table.item.weights"] == arrays["table.item.weights"]).all()
    assert Learner.from_arrays(new, warm).arrays().keys() == warm.keys()


def test_nothing_changes_where_nothing_is_declared_otherwise(declared: Any) -> None:
    """To the byte, and nothing is said to begin anew."""
    spec = spec_of(declared)
    arrays = trained(spec)

    warm = warm_arrays(spec, spec, arrays, seed=1, vectors={})

    assert carried(spec, spec).anew == ()
    assert {name: array.tobytes() for name, array in warm.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_a_number_goes_where_what_it_stands_for_has_gone() -> None:
    """New rows are fresh; new inputs are 0, or the mean of the others where they are squares."""
    a, b, c = (Unit("feature", name) for name in "abc")
    x, y = (Unit("vector", name) for name in "xy")
    before = {0: Axis((x,)), 1: Axis((a, b), is_input=True)}
    now = {0: Axis((y, x)), 1: Axis((c, b, a), is_input=True)}
    old, fresh = np.array([[1.0, 3.0]]), np.full((2, 3), 9.0)

    assert merged(old, fresh, before, now).tolist() == [[9, 9, 9], [0, 3, 1]]
    squares = merged(old, fresh, before, now, is_square=True)
    assert squares.tolist() == [[9, 9, 9], [2, 3, 1]]
    assert merged(old, np.zeros((2, 4)), before, {}).tolist() == np.zeros((2, 4)).tolist()

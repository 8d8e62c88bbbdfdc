"""The exported query tower gives what torch gives, and needs no torch for it."""

import math
import subprocess
import sys
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.twintide import test_towers as towers
from twintide.errors import Corrupt
from twintide.features.kind import Known
from twintide.model.exported.layers import erf
from twintide.model.exported.one import tower
from twintide.model.exported.query import QueryTower
from twintide.model.exported.weights import Weights
from twintide.model.two_tower import TwoTower
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids, newest
from twintide.towers import AnyTower, Dnn, SharedBottom, Tower

DEVICE = torch.device("cpu")
SEQUENCE = {"kind": "attention_history", "name": "looked", "table": "item", "length": 4}
EVERY_FEATURE: list[dict[str, Any]] = [
    *towers.MODEL["query"],
    {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag", "pooling": "sum"},
    {"kind": "history", "name": "history", "table": "item", "length": 4},
    {"kind": "decayed_history", "name": "decayed", "table": "item", "length": 4},
    {"kind": "dense", "name": "worth", "column": "worth", "standardise": True},
    SEQUENCE | {"layers": 2, "heads": 2},
]
KINDS = {
    **(towers.ONE_OF_EACH | towers.WITH_OBJECTIVES),
    **{
        f"activation {name}": {"tower": {"kind": "dnn", "hidden": [16], "activation": name}}
        for name in towers.ACTIVATIONS
    },
    "every feature": {"query": EVERY_FEATURE},
    "one feature": {"query": [SEQUENCE]},
    "scenarios": towers.WITH_OBJECTIVES["objectives, default"]
    | {"tower": {"kind": "shared_bottom", "bottom": [16], "task": [16], "batch_norm": True}},
}


def queries(spec: ModelSpec) -> Encoded:
    """Ten users: some with a history and some without, of various lengths, and of unknown items."""
    rng = np.random.default_rng(5)
    offsets = np.array([0, 3, 3, 4, 9, 9, 13, 14, 20, 21, 21])
    ages = rng.uniform(0, 500, 21).astype(np.float32)
    history = Ids(rng.choice(np.append(towers.ids(), [77, 78]), 21).astype(np.uint64), offsets)
    known = Known(
        users=towers.ids(),
        user_column="user_id",
        ids_in=lambda _: towers.ids(),
        history=lambda each: newest(Ids(history.keys, offsets, ages=ages), each.reach()),
    )
    return {feature.name: feature.sample(known) for feature in spec.query}


def learnt(spec: ModelSpec) -> TwoTower:
    """No weight at its first value, so that each says something."""
    model = towers.model_of(spec)
    with torch.no_grad():
        for values in model.towers.state_dict().values():
            values.add_(torch.rand(values.shape, generator=torch.Generator().manual_seed(2)) * 0.2)
    model.observe(queries(spec), "query")
    return model


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS.keys())
def test_it_gives_what_torch_gives(changes: dict[str, Any]) -> None:
    """Every kind of tower, activation and input: of one query alone, and of all at once."""
    spec = towers.spec_of(changes)
    model, asked = learnt(spec), queries(spec)
    exported = QueryTower(spec, model.arrays(("query",)), {})
    expected = model.query_vectors(asked)
    scale = max(1.0, float(np.abs(expected).max()))

    assert np.abs(exported.query_vectors(asked) - expected).max() <= 1e-6 * scale
    for row in range(10):
        one = {name: rows.take(np.array([row])) for name, rows in asked.items()}
        assert np.abs(exported.query_vectors(one) - expected[[row]]).max() <= 1e-6 * scale


@pytest.mark.parametrize("size", [1e18, 1e25, 1e39])
def test_a_query_without_a_finite_length_is_found(size: float) -> None:
    """Numbers that are too large for the cosine give no vector of zeros, which would be answered by
    popularity alone: as those that overflow before it, they are not finite.
    """
    spec = towers.spec_of({"tower": {"kind": "dnn", "hidden": []}})
    arrays = learnt(spec).arrays(("query",))
    layer = [name for name in arrays if name.startswith("dense.query.0.")]
    with np.errstate(over="ignore"):
        larger = {name: arrays[name].astype(np.float64) * size for name in layer}
        huge = arrays | {name: each.astype(np.float32) for name, each in larger.items()}
    found = QueryTower(spec, huge, {}).query_vectors(queries(spec))

    assert np.isfinite(found).all() == (size < 1e20)


def test_what_objectives_count_is_what_torch_counts() -> None:
    """The weights of a request, in the units that each loss learns."""
    spec = towers.spec_of(towers.WITH_OBJECTIVES["objectives, default"])
    model, asked = learnt(spec), queries(spec)
    model.observe_numbers("watch", np.array([1.0, 9.0, 2.0, 30.0], np.float32))
    exported = QueryTower(spec, model.arrays(("query",)), {})

    for weights in (None, {"watch": 2.0}, {"click": 1e300, "like": 2e300, "watch": 1e-300}):
        expected = model.query_vectors(asked, weights)
        assert np.allclose(exported.query_vectors(asked, weights), expected, rtol=0, atol=1e-6)


def test_every_kind_that_can_be_declared_is_exported() -> None:
    """Its module is found by its name."""
    for kind in get_args(get_args(AnyTower)[0]):
        arrays = {
            name: values.float().numpy()
            for name, values in towers.made(kind()).state_dict().items()
        }
        vectors = tower(kind(), towers.SHAPE, Weights(arrays, ""))(np.zeros((6, 7), np.float32))
        assert vectors.shape == (6, 4)


@pytest.mark.parametrize("declared", [Dnn(hidden=(16,)), SharedBottom(bottom=(16,))])
def test_weights_that_do_not_fit_are_corrupt(declared: Any) -> None:
    """One that is missing, of another shape or type, or that the model does not have."""
    whole = {
        name: values.float().numpy() for name, values in towers.made(declared).state_dict().items()
    }
    spoiled = [
        {name: each for name, each in whole.items() if name != "0.bias"},
        whole | {"0.bias": whole["0.bias"][:-1]},
        whole | {"0.bias": whole["0.bias"].astype(np.float64)},
        whole | {"0.other": whole["0.bias"]},
    ]

    for arrays in spoiled:
        with pytest.raises(Corrupt):
            whole_tower(declared, arrays)


def whole_tower(declared: Tower, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Of these weights and no others."""
    weights = Weights(arrays, "")
    tower(declared, towers.SHAPE, weights)
    weights.check_all_taken()


def test_the_error_function_is_exact_to_float32() -> None:
    """Beside the one of the C library."""
    numbers = np.linspace(-6, 6, 20_001, dtype=np.float32)

    assert np.abs(erf(numbers) - np.array([math.erf(each) for each in numbers])).max() < 5e-7


def test_no_torch_is_loaded_for_it() -> None:
    """A server that answers has none in memory."""
    code = "import sys, serving.server; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Each tower is its formula, its exported form is its training form, and nothing else applies it.

References are written out in numpy, from the weights by name.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from twintide import config
from twintide.config import Deployment, fill_in
from twintide.errors import Refused
from twintide.keys import Keys
from twintide.model.towers import Towers
from twintide.model.towers.layers import BatchNorm
from twintide.model.towers.one import FeatureWeights, tower
from twintide.model.two_tower import TwoTower
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Numbers, one_id_each
from twintide.towers import (
    AnyTower,
    Dat,
    Dcn,
    Dnn,
    Head,
    Place,
    Senet,
    Shape,
    SharedBottom,
    Tower,
)

ROOT = Path(__file__).parents[2]
Doubles = npt.NDArray[np.float64]
SHAPE = Shape("query", {"user": Place(0, 4), "hour": Place(4, 2), "age": Place(6, 1)}, 4)


def made(declared: Tower, shape: Shape = SHAPE) -> nn.Module:
    """In float64 and eval mode, its biases and running statistics not what they begin as."""
    torch.manual_seed(7)
    module = tower(declared, shape).double().eval()
    for name, values in module.state_dict().items():
        if not name.endswith("weight"):
            values.uniform_(0.1, 0.9)
    return module


def inputs(rows: int = 6, shape: Shape = SHAPE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, shape.input_width, generator=generator, dtype=torch.float64)


def weights_of(module: nn.Module) -> dict[str, Doubles]:
    return {name: values.numpy() for name, values in module.state_dict().items()}


def linear(x: Doubles, weights: dict[str, Doubles], name: str) -> Doubles:
    found: Doubles = x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)
    return found


def normed(x: Doubles, weights: dict[str, Doubles], name: str) -> Doubles:
    scaled = (x - weights[f"{name}.mean"]) / np.sqrt(weights[f"{name}.variance"] + 1e-5)
    found: Doubles = scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return found


def relu(x: Doubles) -> Doubles:
    return np.maximum(x, 0)


def gelu(x: Doubles) -> Doubles:
    found: Doubles = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    return found


ACTIVATIONS: dict[str, Callable[[Doubles], Doubles]] = {
    "relu": relu,
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "gelu": gelu,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_dnn_is_layers_batch_norm_and_activation(activation: str) -> None:
    """Linear, norm by running statistics, activation, without dropout; a linear layer on top."""
    declared = {"hidden": (16, 20), "activation": activation, "batch_norm": True, "dropout": 0.5}
    module = made(Dnn.model_validate(declared))
    weights, x = weights_of(module), inputs().numpy()

    for layer in (0, 4):
        x = ACTIVATIONS[activation](normed(linear(x, weights, f"{layer}"), weights, f"{layer + 1}"))

    assert np.allclose(module(inputs()).detach().numpy(), linear(x, weights, "8"), atol=1e-12)


@pytest.mark.parametrize("output", ["tanh", "relu"])
def test_what_comes_behind_a_tower_is_its_output_activation_and_then_the_residual(
    output: str,
) -> None:
    """The residual is the feature as it is pooled, not as feature weights leave it."""
    declared = {"hidden": (16,), "output_activation": output, "residual": "user"}
    module = made(Dnn.model_validate(declared | {"feature_weights": Senet(kind="senet")}))
    weights, x = weights_of(module), inputs().numpy()

    weighted = reweighted(x, weights, "feature_weights.")
    body = linear(relu(linear(weighted, weights, "body.0")), weights, "body.2")

    expected = ACTIVATIONS[output](body) + x[:, :4]
    assert np.allclose(module(inputs()).detach().numpy(), expected, atol=1e-12)


def reweighted(x: Doubles, weights: dict[str, Doubles], before: str) -> Doubles:
    """SENet, feature by feature: the mean of each, two layers, each times its weight."""
    places = list(SHAPE.places.values())
    means = np.stack([x[:, place.columns].mean(axis=1) for place in places], axis=1)
    hidden = relu(linear(means, weights, f"{before}squeeze"))
    excited = 2 / (1 + np.exp(-linear(hidden, weights, f"{before}excite")))
    parts = [x[:, place.columns] * excited[:, [n]] for n, place in enumerate(places)]
    return np.concatenate(parts, axis=1)


def test_feature_weights_squeeze_excite_and_weigh() -> None:
    """Three features of different widths, squeezed into two units."""
    module = made(Dnn(hidden=(), feature_weights=Senet(kind="senet", reduction_ratio=2)))
    weights, x = weights_of(module), inputs().numpy()

    assert weights["feature_weights.squeeze.weight"].shape == (2, 3)
    expected = linear(reweighted(x, weights, "feature_weights."), weights, "body.0")
    assert np.allclose(module(inputs()).detach().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("told", ["of new ids", "of known ids", "of numbers above 0"])
def test_no_unit_of_a_squeeze_is_born_dead(told: str) -> None:
    """Whatever the seed, each hears some row: what is 0 for every row never learns to be more."""
    rows = {
        "of new ids": torch.zeros(64, SHAPE.input_width),
        "of known ids": torch.randn(64, SHAPE.input_width) / 4,
        "of numbers above 0": torch.rand(64, SHAPE.input_width) * 2,
    }[told]
    for seed in range(100):
        torch.manual_seed(seed)
        weights = FeatureWeights(Senet(kind="senet"), SHAPE)
        squeezed = torch.relu(weights.squeeze(rows @ weights.get_buffer("_means_XF")))
        assert (squeezed > 0).any(dim=0).all(), seed


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
@pytest.mark.parametrize("rank", [None, 2])
def test_a_dcn_multiplies_what_it_was_given_with_what_it_has(
    rank: int | None, structure: str
) -> None:
    """x(l+1) = x(0) · (W x(l) + b) + x(l), W of full or low rank, before or beside the layers."""
    declared = {"cross_layers": 3, "rank": rank, "structure": structure, "hidden": (16,)}
    module = made(Dcn.model_validate(declared))
    weights, x0 = weights_of(module), inputs().numpy()
    before = "0.layers" if structure == "stacked" else "0.cross.layers"

    x = x0
    for layer in range(3):
        name = f"{before}.{layer}"
        product = (
            linear(x, weights, name)
            if rank is None
            else linear(x @ weights[f"{name}.0.weight"].T, weights, f"{name}.1")
        )
        x = x0 * product + x
    if structure == "stacked":
        expected = linear(relu(linear(x, weights, "1")), weights, "3")
    else:
        deep = relu(linear(x0, weights, "0.deep.0"))
        expected = linear(np.concatenate((x, deep), axis=1), weights, "1")

    assert np.allclose(module(inputs()).detach().numpy(), expected, atol=1e-12)


def test_a_dcn_without_hidden_layers_is_its_cross_layers() -> None:
    """Nothing stands beside them then."""
    module = made(Dcn(hidden=(), cross_layers=1))
    weights, x = weights_of(module), inputs().numpy()

    crossed = x * linear(x, weights, "0.layers.0") + x
    expected = linear(crossed, weights, "1")
    assert np.allclose(module(inputs()).detach().numpy(), expected, atol=1e-12)


SEVERAL = replace(
    SHAPE, heads=(Head("a", "home"), Head("b", "player"), Head("c"), Head("d", "home"))
)


def test_a_shared_bottom_has_a_tower_of_each_scenario_on_what_all_share() -> None:
    """Four objectives of two scenarios and of none: each vector stands where its objective does,
    and comes of the layers of its own scenario.
    """
    declared = SharedBottom(bottom=(16,), task=(20,), batch_norm=True)
    module = made(declared, SEVERAL)
    weights, x = weights_of(module), inputs().numpy()

    shared = relu(normed(linear(x, weights, "0"), weights, "1"))
    vectors: dict[str, Doubles] = {}
    for name, objectives in (("of_home", "ad"), ("of_player", "b"), ("anywhere", "c")):
        task = f"3.towers.{name}"
        hidden = relu(normed(linear(shared, weights, f"{task}.0"), weights, f"{task}.1"))
        parts = np.split(linear(hidden, weights, f"{task}.3"), len(objectives), axis=1)
        vectors |= dict(zip(objectives, parts, strict=True))

    expected = np.concatenate([vectors[each] for each in "abcd"], axis=1)
    assert np.allclose(module(inputs()).detach().numpy(), expected, atol=1e-12)


def test_what_one_scenario_learns_leaves_the_towers_of_the_others_alone() -> None:
    """The gradient of its vectors reaches its own layers and the shared ones."""
    module = made(SharedBottom(bottom=(16,), task=(20,)), SEVERAL)

    module(inputs())[:, 4:8].sum().backward()  # objective b, of the player's page

    moved = {name for name, one in module.named_parameters() if one.grad is not None}
    touched = {name for name in moved if module.get_parameter(name).grad.any()}  # type: ignore[union-attr]
    assert {name.split(".")[2] for name in touched if ".towers." in name} == {"of_player"}
    assert {name for name in touched if name.startswith("0.")} == {"0.weight", "0.bias"}


def test_a_shared_bottom_of_one_objective_is_a_dnn() -> None:
    """One tower stands on the bottom: the layers of both, one after the other."""
    module = made(SharedBottom(bottom=(16,), task=(20,), activation="tanh"))
    plain = made(Dnn(hidden=(16, 20), activation="tanh"))
    own = dict(zip(plain.state_dict(), module.state_dict().values(), strict=True))
    plain.load_state_dict(own)

    assert torch.equal(module(inputs()), plain(inputs()))


SMOOTH = {
    "dnn": Dnn(hidden=(16,), activation="tanh", batch_norm=True, residual="user"),
    "dcn": Dcn(hidden=(16,), activation="gelu", cross_layers=2),
    "dat": Dat(hidden=(16,), activation="silu", residual="user"),
    "shared bottom": SharedBottom(bottom=(16,), task=(16,), activation="tanh", residual="user"),
    "low rank": Dcn(hidden=(16,), activation="silu", rank=2, structure="stacked"),
    "senet": Dnn(hidden=(), feature_weights=Senet(kind="senet"), output_activation="tanh"),
}


@pytest.mark.parametrize("declared", SMOOTH.values(), ids=SMOOTH.keys())
@pytest.mark.parametrize("is_training", [False, True])
def test_gradients_are_the_slopes(declared: Tower, *, is_training: bool) -> None:
    """Of inputs and of every weight, in both modes, against small steps in float64."""
    module = made(declared).train(is_training)
    leaves = [inputs(3).requires_grad_(), *module.parameters()]
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(3, 4, generator=generator, dtype=torch.float64)

    def value() -> torch.Tensor:
        found: torch.Tensor = (module(leaves[0]) * direction).sum()
        return found

    value().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        step = 1e-6 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            leaf.add_(step)
            up = value()
            leaf.sub_(2 * step)
            moved = float(up - value())
            leaf.add_(step)
        assert moved == pytest.approx(2 * float((leaf.grad * step).sum()), rel=1e-5, abs=1e-12)


def test_batch_norm_goes_by_the_batch_where_it_learns_and_by_the_running_statistics_elsewhere() -> (
    None
):
    """These move by a tenth of the batch's mean and variance, in train mode only."""
    norm, x = BatchNorm(7).double(), inputs(5)
    alone = nn.Sequential(norm)
    plain = x.numpy()

    seen = norm(x).detach().numpy()
    assert np.allclose(
        seen, (plain - plain.mean(axis=0)) / np.sqrt(plain.var(axis=0) + 1e-5), atol=1e-12
    )
    assert np.allclose(norm.mean.numpy(), 0.1 * plain.mean(axis=0), atol=1e-12)
    assert np.allclose(norm.variance.numpy(), 0.9 + 0.1 * plain.var(axis=0, ddof=1), atol=1e-12)

    before = {name: values.clone() for name, values in norm.state_dict().items()}
    applied = alone.eval()(x).detach().numpy()
    assert np.allclose(applied, normed(plain, weights_of(alone), "0"), atol=1e-12)
    assert all(torch.equal(before[name], values) for name, values in norm.state_dict().items())


def test_a_batch_of_one_row_has_no_variance_and_moves_no_statistics() -> None:
    """A night whose last batch is one click is learnt like any other."""
    norm = BatchNorm(7).train()

    assert norm(torch.ones(1, 7)).isfinite().all()
    assert norm.mean.tolist() == [0.0] * 7


MODEL: dict[str, Any] = {
    "embedding_width": 8,
    "output_width": 8,
    "query": [
        {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
        {"kind": "dense", "name": "age", "column": "age"},
    ],
    "candidate": [
        {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
        {"kind": "item_statistics", "name": "statistics"},
    ],
}
AUGMENTED = {
    side: [
        *MODEL[side],
        {
            "kind": "sparse",
            "name": "augmented",
            "column": f"{feature}_id",
            "table": f"{feature}_augmented",
        },
    ]
    for side, feature in (("query", "user"), ("candidate", "item"))
}
ONE_OF_EACH: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"tower": {"kind": "dnn", "hidden": []}},
    "batch norm and dropout": {
        "tower": {"kind": "dnn", "hidden": [16], "batch_norm": True, "dropout": 0.3}
    },
    "tanh on top": {"tower": {"kind": "dnn", "hidden": [16], "output_activation": "tanh"}},
    "senet": {"tower": {"kind": "dnn", "hidden": [16], "feature_weights": {"kind": "senet"}}},
    "dcn": {"tower": {"kind": "dcn", "hidden": [16]}},
    "dcn of low rank": {
        "tower": {"kind": "dcn", "hidden": [16], "rank": 2, "structure": "stacked", "dropout": 0.3}
    },
    "shared bottom": {"tower": {"kind": "shared_bottom", "bottom": [16], "task": [16]}},
    "dat": {**AUGMENTED, "tower": {"kind": "dat", "hidden": [16]}},
    "one for each side": {
        "query_tower": {"kind": "dcn", "hidden": [16], "residual": "user"},
        "candidate_tower": {"kind": "dnn", "hidden": [16], "residual": "item", "batch_norm": True},
    },
    "dot": {"similarity": "dot", "temperature": 1.0},
    "dot of batch norm": {
        "similarity": "dot",
        "tower": {"kind": "dnn", "hidden": [16], "batch_norm": True},
    },
    "fixed temperature": {"temperature": 0.2, "temperature_learnt": False},
    "no bias": {"popularity_bias": False},
    "a layer of the bias": {"popularity_layer": 4},
}


def spec_of(changes: dict[str, Any]) -> ModelSpec:
    return ModelSpec.model_validate_json(json.dumps(MODEL | changes))


def model_of(spec: ModelSpec) -> TwoTower:
    """Ten users and items, statistics that moved, and a bias that says something."""
    model = TwoTower.untrained(spec, seed=4, device=torch.device("cpu"))
    for table in model.tables.values():
        table.grow(ids())
    with torch.no_grad():
        for name, values in model.towers.state_dict().items():
            if values.ndim and not name.endswith(".weight"):
                values.uniform_(0.1, 0.9)
    return model


def ids() -> Keys:
    return np.arange(1, 11, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def queries() -> Encoded:
    ages = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
    users = one_id_each(ids())
    return {"user": users, "augmented": users, "age": Numbers(ages)}


def candidates() -> Encoded:
    numbers = np.random.default_rng(1).random((10, 7)).astype(np.float32)
    items = one_id_each(ids())
    return {"item": items, "augmented": items, "statistics": Numbers(numbers)}


def in_training_form(model: TwoTower) -> list[npt.NDArray[np.float32]]:
    """For each objective [10, 10]: the score of each query and item, as its loss gets its parts."""
    sides = {"query": queries(), "candidate": candidates()}
    inputs = {
        side: model.pooled(encoded, model.rows_of(encoded, side), side)  # type: ignore[arg-type]
        for side, encoded in sides.items()
    }
    heads = zip(
        model.towers.query_vectors(inputs["query"]),
        model.towers.candidate_vectors(inputs["candidate"]),
        model.towers.log_scales(),
        strict=True,
    )
    return [
        (log_scale.exp() * (queried @ vectors.T) + bias).detach().numpy()
        for queried, (vectors, bias), log_scale in heads
    ]


@pytest.mark.parametrize("changes", ONE_OF_EACH.values(), ids=ONE_OF_EACH.keys())
def test_one_product_in_the_index_is_the_training_score(changes: dict[str, Any]) -> None:
    """Of exported vectors, times the scale, to 1e-5: the order of items is that of training."""
    model = model_of(spec_of(changes))

    products = model.query_vectors(queries()) @ model.candidate_vectors(candidates()).T

    scale = float(model.towers.log_scale.exp().detach())
    (scores,) = in_training_form(model)
    assert np.allclose(products, scores / scale, rtol=1e-5, atol=1e-5)


OBJECTIVES: dict[str, Any] = {
    "click": {},
    "like": {
        "positive": {"column": "liked"},
        "loss": {"kind": "bce", "gamma": 1.2},
        "request_weight": 3.0,
    },
    "watch": {"loss": {"kind": "log_mse", "column": "seconds"}, "request_weight": 0.0},
}
WITH_OBJECTIVES = {
    f"objectives, {name}": ONE_OF_EACH[name] | {"objectives": OBJECTIVES}
    for name in ("default", "dcn", "dat", "one for each side", "dot", "no bias")
}


@pytest.mark.parametrize("changes", WITH_OBJECTIVES.values(), ids=WITH_OBJECTIVES.keys())
@pytest.mark.parametrize(
    "weights", [None, {"watch": 2.0}, {"click": 1e300, "like": 2e300, "watch": 1e-300}]
)
def test_one_product_in_the_index_is_the_weighted_sum_of_the_training_scores(
    changes: dict[str, Any], weights: dict[str, float] | None
) -> None:
    """Each in the units that its loss learns, divided by one number for all items; what is not
    named counts nothing, and without weights those of the declaration count.
    """
    model = model_of(spec_of(changes))
    seconds = np.array([1.0, 9.0, 2.0, 30.0], np.float32)
    model.observe_numbers("watch", seconds)
    units = {"click": 1.0, "like": 1.2, "watch": float(seconds.std())}
    counts = {"click": 1.0, "like": 3.0} if weights is None else weights

    found = model.query_vectors(queries(), weights) @ model.candidate_vectors(candidates()).T

    scores = dict(zip(OBJECTIVES, in_training_form(model), strict=True))
    scales = dict(zip(OBJECTIVES, model.towers.log_scale.exp().tolist(), strict=True))
    parts = {name: count / max(counts.values()) * units[name] for name, count in counts.items()}
    expected = sum(part * scores[name].astype(np.float64) for name, part in parts.items())
    total = sum(part * scales[name] for name, part in parts.items())
    assert np.allclose(found, expected / total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes", (ONE_OF_EACH | WITH_OBJECTIVES).values(), ids=ONE_OF_EACH | WITH_OBJECTIVES
)
def test_what_is_written_and_read_again_gives_the_same_vectors_to_the_bit(
    changes: dict[str, Any],
) -> None:
    """A checkpoint's arrays, both sides; and those of a version, the query side alone."""
    spec = spec_of(changes)
    model = model_of(spec)
    device = torch.device("cpu")

    again = TwoTower.from_arrays(spec, model.arrays(), device=device)
    served = TwoTower.from_arrays(spec, model.arrays(("query",)), device=device)

    own = model.query_vectors(queries())
    assert np.array_equal(again.query_vectors(queries()), own)
    assert np.array_equal(served.query_vectors(queries()), own)
    assert np.array_equal(
        again.candidate_vectors(candidates()), model.candidate_vectors(candidates())
    )
    names = {name for name in model.arrays(("query",)) if name.startswith("dense.")}
    weighed = {"dense.log_scale"} if len(spec.every_objective()) > 1 else set()
    of_queries = {name for name in model.arrays() if name.startswith("dense.query.")}
    assert names == of_queries | weighed
    arrays = again.arrays()
    assert all(np.array_equal(arrays[name], each) for name, each in model.arrays().items())


def test_whoever_applies_a_model_has_it_in_eval_mode() -> None:
    """However its towers came: dropout draws nothing, and batch norm moves nothing."""
    spec = spec_of(ONE_OF_EACH["batch norm and dropout"])
    trained = TwoTower(spec, model_of(spec).tables, Towers(spec).train())
    read = TwoTower.from_arrays(spec, trained.arrays(), device=torch.device("cpu"))

    for model in (trained, read):
        assert not any(module.training for module in model.towers.modules())
        before = {name: np.copy(array) for name, array in model.arrays().items()}
        first = model.query_vectors(queries())
        assert np.array_equal(model.query_vectors(queries()), first)
        assert all(np.array_equal(before[name], each) for name, each in model.arrays().items())


def test_the_learner_alone_switches_towers_to_train_mode() -> None:
    """No other file of the stages calls `.train(`, so neither publisher nor server can."""
    stages = ("twintide", "trainer", "publisher", "serving", "console")
    files = [path for stage in stages for path in (ROOT / stage).rglob("*.py")]
    switching = [path for path in files if re.search(r"\)\.train\(|towers\.train\(", _text(path))]

    assert [path.relative_to(ROOT).as_posix() for path in switching] == ["trainer/learner.py"]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_fixed_temperature_is_in_reach_of_no_optimizer() -> None:
    """It is written all the same, as the learnt one is."""
    fixed = Towers(spec_of({"temperature": 0.2, "temperature_learnt": False}))
    learnt = Towers(spec_of({"temperature": 0.2}))

    assert "log_scale" not in dict(fixed.named_parameters())
    assert "log_scale" in dict(learnt.named_parameters())
    assert torch.equal(fixed.state_dict()["log_scale"], learnt.state_dict()["log_scale"])


QUICKSTART = config.load(ROOT / "configs" / "quickstart.yaml")


def quickstart(**model: Any) -> Deployment:
    values = QUICKSTART.model_dump(mode="json")
    return config.parse({**values, "model": {**values["model"], **model}}, name="it")


def of_query(**keys: Any) -> dict[str, Any]:
    return {"query_tower": {"kind": "dnn", **keys}}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "the old key": (
        {"hidden": [256, 128]},
        "model.hidden: is no key that this section has (did you mean model.tower.hidden?",
    ),
    "a kind nobody has": ({"tower": {"kind": "dcm"}}, "model.tower: has a kind that is none of"),
    "no kind": ({"tower": {"hidden": [32]}}, "model.tower: needs a kind"),
    "a name for a tower": ({"tower": "dnn"}, "model.tower: must be a mapping of keys to values"),
    "a key of another kind": (
        {"tower": {"kind": "dnn", "rank": 3}},
        "model.tower.rank: is no key that this section has (it is a key of another kind",
    ),
    "a slip": (
        of_query(dropuot=0.2),
        (
            "model.query_tower.dropuot: is no key that this section has (did you mean "
            "model.query_tower.dropout?"
        ),
    ),
    "all left out": (of_query(dropout=1.0), "model.query_tower.dropout: must be at most 0.9"),
    "a layer too narrow": (of_query(hidden=[8]), "model.query_tower.hidden.0: must be at least 16"),
    "an activation nobody has": (
        of_query(activation="swish"),
        "model.query_tower.activation: must be one of 'relu'",
    ),
    "a number for a truth": (
        of_query(batch_norm=1),
        "model.query_tower.batch_norm: must be true or false; it is 1",
    ),
    "a residual of the other side": (
        {"tower": {"kind": "dnn", "residual": "user"}},
        "model.tower.residual: the candidate tower sees no feature 'user'; it sees item, category",
    ),
    "a residual nobody sees": (
        of_query(residual="usr"),
        "model.query_tower.residual: the query tower sees no feature 'usr'",
    ),
    "a residual of another width": (
        of_query(residual="user") | {"output_width": 32},
        (
            "model.query_tower.residual: 'user' gives 64 numbers to the query tower, and its "
            "vectors have 32 (model.output_width: 64"
        ),
    ),
    "a rank that saves nothing": (
        {"query_tower": {"kind": "dcn", "rank": 160}},
        (
            "model.query_tower.rank: two matrices of rank 160 hold no fewer weights than one for "
            "the 320 inputs of the query tower (less than 160"
        ),
    ),
    "a layer too narrow for a task": (
        {"tower": {"kind": "shared_bottom", "task": [8]}},
        "model.tower.task.0: must be at least 16",
    ),
    "layers of another kind": (
        {"tower": {"kind": "shared_bottom", "hidden": [32]}},
        "model.tower.hidden: is no key that this section has (it is a key of another kind",
    ),
    "no cross layers": (
        {"tower": {"kind": "dcn", "cross_layers": 0}},
        "model.tower.cross_layers: must be at least 1",
    ),
    "a structure nobody has": (
        {"tower": {"kind": "dcn", "structure": "serial"}},
        "model.tower.structure: must be one of 'parallel' or 'stacked'",
    ),
    "feature weights by name": (
        of_query(feature_weights="senet"),
        "model.query_tower.feature_weights: must be a mapping of keys to values",
    ),
    "feature weights nobody has": (
        of_query(feature_weights={"kind": "sent"}),
        "model.query_tower.feature_weights.kind: must be one of 'senet'; it is 'sent'",
    ),
    "an augmented vector that is no feature": (
        {"query_tower": {"kind": "dat"}},
        (
            "model.query_tower.augmented: the query tower sees no feature 'augmented'; it sees "
            "user, history, hour, region, last ({kind: sparse, name: augmented, column: …"
        ),
    ),
    "an augmented vector of several ids": (
        {"query_tower": {"kind": "dat", "augmented": "history"}},
        (
            "model.query_tower.augmented: 'history' of the query tower is not the learnt row of "
            "one id"
        ),
    ),
    "an augmented vector of another width": (
        {"query_tower": {"kind": "dat", "augmented": "user"}, "output_width": 32},
        (
            "model.query_tower.augmented: 'user' has 64 numbers on the query side, and learns to "
            "be like vectors of 32 (model.tables: {…: {width: 32}} for its table"
        ),
    ),
    "an augmented vector out of a file": (
        {
            "candidate_tower": {"kind": "dat", "augmented": "item"},
            "tables": {"item": {"vectors": "items.parquet", "width": 64}},
        },
        "model.candidate_tower.augmented: 'item' of the candidate tower is not the learnt row of",
    ),
    "a category nobody has": (
        {"candidate_tower": {"kind": "dat", "augmented": "item", "category": "genre"}},
        "model.candidate_tower.category: the candidate tower sees no feature 'genre'; it sees item",
    ),
    "several categories of an item": (
        {"candidate_tower": {"kind": "dat", "augmented": "item", "category": "topics"}},
        "model.candidate_tower.category: 'topics' is not one id, so that an item may be of several",
    ),
    "a category of the wrong side": (
        {"query_tower": {"kind": "dat", "augmented": "user", "category": "region"}},
        "model.query_tower.category: items are aligned by category, and this is the tower of the",
    ),
    "an alignment by nothing": (
        {"candidate_tower": {"kind": "dat", "augmented": "item", "alignment_weight": 3.0}},
        "model.candidate_tower.alignment_weight: there is no category to align by",
    ),
    "a similarity nobody has": (
        {"similarity": "euclid"},
        "model.similarity: must be one of 'cosine' or 'dot'; it is 'euclid'",
    ),
}


@pytest.mark.parametrize(("model", "told"), WRONG.values(), ids=WRONG.keys())
def test_a_tower_that_cannot_work_is_refused_with_key_reason_and_hint(
    model: dict[str, Any], told: str
) -> None:
    """Before anything is learnt: `config check` says the same."""
    with pytest.raises(Refused) as refused:
        quickstart(**model)

    assert str(refused.value).startswith(f"it: {told}")
    assert refused.value.hint


def test_a_tower_of_another_kind_replaces_the_one_that_was_there() -> None:
    """`fill_in` changes keys of one kind one by one, and mixes no two kinds."""
    deep = fill_in(QUICKSTART, {"model": {"tower": {"hidden": [32]}}})
    crossed = fill_in(deep, {"model": {"tower": {"kind": "dcn", "cross_layers": 3}}})

    assert deep.model.tower == Dnn(hidden=(32,))
    assert crossed.model.tower == Dcn(cross_layers=3)
    assert crossed.model.tower_of("query") == crossed.model.tower_of("candidate")


def test_every_kind_that_can_be_declared_can_be_applied() -> None:
    """Its module is found by its name."""
    for kind in get_args(get_args(AnyTower)[0]):
        vectors = tower(kind(), SHAPE)(inputs().float())
        assert vectors.shape == (6, 4)

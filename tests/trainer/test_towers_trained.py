"""Every tower goes the whole way: a night, an hour, a version; and again from its lineage."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from publisher.publish import publish
from publisher.reader import load_version
from publisher.samples import queries
from tests.trainer.conftest import MakeLine, at
from trainer.learner import Learner
from trainer.rebuild import rebuild
from twintide.arrays import Arrays
from twintide.clock import HeldClock
from twintide.features.columns import from_columns

EVERYTHING = {
    "tower": {
        "kind": "dnn",
        "hidden": [16],
        "batch_norm": True,
        "dropout": 0.2,
        "feature_weights": {"kind": "senet"},
        "output_activation": "tanh",
        "residual": "user",
    },
    "candidate_tower": {"kind": "dcn", "hidden": [16], "rank": 4, "batch_norm": True},
    "similarity": "dot",
    "temperature": 1.0,
    "temperature_learnt": False,
}
DAT = {
    "tower": {"kind": "dat", "hidden": [16]},
    "candidate_tower": {"kind": "dat", "hidden": [16], "category": "category"},
    "query": [
        {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
        {"kind": "attention_history", "name": "history", "table": "item", "length": 4},
        {"kind": "sparse", "name": "augmented", "column": "user_id", "table": "user_augmented"},
    ],
    "candidate": [
        {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
        {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
        {"kind": "sparse", "name": "augmented", "column": "item_id", "table": "item_augmented"},
    ],
    "popularity_bias": False,
}
SEVERAL = {
    "scenarios": {"home": {"column": "region", "equals": 0}},
    "objectives": {
        "click": {},
        "like": {"positive": {"column": "liked", "equals": True}},
        "like_at_home": {"positive": {"column": "liked", "equals": True}, "scenario": "home"},
    },
}
TOWERS: dict[str, dict[str, Any]] = {
    "dat": DAT,
    "dat of three objectives": DAT | SEVERAL,
    "shared bottom": {
        "tower": {"kind": "shared_bottom", "bottom": [16], "task": [16], "batch_norm": True},
        **SEVERAL,
    },
    "gelu": {"tower": {"kind": "dnn", "hidden": [16], "activation": "gelu"}},
    "batch norm": {"tower": {"kind": "dnn", "hidden": [16], "batch_norm": True}},
    "dropout": {"tower": {"kind": "dnn", "hidden": [16, 16], "dropout": 0.3}},
    # As many units as features: of two, both may hear nothing from the first weights on.
    "senet": {
        "tower": {
            "kind": "dnn",
            "hidden": [16],
            "feature_weights": {"kind": "senet", "reduction_ratio": 1},
        }
    },
    "dcn": {"tower": {"kind": "dcn", "hidden": [16]}},
    "dcn stacked": {"tower": {"kind": "dcn", "hidden": [16], "rank": 4, "structure": "stacked"}},
    "dot": {"similarity": "dot", "temperature": 1.0},
}


@pytest.mark.parametrize(
    "model",
    [EVERYTHING, *(pytest.param(each, marks=pytest.mark.long) for each in TOWERS.values())],
    ids=["everything", *TOWERS],
)
def test_a_tower_is_learnt_at_night_frozen_by_the_hour_and_served_as_it_was_learnt(
    make_line: MakeLine, tmp_path: Path, model: dict[str, Any]
) -> None:
    """The hourly pass moves no bit of the towers, running statistics and all; a version answers
    with the vectors of the checkpoint's model; a rebuild draws the same dropout.
    """
    line = make_line({"model": model})
    night = line.night(0)
    hour = line.hour(1, 2)

    untrained = Learner.untrained(line.deployment.model, seed=1).arrays()
    learnt = dense_of(night.arrays)
    assert all(
        not np.array_equal(array, untrained[name])
        for name, array in learnt.items()
        if array.ndim or line.deployment.model.temperature_learnt
    )
    assert learnt.keys() == dense_of(hour.arrays).keys()
    assert [name for name in learnt if not np.array_equal(learnt[name], hour.arrays[name])] == []
    assert not np.array_equal(night.arrays["table.item.weights"], hour.arrays["table.item.weights"])

    published = publish(line.deployment, clock=HeldClock(at(1, 3)))
    version = load_version(line.deployment.versions_dir, published.version)
    spec = line.deployment.model
    towers = Learner.from_arrays(spec, hour.arrays).model
    encoded = queries(towers, line.deployment.events, version.memories)
    assert np.allclose(
        version.model.query_vectors(encoded), towers.query_vectors(encoded), atol=1e-5
    )
    items = from_columns(hour.catalogue, spec.candidate, "candidate")
    indexed = version.index.vectors(np.arange(version.index.items))
    assert np.allclose(indexed, towers.candidate_vectors(items), rtol=1e-5, atol=1e-5)

    again = [
        rebuild(line.deployment, each.manifest.name, into=tmp_path / "again")
        for each in (night, hour)
    ]
    assert again == [night.manifest, hour.manifest]


def dense_of(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if name.startswith("dense.")}


@pytest.mark.long
def test_what_is_left_out_follows_from_the_runs_seed_alone(make_line: MakeLine) -> None:
    """Whatever else draws random numbers in the process; another seed leaves out others."""
    line = make_line({"model": TOWERS["dropout"], "training": {"seed": 3}})
    torch.manual_seed(11)
    night = line.night(0)
    other = make_line({"model": TOWERS["dropout"], "training": {"seed": 3}})
    torch.manual_seed(12)
    before = torch.random.get_rng_state()

    assert other.night(0).manifest.files == night.manifest.files
    assert torch.equal(torch.random.get_rng_state(), before)

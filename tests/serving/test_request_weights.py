"""What each objective counts is said in a request, and the answer follows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from serving.request import parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from twintide.errors import Refused
from twintide.model.two_tower import TwoTower

OBJECTIVES = {"click": {}, "like": {"request_weight": 0.5, "loss": {"kind": "bpr"}}}
ITEMS = made.item_range(1000, 300)


@pytest.fixture
def model() -> TwoTower:
    """Both sides of what is served."""
    return made.model_of(made.deployment_at(Path("nowhere"), **with_objectives()), ITEMS)


@pytest.fixture
def retriever(tmp_path: Path) -> Retriever:
    deployment = made.deployment_at(tmp_path / "data", **with_objectives())
    made.add_checkpoint(deployment, 1, items=ITEMS)
    publish(deployment, clock=made.held_clock())
    version = load_version(deployment.versions_dir, "v000001")
    return Retriever(version, clock=made.held_clock(), max_k=300)


def with_objectives() -> dict[str, Any]:
    usual = made.configuration(Path("nowhere"))["model"]
    return {"model": usual | {"objectives": OBJECTIVES}}


def answered(retriever: Retriever, **request: object) -> list[int | str]:
    said = json.dumps({"user_id": 4, "k": 300} | request).encode()
    return retriever.answer(parse_request(said)).item_ids


WEIGHTS = [{"click": 1}, {"like": 0.2}, {"click": 1, "like": 3}, {"click": 2.0, "like": 0}]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_weights_order_items_as_the_weighted_sum_does(
    retriever: Retriever, model: TwoTower, weights: dict[str, float]
) -> None:
    """All items, against the scores of each objective; without a word on the retrained model."""
    deployment = made.deployment_at(Path("nowhere"), **with_objectives())
    encoded = retriever.encode(parse_request(b'{"user_id": 4}'))
    candidates = made.candidates_of(deployment, ITEMS)
    scores = {
        name: model.query_vectors(encoded, {name: 1.0}) @ model.candidate_vectors(candidates).T
        for name in OBJECTIVES
    }

    expected = sum(weight * scores[name][0] for name, weight in weights.items())

    assert answered(retriever, objectives=weights) == (np.argsort(-expected) + 1000).tolist()
    assert retriever.version.manifest.dimension == 2 * 17


def test_a_request_that_says_nothing_is_answered_by_what_is_declared(retriever: Retriever) -> None:
    """As the one that says the same weights; another one is answered otherwise."""
    declared = answered(retriever)

    assert answered(retriever, objectives={"click": 1.0, "like": 0.5}) == declared
    assert answered(retriever, objectives={"click": 100, "like": 50}) == declared
    assert answered(retriever, objectives={"like": 1}) != declared


def test_an_objective_that_was_not_learnt_is_refused_and_those_there_are_named(
    retriever: Retriever,
) -> None:
    """By the name that was given."""
    with pytest.raises(Refused, match="has learnt no 'buy'") as refused:
        answered(retriever, objectives={"click": 1, "buy": 2})
    assert refused.value.hint.endswith("click, like")

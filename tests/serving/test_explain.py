"""Why an item is in an answer: parts that add up to its score, and what of the history pulled."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from serving.bounds import MOST_EXPLAINED
from serving.explain import PULLS
from serving.request import RecommendRequest, parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from twintide.clock import HeldClock
from twintide.errors import Refused
from twintide.keys import keys_of
from twintide.modelspec import CLICKS


@pytest.fixture(scope="module")
def data(data_once: Path) -> Path:
    """Two versions that no test changes."""
    return data_once


@pytest.fixture
def retriever(data: Path) -> Retriever:
    version = load_version(made.deployment_at(data).versions_dir, "v000001")
    return Retriever(version, clock=made.held_clock(), max_k=250)


def request_of(**values: object) -> RecommendRequest:
    return parse_request(json.dumps(values).encode())


def explained(retriever: Retriever, **request: object) -> list[dict[str, Any]]:
    answer = retriever.answer(request_of(explain=True, **request))
    items: list[dict[str, Any]] = answer.to_dict()["items"]
    return items


def test_the_parts_add_up_to_the_score(retriever: Retriever) -> None:
    """Of each item, and the answer is the same as without."""
    items = explained(retriever, user_id=4, k=20)

    plain = retriever.answer(request_of(user_id=4, k=20)).to_dict()["items"]
    assert [{key: item[key] for key in ("item_id", "score")} for item in items] == plain
    for item in items:
        (part,) = item["explain"]["parts"].values()
        assert part["similarity"] + part["bias"] == pytest.approx(item["score"], abs=1e-5)
        assert part["bias"]


@pytest.mark.parametrize("recent", [None, [1001, 1002, 1003, 1007], [1005], []])
def test_an_item_of_the_history_pulled_what_scores_lower_without_it(
    retriever: Retriever, recent: list[int] | None
) -> None:
    """By so much, the strongest first: as if the request had been made without it."""
    version = retriever.version
    if recent is None:
        keys = version.memories[CLICKS].of(keys_of(pa.array([4])), length=5).keys
        history = [
            version.item_ids[int(version.positions_of(np.array([key]))[0])].as_py() for key in keys
        ]
    else:
        history = recent
    items = explained(retriever, user_id=4, k=10, recent=recent)

    every = {"user_id": 4, "k": 250}
    whole = scores_of(retriever, **every, recent=history)
    for item in items:
        expected = []
        for place, one in enumerate(history):
            rest = history[:place] + history[place + 1 :]
            score = scores_of(retriever, **every, recent=rest).get(item["item_id"])
            if score is not None and (change := whole[item["item_id"]] - score) > 1e-5:
                expected.append((one, change))
        expected.sort(key=lambda pull: -pull[1])
        found = [(pull["item_id"], pull["score"]) for pull in item["explain"]["history"]]
        assert found == [(one, pytest.approx(change, abs=1e-5)) for one, change in expected[:PULLS]]


def scores_of(retriever: Retriever, **request: Any) -> dict[Any, float]:
    answer = retriever.answer(request_of(**request))
    return dict(zip(answer.item_ids, answer.scores, strict=True))


class Hasty(HeldClock):
    """A clock that moves on by an hour whenever somebody has looked."""

    def now(self) -> datetime:
        at = super().now()
        self.advance(3600)
        return at


def test_reasons_are_of_the_instant_of_the_answer(retriever: Retriever) -> None:
    """An hour that begins while an answer is explained changes none of its reasons."""
    hasty = Retriever(retriever.version, clock=Hasty(made.NOON), max_k=250)

    assert explained(hasty, user_id=4, k=5) == explained(retriever, user_id=4, k=5)


def test_an_empty_answer_has_nothing_to_explain(retriever: Retriever) -> None:
    """Where all is excluded there are no items, with `explain` as without; it was a 500 once."""
    every = list(range(1000, 1300))

    assert explained(retriever, user_id=4, k=3, exclude=every) == []


def test_only_so_many_items_are_explained(retriever: Retriever) -> None:
    """Each costs what an answer costs."""
    with pytest.raises(Refused, match="at most 100 items are explained"):
        retriever.answer(request_of(user_id=4, k=MOST_EXPLAINED + 1, explain=True))


def test_a_model_that_does_not_look_back_explains_by_parts_alone(tmp_path: Path) -> None:
    """There is no history to pull."""
    values = made.configuration(tmp_path / "data")
    values["model"]["query"] = [
        each for each in values["model"]["query"] if each["kind"] != "history"
    ]
    deployment = made.deployment_at(tmp_path / "data", model=values["model"])
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=made.held_clock(), judge=False)
    version = load_version(deployment.versions_dir, "v000001")
    retriever = Retriever(version, clock=made.held_clock(), max_k=250)

    assert all(not item["explain"]["history"] for item in explained(retriever, user_id=4, k=3))

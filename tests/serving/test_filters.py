"""Answers with filters, exclusions and what the user has seen are those of a plain loop."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.attributes import ATTRIBUTES, Attribute, attribute_table, attributes_in, features_of
from publisher.publish import publish
from publisher.reader import load_version
from serving.request import RecommendRequest, parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from tests.twintide import test_towers as towers
from twintide.config import parse
from twintide.errors import Corrupt, Refused
from twintide.keys import keys_of
from twintide.problems import Misconfigured
from twintide.ragged import Encoded, Ids, one_id_each

ITEMS = 6_000
TAGS = [f"tag {number}" for number in range(11)]
TOLD_ONE = {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag", "told_length": 1}
"""The model is told the first tag of an item, and an item has up to three."""


@pytest.fixture(scope="module", params=["flat", "ivf"])
def retriever(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Retriever:
    """Of 6,000 items, item i in category i % 8 and with some tags, with either index."""
    publishing = {"index": request.param, "nprobe": 4, "filters": ["category", "tags"]}
    values = made.configuration(tmp_path_factory.mktemp("filtered"), publishing=publishing)
    values["model"]["candidate"].append(TOLD_ONE)
    deployment = parse(values, name="the test's configuration")
    made.add_checkpoint(deployment, 1, items=made.item_range(0, ITEMS))
    publish(deployment, clock=made.held_clock(), judge=False)
    version = load_version(deployment.versions_dir, "v000001")
    return Retriever(version, clock=made.held_clock(), max_k=ITEMS)


def request_of(**values: object) -> RecommendRequest:
    return parse_request(json.dumps(values).encode())


def plainly(retriever: Retriever, asked: dict[str, Any]) -> list[int]:
    """Every item's product, the best first, of those that may be."""
    version = retriever.version
    query = version.model.query_vectors(retriever.encode(request_of(**asked)))[0]
    scores = version.index.vectors(np.arange(ITEMS)) @ query
    may = ~np.isin(np.arange(ITEMS), asked.get("exclude", []))
    filters = asked.get("filters", {})
    if "category" in filters:
        may &= np.isin(np.arange(ITEMS) % made.CATEGORIES, filters["category"])
    if "tags" in filters:
        may &= [any(tag in filters["tags"] for tag in made.tag_names(i)) for i in range(ITEMS)]
    if not asked.get("seen", True):
        known = version.memories[""].of(keys_of(pa.array([asked["user_id"]])), length=100).keys
        may &= ~np.isin(version.item_keys, known)
        may &= ~np.isin(np.arange(ITEMS), asked.get("recent", []))
    best = [int(item) for item in np.lexsort((np.arange(ITEMS), -scores)) if may[item]]
    return best[: asked["k"]]


def drawn(rng: np.random.Generator) -> dict[str, Any]:
    """A request whose answer is sometimes all that is left."""
    asked: dict[str, Any] = {"user_id": int(rng.integers(0, made.USERS))}
    asked["k"] = int(rng.choice([1, 10, 100, ITEMS]))
    if rng.random() < 0.7:
        categories = rng.choice(12, rng.integers(1, 9), replace=False).tolist()
        asked["filters"] = {"category": categories}
    if rng.random() < 0.4:
        tags = rng.choice(TAGS, rng.integers(1, 4), replace=False).tolist()
        asked["filters"] = asked.get("filters", {}) | {"tags": tags}
    if rng.random() < 0.5:
        asked["exclude"] = rng.choice(2 * ITEMS, rng.integers(1, 3_000)).tolist()
    if rng.random() < 0.3:
        asked |= {"seen": False, "recent": rng.choice(ITEMS, 3).tolist()}
    return asked


@pytest.mark.promise("P11")
def test_answers_with_filters_are_those_of_a_plain_loop(retriever: Retriever) -> None:
    """All that are asked for or all that are left, none that may not be; exact ones are the best;
    of an inverted file, nearly all are.
    """
    rng = np.random.default_rng(11)
    wanted = found = 0
    for _ in range(60):
        asked = drawn(rng)
        expected = plainly(retriever, asked)
        answered = retriever.answer(request_of(**asked)).item_ids
        exactly = retriever.answer(request_of(**asked, exact=True)).item_ids

        assert len(answered) == len(set(answered)) == len(expected)
        assert set(answered) <= set(plainly(retriever, asked | {"k": ITEMS}))
        assert len(set(exactly) ^ set(expected)) <= 2  # rounding of equal scores
        wanted += len(expected)
        found += len(set(answered) & set(expected))
    assert found >= 0.97 * wanted


def test_what_filters_look_into_is_made_with_the_retriever(retriever: Retriever) -> None:
    """And not by the first request, for which all others would wait."""
    read = {name: Attribute(each.ids) for name, each in retriever.version.attributes.items()}
    version = replace(retriever.version, attributes=read)
    other = Retriever(version, clock=made.held_clock(), max_k=ITEMS)
    ready = {name: set(vars(each)) for name, each in read.items()}
    other.answer(request_of(user_id=1, k=1, filters={"category": 3, "tags": "tag 1"}))

    assert {name: set(vars(each)) for name, each in read.items()} == ready


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"region": "x"}, r"cannot be filtered by 'region'.*columns that it can: category"),
        ({"category": "3"}, r"filters.category must be of type int64.*'3' \(str\)"),
        ({"category": True}, r"filters.category must be of type int64"),
        ({"category": [1, 2**63]}, r"filters.category must be of type int64"),
        ({"category": []}, r"filters"),
        ({"category": None}, r"filters"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(
    retriever: Retriever, filters: dict[str, Any], message: str
) -> None:
    """By column, with what there is."""
    with pytest.raises(Refused, match=message):
        retriever.answer(request_of(user_id=4, filters=filters))


def test_an_unknown_value_has_no_items(retriever: Retriever) -> None:
    """Which is an answer, and no mistake."""
    assert retriever.answer(request_of(user_id=4, filters={"category": 99})).item_ids == []


def test_an_item_is_found_by_each_of_its_tags_and_without_any_by_none(
    retriever: Retriever,
) -> None:
    """By those that the model is not told as well: a filter says nothing of the model."""
    every = retriever.answer(request_of(user_id=4, k=ITEMS, filters={"tags": TAGS})).item_ids
    third = retriever.answer(request_of(user_id=4, k=ITEMS, filters={"tags": "tag 8"})).item_ids

    assert len(every) == ITEMS * 3 // 4
    assert sorted(map(int, third)) == [i for i in range(ITEMS) if "tag 8" in made.tag_names(i)]
    assert all(made.tag_names(int(item))[0] != "tag 8" for item in third)


def test_lists_are_filtered_by_each_of_their_values() -> None:
    """An item with several tags is found by each of them, and once by two."""
    spec = towers.spec_of({"candidate": CANDIDATES})
    tags = Ids(keys_of(pa.array(["a", "b", "b", "c"])), np.array([0, 2, 2, 4]))
    encoded: Encoded = {"item": one_id_each(keys_of(pa.array([7, 8, 9]))), "tags": tags}
    table = attribute_table(encoded, spec, ["tags", "item_id", "unknown"])

    found = attributes_in(table, spec, items=3)

    assert set(found) == {"tags", "item_id"}
    assert found["tags"].having(keys_of(pa.array(["b"]))).tolist() == [True, False, True]
    assert found["tags"].having(keys_of(pa.array(["b", "c", "d"]))).tolist() == [True, False, True]
    assert found["item_id"].having(keys_of(pa.array([8]))).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"tags": pa.array([1, 2, 3], pa.uint64())}),
        pa.table({"item_id": pa.array([1, 2], pa.uint64())}),
        pa.table({"item_id": pa.array([1, 2, None], pa.uint64())}),
        pa.table({"secret": pa.array([1, 2, 3], pa.uint64())}),
    ],
)
def test_attributes_that_do_not_fit_are_corrupt(table: pa.Table) -> None:
    """Of another type, too few, null, or of a column that the model is not told."""
    with pytest.raises(Corrupt, match=ATTRIBUTES):
        attributes_in(table, towers.spec_of({"candidate": CANDIDATES}), items=3)


def test_only_what_the_model_is_told_can_be_filtered_by(tmp_path: Path) -> None:
    """Which `config check` says."""
    publishing = {"filters": ["category", "age"]}

    with pytest.raises(Misconfigured, match=r"publishing.filters.1.*'age'"):
        parse(made.configuration(tmp_path, publishing=publishing), name="x")


CANDIDATES = [
    towers.MODEL["candidate"][0],
    {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag"},
]


def test_a_filter_by_a_list_of_which_the_model_is_told_a_part_is_refused() -> None:
    """It would not find an item by a later value. Where another feature is told all of it, that one
    says what an item is.
    """
    values = made.configuration(Path("nowhere"), publishing={"filters": ["tags"]})
    short = {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag", "max_length": 2}
    values["model"]["candidate"].append(short)
    with pytest.raises(Misconfigured, match=r"publishing.filters.0.*max_length.*told_length"):
        parse(values, name="the test's configuration")

    values["model"]["candidate"].append(short | {"name": "all_tags", "max_length": 10_000})
    model = parse(values, name="the test's configuration").model

    assert features_of(model, ["tags"])["tags"].name == "all_tags"
    values["model"]["candidate"].reverse()
    model = parse(values, name="the test's configuration").model
    assert features_of(model, ["tags"])["tags"].name == "all_tags"

"""What rows of a collection say of an item, so that a filter finds it."""

from typing import Any

import numpy as np
import pytest

from publisher.attributes import Attribute
from publisher.index.milvus.columns import MOST_KEYS, having, single_in, values_of
from publisher.index.milvus.found import MilvusIndex
from publisher.index.milvus.halves import Halves
from publisher.index.selection import Selection
from twintide.config import MilvusConfig
from twintide.errors import Refused
from twintide.ragged import Ids, one_id_each
from twintide.versions import IndexAt

LARGE = 2**64 - 1
TOLD = {
    "tags": Attribute(Ids(np.array([1, 2, 3], np.uint64), np.array([0, 2, 2, 3]))),
    "category": Attribute(one_id_each(np.array([7, 0, LARGE], np.uint64))),
    "author": Attribute(Ids(np.array([5, 6], np.uint64), np.array([0, 1, 1, 2]))),
}
AT = IndexAt(
    kind="milvus",
    service=MilvusConfig(uri="http://127.0.0.1:1", prefix="news"),
    collection="news_000001",
    epoch=0,
    rows=3,
    lists=1,
    probes=1,
    columns=tuple(TOLD),
    single=("category", "author"),
)


def test_a_column_of_at_most_one_value_an_item_is_a_number() -> None:
    """Its key as int64, and 0 of an item that has none, which is no value's key; else a list."""
    assert single_in(TOLD) == ("category", "author")
    assert values_of(AT, TOLD, np.array([2, 1, 0])) == {
        "attribute_0": [[3], [], [1, 2]],
        "attribute_1": [-1, 0, 7],
        "attribute_2": [6, 0, 5],
    }


def test_a_filter_asks_for_numbers_before_it_asks_for_lists() -> None:
    """In whatever order the request names them: a list is read one by one where numbers are not."""
    wanted = {name: np.array([1, LARGE], np.uint64) for name in TOLD}

    assert having(AT, wanted) == [
        "attribute_1 in [1, -1]",
        "attribute_2 in [1, -1]",
        "array_contains_any(attribute_0, [1, -1])",
    ]


def test_a_manifest_of_before_has_a_list_of_every_column() -> None:
    """Its collection is asked as it was written."""
    read = IndexAt.model_validate_json(AT.model_dump_json(exclude={"single"}))

    assert read.single == ()
    assert having(read, {"category": np.array([7], np.uint64)}) == [
        "array_contains_any(attribute_1, [7])"
    ]
    assert values_of(read, TOLD, np.array([0]))["attribute_1"] == [[7]]


def test_more_values_than_a_list_of_milvus_holds_are_refused() -> None:
    """And what to leave out is said."""
    many = Ids(np.arange(MOST_KEYS + 1, dtype=np.uint64), np.array([0, MOST_KEYS + 1]))

    with pytest.raises(Refused, match="4,097 values"):
        values_of(AT, TOLD | {"tags": Attribute(many)}, np.array([0]))


@pytest.mark.promise("P11")
@pytest.mark.parametrize("without", [[], [3, 18_000]])
def test_more_items_than_milvus_finds_at_once_are_found_here(without: list[int]) -> None:
    """All that may be answered is looked at, in the vectors that lie beside the version; no Milvus
    is asked.
    """
    vectors = np.random.default_rng(1).normal(size=(20_000, 5)).astype(np.float16)
    halves = Halves.whole(vectors.astype(np.float32))
    nobody: Any = None
    index = MilvusIndex(nobody, AT, np.arange(20_000).astype(np.uint64), halves)
    query = np.ones((1, 5), np.float32)

    scores, positions = index.best(query, 17_000, Selection(np.array(without, np.int64)))

    products = vectors.astype(np.float32) @ query[0]
    products[without] = -np.inf
    assert positions.tolist() == np.argsort(-products, kind="stable")[:17_000].tolist()
    assert (np.diff(scores) <= 0).all()

"""What vectors are worth: a new item whose content is known is found by whom it is for, before
clicks can tell.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from serving.request import RecommendRequest
from serving.retriever import Retriever
from streaming.offline import write_shards
from tests.trainer.conftest import START, Line, at, deployment_in
from twintide.clock import HeldClock
from twintide.config import Deployment

TOPICS, USERS, OLD, NEW = 8, 80, 160, 40
"""Users and items have one topic each: their number modulo 8. Items from 160 on are new."""


def stream(deployment: Deployment) -> pa.Table:
    """A day of clicks on old items, then an hour in which every new item has one click. A user
    clicks what is of their topic.
    """
    rng = np.random.default_rng(3)
    user = np.concatenate((rng.integers(0, USERS, 4000), (np.arange(NEW) + OLD) % TOPICS))
    old = user[:4000] % TOPICS + TOPICS * rng.integers(0, OLD // TOPICS, 4000)
    item = np.concatenate((old, np.arange(OLD, OLD + NEW)))
    day = np.sort(rng.integers(0, 86_400_000, 4000))
    at_ms = int(START.timestamp() * 1000) + np.concatenate((day, 86_400_000 + np.arange(NEW)))
    count = len(user)
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": np.ones(count, bool),
        "watch_seconds": np.ones(count),
        "liked": np.zeros(count, bool),
        "category": np.zeros(count, int),
        "topics": pa.array([[]] * count, pa.list_(pa.int64())),
        "region": np.zeros(count, int),
    }
    schema = deployment.events.arrow_schema()
    return pa.table(columns).select(schema.names).cast(schema)


def model(vectors: Path | None) -> dict[str, Any]:
    title = {"kind": "sparse", "name": "title", "column": "item_id", "table": "title"}
    item = {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}
    user = {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"}
    return {
        "tables": {"title": {"vectors": str(vectors)}} if vectors else {},
        "query": [user],
        "candidate": [item, title] if vectors else [item],
        "popularity_bias": False,
    }


def share_of_own_topic(folder: Path, vectors: Path | None) -> float:
    """Of the new items among the first 25 answers to each user (there are 25 items of a topic),
    how many of the five that are for this user.
    """
    training = {"nightly": {"row_learning_rate": 0.3, "dense_learning_rate": 0.01}}
    deployment = deployment_in(folder, {"model": model(vectors), "training": training})
    write_shards(deployment, stream(deployment), partitions=1, complete_until=at(1, 2))
    line = Line(deployment)
    line.night(0)
    line.hour(1, 2)
    version = publish(deployment, clock=HeldClock(at(1, 2)), judge=False).version
    loaded = load_version(deployment.versions_dir, version)
    retriever = Retriever(loaded, clock=HeldClock(at(1, 2)), max_k=100)
    found = 0
    for user in range(USERS):
        items = retriever.answer(RecommendRequest(user_id=user, k=25)).item_ids
        found += sum(int(i) >= OLD and int(i) % TOPICS == user % TOPICS for i in items)
    return found / (USERS * NEW / TOPICS)


@pytest.mark.long
def test_a_new_item_with_known_content_is_found_where_its_clicks_are_few(tmp_path: Path) -> None:
    """One click each: an item's own row has hardly moved, its vector says all from the start."""
    rng = np.random.default_rng(4)
    items = np.arange(OLD + NEW)
    content = np.eye(TOPICS)[items % TOPICS] + 0.1 * rng.normal(size=(len(items), TOPICS))
    pq.write_table(pa.table({"id": items, "vector": list(content)}), tmp_path / "titles.parquet")

    without = share_of_own_topic(tmp_path / "without", None)
    with_vectors = share_of_own_topic(tmp_path / "with", tmp_path / "titles.parquet")

    assert with_vectors > 0.6
    assert with_vectors > without + 0.3, (with_vectors, without)

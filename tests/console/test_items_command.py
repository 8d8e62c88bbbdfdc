"""A source of items as an operator has it: config check, publish, status."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from streaming.client import create_topic, producer
from tests.console.conftest import Twintide, stream, write_config
from tests.twintide import item_files
from twintide.config import fill_in, load

NOON = ("--now", "2026-03-02T12:00Z")


def declare(config: Path, **changes: Any) -> None:
    write_config(fill_in(load(config), changes), config.parent)


def test_a_file_is_published_and_told_by_status(twintide: Twintide, published: Path) -> None:
    """What it fills, a version without training, and what is wrong with a bad one."""
    file = item_files.write(published.parent / "items.parquet", item_id=[900], category=[3])
    declare(published, items={"file": str(file)})

    assert "tells category of items; topics is left to clicks" in twintide("config", "check").out
    done = twintide("publish", "--json", *NOON).json
    assert done["why"] == "version v000003 of checkpoint hourly-000002 and listing-000001 is live"
    assert "1 listed, 0 of them not available" in twintide("status", *NOON).out

    file.write_text("no Parquet")
    assert "nothing new" in twintide("publish", *NOON).out
    seen = twintide("status", "--json", *NOON).json
    (problem,) = [each for each in seen["problems"] if "source of items" in each["what"]]
    assert "what it said before goes on counting" in problem["what"]
    assert problem["command"].startswith("twintide config check")
    assert seen["items"]["listing"] == "listing-000001"
    assert twintide("config", "check").code == 2


def test_a_topic_is_read_by_publish(twintide: Twintide, published: Path, kafka: str) -> None:
    """What it delists is gone from the next version, without training."""
    topic = f"items-{uuid4().hex[:8]}"
    create_topic(kafka, topic, partitions=2)
    reach = {"bootstrap_servers": [kafka]}
    declare(published, kafka=reach, items={"topic": topic})
    before = twintide("show", "v000002", "--json").json["items"]
    with producer(load(published).kafka) as client:
        client.send(topic, key=b"1", value=None)
        client.send(topic, key=b"901", value=json.dumps({"category": 3}).encode())

    done = twintide("publish", "--json", *NOON)

    assert done.json["version"] == "v000003"
    version = twintide("show", "v000003", "--json").json
    assert version["listing"]["listed"] == 1
    assert version["items"] == before
    assert version["catalogue_items"] == before


@pytest.mark.long
def test_an_evaluation_of_the_past_misses_nothing_that_is_delisted_by_now(
    twintide: Twintide, published: Path
) -> None:
    """A source tells what items are; that none of them is to be had today says nothing of then."""
    file = item_files.write(
        published.parent / "items.parquet", item_id=[0], category=[3], in_stock=[False]
    )
    declare(published, items={"file": str(file), "available_column": "in_stock", "complete": True})
    deployment = load(published)
    pq.write_table(stream(deployment, hours=30), published.parent / "clicks.parquet")

    report = twintide(
        *("evaluate", "clicks.parquet", "--policy", "nightly+hourly", "--json"),
        *("--score-until", "2026-03-02T04:00Z"),
    ).json

    (policy,) = report["policies"]
    assert policy["recall@100"] > 0.1

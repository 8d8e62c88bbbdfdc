"""A compacted topic of items, on a real broker: what it says becomes a listing."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from streaming import itemtopic
from streaming.client import create_topic, producer
from tests.twintide import item_files
from twintide import config, listings, surroundings, yaml12
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.keys import keys_of
from twintide.listed import Listing

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def with_topic(kafka: str, folder: Path, **said: Any) -> Deployment:
    """The quickstart with a topic of items of its own."""
    topic = f"items-{uuid4().hex[:8]}"
    create_topic(kafka, topic, partitions=3)
    changes = {
        "data_dir": str(folder / "data"),
        "kafka": {"bootstrap_servers": [kafka]},
        "items": {"topic": topic} | said,
    }
    return config.fill_in(config.load(item_files.QUICKSTART), changes)


def send(deployment: Deployment, *messages: tuple[str | bytes | None, Any]) -> None:
    """Keys and values; what is no bytes is written as JSON, None is a tombstone."""
    with producer(deployment.kafka) as client:
        for key, value in messages:
            is_plain = value is None or isinstance(value, bytes)
            client.send(
                deployment.items.topic,
                key=key.encode() if isinstance(key, str) else key,
                value=value if is_plain else json.dumps(value).encode(),
            )


def look(deployment: Deployment, *, hours: float = 0) -> Listing:
    found = itemtopic.refresh(deployment, clock=HeldClock(NOON + timedelta(hours=hours)))
    assert found is not None
    return found


def categories(listing: Listing, *ids: int) -> dict[int, int | None]:
    """Of the items of these that it knows, listed or not."""
    rows = listing.rows_of(keys_of(pa.array(ids, pa.int64()))).tolist()
    column = listing.table["attribute.category"]
    return {each: column[row].as_py() for each, row in zip(ids, rows, strict=True) if row >= 0}


def answered(listing: Listing, *ids: int) -> list[int]:
    allowed = listing.may_be_answered(keys_of(pa.array(ids, pa.int64())))
    return [each for each, is_allowed in zip(ids, allowed, strict=True) if is_allowed]


def test_the_last_word_of_each_key_counts_and_a_message_without_a_value_delists(
    kafka: str, tmp_path: Path
) -> None:
    """Also of items that no reading knew before; a listing is made where something was sent."""
    own = with_topic(kafka, tmp_path, available_column="there", listed_at_column="since")
    send(
        own,
        ("1", {"category": 5, "topics": [1, 2], "since": "2026-03-01T00:00:00Z", "more": {}}),
        ("2", {"category": 6}),
        ("3", {"category": 7, "there": False}),
        ("1", {"category": 8}),
        ("9", None),
    )

    first, again = look(own), look(own, hours=1)

    assert first.ref == again.ref
    assert (first.ref.listed, first.ref.unavailable, first.ref.remembered) == (3, 1, 1)
    assert categories(first, 1, 2, 3, 4, 9) == {1: 8, 2: 6, 3: 7, 9: None}
    assert answered(first, 1, 2, 3, 4, 9) == [1, 2, 4]
    assert sorted(first.unclicked(keys_of(pa.array([2]))).tolist()) == [
        int(first.rows_of(keys_of(pa.array([1])))[0])
    ]

    send(own, ("2", None), ("9", {"category": 1}))
    second = look(own, hours=2)
    assert second.ref.name == "listing-000002"
    assert categories(second, 2, 9) == {2: 6, 9: 1}
    assert answered(second, 1, 2, 3, 9) == [1, 9]


def test_a_message_that_cannot_be_read_changes_nothing_of_its_item(
    kafka: str, tmp_path: Path
) -> None:
    """And is counted; where many cannot, the topic is refused and its last listing stays."""
    own = with_topic(kafka, tmp_path)
    send(own, *((str(item), {"category": item}) for item in range(100)))
    first = look(own)

    send(own, ("7", b"{"), ("8", {"category": "x"}), ("no number", {}), (None, {"category": 3}))
    second = look(own, hours=1)

    assert second.ref.unread == 4
    assert second.ref.listed == 100
    assert categories(second, 6, 7, 8) == {6: 6, 7: 7, 8: 8}
    assert answered(second, 7, 8) == [7, 8]

    send(own, *((str(item), b"[]") for item in range(20)))
    third = look(own, hours=2)
    assert third.ref == second.ref != first.ref
    trouble = listings.trouble(own.items_dir)
    assert trouble is not None
    assert "22 of 102 items of topic" in trouble.what


def test_a_topic_that_says_nothing_or_forgets_is_refused(kafka: str, tmp_path: Path) -> None:
    """By name and with what to do; so is training before anybody has read it."""
    own = with_topic(kafka, tmp_path)
    with pytest.raises(Refused, match="holds no item"):
        look(own)
    with pytest.raises(Refused, match="was not read yet"):
        listings.refreshed(own.items_dir, own.items, own.events, own.model, clock=HeldClock(NOON))
    create_topic(kafka, f"{own.items.topic}-short", partitions=1, retention_ms=1000)
    short = config.fill_in(own, {"items": {"topic": f"{own.items.topic}-short"}})
    with pytest.raises(Refused, match="deletes what is old"):
        look(short)
    with pytest.raises(Refused, match="Kafka has no topic"):
        look(config.fill_in(own, {"items": {"topic": f"{own.items.topic}-none"}}))


@pytest.mark.parametrize(
    ("items", "key"),
    [
        ({"topic": "items", "file": "i.parquet"}, "items.file"),
        ({"topic": "items", "id_column": "id"}, "items.id_column"),
        ({"topic": "no topic"}, "items.topic"),
    ],
)
def test_a_wrong_declaration_is_refused_by_its_key(
    items: dict[str, Any], key: str, tmp_path: Path
) -> None:
    """A source is a file or a topic, and a topic's keys are its ids."""
    item_files.write(tmp_path / "i.parquet", item_id=[1], category=[1])
    values = config.values_in(item_files.QUICKSTART) | {"items": items}
    (tmp_path / "twintide.yaml").write_text(yaml12.dump(values))

    (problem,) = surroundings.check(tmp_path / "twintide.yaml")

    assert problem.key == key

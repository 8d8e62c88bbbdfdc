"""Before there is a version: what was clicked most of late, where that is wanted, and marked."""

import json
import shutil
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from serving.follower import Follower
from serving.popular import WINDOW, Popular
from serving.request import parse_request
from serving.server import recent_clicks
from streaming.offline import write_shards
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from tests.serving.conftest import Client, serving
from twintide.blocklist import block
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused, Retryable
from twintide.shards import Ledger

EVENTS = 2_000
CLICK = {"positive": {"column": "age", "equals": None, "at_least": 0.3}}


def stream() -> pa.Table:
    """Events of two days until noon; items change their category, or do not say it."""
    rng = np.random.default_rng(3)
    until_ms = int(NOON.timestamp() * 1000)
    at_ms = until_ms - 172_800_000 + np.sort(rng.integers(0, 172_700_000, EVENTS))
    items = 1000 + rng.zipf(1.3, EVENTS) % 300
    categories = (items + np.arange(EVENTS) // 1000) % made.CATEGORIES
    return pa.table(
        {
            "user_id": rng.integers(0, made.USERS, EVENTS),
            "item_id": items,
            "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
            "category": pa.array(categories, mask=rng.random(EVENTS) < 0.3),
            "region": pa.array(["region 1"] * EVENTS),
            "age": rng.random(EVENTS),
            "tags": pa.array([["news"]] * EVENTS),
        }
    )


def deployment_at(data_dir: Path) -> Deployment:
    values = made.configuration(
        data_dir,
        shards={"minutes": 60},
        publishing={"filters": ["category"]},
        serving={"before_first_version": "popularity", "max_k": 500},
    )
    values["events"] |= CLICK
    return Deployment.model_validate_json(json.dumps(values))


@pytest.fixture(scope="module")
def data_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of an hour, and no version."""
    deployment = deployment_at(tmp_path_factory.mktemp("popular") / "data")
    write_shards(deployment, stream())
    return deployment.data_dir


@pytest.fixture
def line(data_once: Path, tmp_path: Path) -> Deployment:
    shutil.copytree(data_once, tmp_path / "data")
    return deployment_at(tmp_path / "data")


def follower_of(deployment: Deployment, clock: HeldClock) -> Follower:
    clicks = recent_clicks(deployment)
    return Follower(
        deployment.versions_dir, clock=clock, max_k=500, poll_seconds=0.2, clicks=clicks
    )


def popular(follower: Follower) -> Popular:
    """When all shards were read."""
    before = None
    while before is not follower.popular or before is None:
        before = follower.popular
        follower.look()
    return before


def ids_of(popular: Popular, **asked: Any) -> list[Any]:
    return popular.answer(parse_request(json.dumps({"user_id": 1, **asked}).encode())).item_ids


def counted() -> tuple[Counter[int], dict[int, int]]:
    """By item its clicks in the hours that count, and the category that was said last."""
    newest = NOON - timedelta(hours=1)
    clicks, categories = Counter[int](), dict[int, int]()
    for row in stream().to_pylist():
        if row["event_at"] >= newest - WINDOW and row["age"] >= 0.3:
            clicks[row["item_id"]] += 1
            if row["category"] is not None:
                categories[row["item_id"]] = row["category"]
    return clicks, categories


def test_the_list_is_what_a_plain_count_says(line: Deployment, clock: HeldClock) -> None:
    """Clicks of the last day by item, the most first; without what a request leaves out, what it
    filters away, and what is blocked.
    """
    follower = follower_of(line, clock)
    found = popular(follower)
    clicks, categories = counted()

    answer = found.answer(parse_request(b'{"user_id": 1, "k": 500}'))
    assert dict(zip(answer.item_ids, answer.scores, strict=True)) == clicks
    assert answer.scores == sorted(answer.scores, reverse=True)
    first = answer.item_ids[:3]
    assert ids_of(found, exclude=first, k=4) == answer.item_ids[3:7]
    assert ids_of(found, recent=first, seen=False, k=4) == answer.item_ids[3:7]
    assert ids_of(found, recent=first, k=4) == answer.item_ids[:4]
    wanted = [item for item in answer.item_ids if categories.get(int(item)) in {2, 5}]
    assert ids_of(found, filters={"category": [2, 5]}, k=500) == wanted
    assert 0 < len(wanted) < len(answer.item_ids)

    block(line.versions_dir, first, reason="test", clock=clock)
    follower.look()
    assert follower.popular is not None
    assert ids_of(follower.popular, k=4) == answer.item_ids[3:7]


def test_what_does_not_fit_is_refused_as_ever(line: Deployment, clock: HeldClock) -> None:
    """Ids of another type, columns that cannot be filtered by, more items than are given."""
    found = popular(follower_of(line, clock))
    for wrong in (
        {"user_id": "x"},
        {"exclude": ["a"]},
        {"filters": {"region": "x"}},
        {"filters": {"category": "x"}},
        {"k": 501},
        {"k": 101, "explain": True},
    ):
        with pytest.raises(Refused):
            ids_of(found, **wrong)
    assert ids_of(found, features={"nowhere": 1}, k=3, explain=True, exact=True)


def test_a_shard_that_cannot_be_read_counts_nothing(line: Deployment, clock: HeldClock) -> None:
    """The others do."""
    names = list(Ledger(line.shards_dir, line.kafka.topic).names())
    names[-1].path.chmod(0o600)
    names[-1].path.write_bytes(b"no Parquet")
    answer = popular(follower_of(line, clock)).answer(parse_request(b'{"user_id": 1, "k": 500}'))

    assert 0 < sum(answer.scores) < sum(counted()[0].values())


def test_a_server_answers_so_until_there_is_a_version_and_says_so(
    line: Deployment, clock: HeldClock
) -> None:
    """It is ready; batches too; from the first version on, the model answers."""
    follower = follower_of(line, clock)
    popular(follower)
    with serving(follower, clock=clock) as port, Client(port) as client:
        status, answer = client.recommend(user_id=1, k=3)
        _, batch = client.ask("POST", "/v1/recommend/batch", b'{"requests": [{"user_id": 1}]}')
        ready, version = client.get("/readyz"), client.get("/v1/version")
        made.add_checkpoint(line, 1)
        publish(line, clock=clock, judge=False)
        follower.look()
        _, then = client.recommend(user_id=1, k=3)
        _, page = client.ask("GET", "/metrics")

    assert (status, answer["version"], answer["answered_from"]) == (200, None, "popularity")
    assert json.loads(batch)["answers"][0]["answered_from"] == "popularity"
    assert not answer["known_user"]
    assert ready[1] | {"problem": ""} == {"ready": True, "version": None, "problem": ""}
    assert version[0] == 503
    assert (then["version"], then["answered_from"]) == ("v000001", "model")
    assert follower.popular is None
    assert b"twintide_recommend_popular_total 2.0" in page


def test_without_any_click_there_is_no_answer(tmp_path: Path, clock: HeldClock) -> None:
    """Neither a list nor a version: try again."""
    follower = follower_of(made.deployment_at(tmp_path / "data"), clock)
    follower.look()

    assert not follower.is_ready
    with pytest.raises(Retryable, match="no version"):
        follower.answering()

"""Users of whom nothing is known are answered by the model and by what many clicked of late."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher import registry
from publisher.publish import publish
from serving.follower import Follower
from serving.lately import LEAST, fused, most_clicked
from serving.server import lately_clicked
from streaming.offline import write_shards
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from tests.serving.conftest import Client, serving
from tests.serving.test_rollback_under_load import Server, configured, wait_until
from twintide.blocklist import block
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.keys import key_of

__all__ = ["configured"]

NOBODY = made.USERS + 5
"""A user whom no version knows."""


def test_two_lists_are_one_by_their_places() -> None:
    """Of the formula: what both have stands before what one has; equal sums by position."""
    scores, positions = fused(np.array([5, 7, 9]), np.array([9, 5, 2]), 3)

    assert positions.tolist() == [5, 9, 7]
    expected = [1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62]
    assert scores.tolist() == pytest.approx(expected)


def test_nobody_counts_twice_for_an_item_and_of_few_clicks_nothing_is_said() -> None:
    """In one shard or in several; of nobody in particular each click counts."""
    many = [[user, item] for item in (11, 12) for user in range(1, 301)]
    one = [[7, 13]] * 5_000
    anonymous = [[0, 14]] * 299
    shards = [np.array(each, np.uint64) for each in (many[:400], many, one, anonymous)]

    assert most_clicked(shards).tolist() == [11, 12, 14, 13]
    assert most_clicked([np.array(many[: LEAST - 1], np.uint64)]).tolist() == []
    assert most_clicked([]).tolist() == []


def clicks(first: int, *, at_minute: int, count: int = 2_000, seed: int = 1) -> pa.Table:
    """Of many users on few of 300 items from `first` on, in the minutes before noon."""
    rng = np.random.default_rng(seed)
    until_ms = int(NOON.timestamp() * 1000) + at_minute * 60_000
    return pa.table(
        {
            "user_id": rng.integers(0, 1_000, count),
            "item_id": first + rng.zipf(1.5, count) % 300,
            "event_at": pa.array(until_ms - 1_800_000 + np.arange(count)).cast(
                pa.timestamp("ms", tz="UTC")
            ),
            "category": np.zeros(count, np.int64),
            "region": ["region 1"] * count,
            "age": rng.random(count),
            "tags": [["news"]] * count,
        }
    )


def plainly(events: pa.Table) -> list[int]:
    """The items by how many users clicked them, as a loop counts; equals by key."""
    users = defaultdict(set)
    for each in events.to_pylist():
        users[each["item_id"]].add(each["user_id"])
    return sorted(users, key=lambda item: (-len(users[item]), key_of(item)))


@pytest.fixture
def line(two_versions: Deployment) -> Deployment:
    """Two versions of items that are disjoint, and clicks on the live one's."""
    write_shards(two_versions, clicks(5_000, at_minute=0))
    return two_versions


def following(deployment: Deployment, clock: HeldClock) -> Follower:
    follower = Follower(
        deployment.versions_dir,
        clock=clock,
        max_k=deployment.serving.max_k,
        poll_seconds=deployment.serving.poll_seconds,
        lately=lately_clicked(deployment),
    )
    follower.look()
    return follower


def ids(answer: Any) -> list[int]:
    return [each["item_id"] for each in answer["items"]]


def test_an_unknown_user_is_answered_by_both_lists_and_marked(
    line: Deployment, clock: HeldClock
) -> None:
    """As a plain sum over places says; not a known one, nor one of whom the request says what is
    liked. What is excluded or blocked is in neither list.
    """
    follower = following(line, clock)
    with serving(follower, clock=clock) as port, Client(port) as client:
        _, answer = client.recommend(user_id=NOBODY, k=20)
        _, by_model = client.recommend(user_id=NOBODY, recent=[], k=120)
        _, known = client.recommend(user_id=4, k=20)
        first = ids(answer)[:3]
        _, without = client.recommend(user_id=None, k=20, exclude=first)
        block(line.versions_dir, first, reason="test", clock=clock)
        follower.look()
        _, blocked = client.recommend(user_id=None, k=20)
        _, explained = client.recommend(user_id=NOBODY, k=5, explain=True)

    popular = plainly(clicks(5_000, at_minute=0))
    sums = dict.fromkeys([*ids(by_model), *popular], 0.0)
    for order in (ids(by_model), popular):
        for place, item in enumerate(order):
            sums[item] += 1 / (61 + place)
    best = sorted(sums.values(), reverse=True)[:20]
    assert [sums[item] for item in ids(answer)] == best
    assert [each["score"] for each in answer["items"]] == pytest.approx(best, abs=1e-6)
    assert (answer["known_user"], answer["answered_from"]) == (False, "model and popularity")
    assert by_model["answered_from"] == known["answered_from"] == "model"
    assert popular[0] in ids(answer)[:3]
    assert not set(first) & {*ids(without), *ids(blocked)}
    assert len(ids(without)) == len(ids(blocked)) == 20
    assert ids(explained) == ids(blocked)[:5]


def test_what_is_clicked_now_is_answered_now_and_of_the_version_alone(
    line: Deployment, clock: HeldClock
) -> None:
    """New shards change an answer without a publish; items that the version lacks are in none; a
    switch loses no click.
    """
    follower = following(line, clock)
    with serving(follower, clock=clock) as port, Client(port) as client:
        _, before = client.recommend(user_id=NOBODY, k=10)
        write_shards(line, clicks(1_000, at_minute=240, seed=2))
        follower.look()
        _, of_others = client.recommend(user_id=NOBODY, k=10)
        registry.rollback(line.versions_dir, reason="odd", clock=clock)
        follower.look()
        _, then = client.recommend(user_id=NOBODY, k=10)

    assert before["answered_from"] == "model and popularity"
    assert of_others["answered_from"] == "model"
    assert all(5_000 <= item < 5_300 for item in ids(before) + ids(of_others))
    assert then["answered_from"] == "model and popularity"
    assert all(1_000 <= item < 1_300 for item in ids(then))
    assert plainly(clicks(1_000, at_minute=240, seed=2))[0] in ids(then)[:3]


@pytest.mark.long
def test_a_server_marks_strangers_unless_told_otherwise(
    configured: tuple[Deployment, Path, int], tmp_path: Path
) -> None:
    """`python -m serving`, by its defaults and with `unknown_users: model`."""
    deployment, path, port = configured
    made.add_checkpoint(deployment, 1, items=made.item_range(5_000, 300))
    publish(deployment, clock=made.held_clock(), judge=False)
    write_shards(deployment, clicks(5_000, at_minute=0))

    assert marked(path, port) == "model and popularity"
    values = json.loads(path.read_text())
    values["serving"]["unknown_users"] = "model"
    path.write_text(json.dumps(values))
    assert marked(path, port) == "model"


def marked(path: Path, port: int) -> str:
    server = Server(path, port)
    try:
        wait_until(lambda: server.readiness() == 200, seconds=60)
        with Client(port) as client:
            for _ in range(20):
                _, answer = client.recommend(user_id=NOBODY, k=10)
                if answer["answered_from"] != "model":
                    break
                wait_until(lambda: client.get("/readyz")[0] == 200, seconds=10)
        return str(answer["answered_from"])
    finally:
        server.end()

"""Bodies that are nearly requests: each is answered, or refused in JSON with a hint."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher.publish import publish
from serving.request import parse_request
from serving.retriever import Retriever
from tests.mutations import changed, damaged
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, follower_of, serving
from twintide.errors import Refused

FILTERS = {"publishing": {"filters": ["category"]}}
SOUND: list[dict[str, Any]] = [
    {
        "user_id": 4,
        "k": 5,
        "features": {"region": "region 2", "age": 33.0, "tags": ["news", "culture"]},
        "recent": [1001, {"item_id": 1002, "at": 1772323200000}],
        "exclude": [1003, 1004],
    },
    {"user_id": None, "k": 5, "filters": {"category": [3, 7]}, "seen": False, "explain": True},
    {"user_id": 5, "k": 300, "exact": True, "objectives": {"click": 1.0}, "recent": [1001]},
]
KEYS = [*SOUND[0], *SOUND[1], *SOUND[2], "histories", "category"]


def bodies(count: int, *, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(count):
        body = json.dumps(changed(rng.choice(SOUND), rng, keys=KEYS)).encode()
        yield damaged(body, rng) if rng.random() < 0.4 else body


def batches(count: int, *, seed: int) -> Iterator[bytes]:
    """Of sound requests and others, and of what is no request; changed as a whole at times."""
    rng = random.Random(seed)
    for _ in range(count):
        requests = [changed(rng.choice(SOUND), rng, keys=KEYS) for _ in range(rng.randrange(4))]
        batch: Any = {"requests": [*requests, SOUND[1]]}
        batch = changed(batch, rng, keys=["requests"]) if rng.random() < 0.2 else batch
        body = json.dumps(batch).encode()
        yield damaged(body, rng) if rng.random() < 0.3 else body


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that no test changes."""
    deployment = made.deployment_at(tmp_path_factory.mktemp("fuzz") / "data", **FILTERS)
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=made.held_clock())
    return deployment.data_dir


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    "count",
    [
        500,
        pytest.param(5_000, marks=pytest.mark.long),
        pytest.param(50_000, marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
    ],
)
def test_any_body_is_answered_or_refused_by_name(data: Path, count: int) -> None:
    """No other error, no message longer than a screen, and never a number that JSON has not."""
    follower = follower_of(made.deployment_at(data), made.held_clock())
    follower.look()
    retriever: Retriever = follower.retriever()
    refusals = [found for body in bodies(count, seed=count) if (found := refusal(retriever, body))]

    assert count / 2 < len(refusals) < count
    assert all(each.hint and len(each.message) < 1_000 for each in refusals)


def refusal(retriever: Retriever, body: bytes) -> Refused | None:
    """Why a body is refused; None where it is answered."""
    try:
        json.dumps(retriever.answer(parse_request(body)).to_dict(), allow_nan=False)
    except Refused as error:
        return error
    return None


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    "count", [150, pytest.param(5_000, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])]
)
def test_any_body_over_http_ends_in_json_on_a_connection_that_goes_on(
    data: Path, count: int
) -> None:
    """200 or 422, a message and a hint; nothing is dropped, nothing is a 500."""
    clock = made.held_clock()
    follower = follower_of(made.deployment_at(data), clock)
    follower.look()
    with serving(follower, clock=clock) as port, Client(port) as client:
        for body in bodies(count, seed=count):
            status, answer = client.ask("POST", "/v1/recommend", body)
            assert status in {200, 422}, body
            said = json.loads(answer)
            keys = set(said) - {"remembered"}  # which only an answer that explains has
            assert keys == (ANSWERED if status == 200 else REFUSED)
        for body in batches(count // 5, seed=count):
            status, answer = client.ask("POST", "/v1/recommend/batch", body)
            assert status in {200, 422}, body
            said = json.loads(answer)
            assert set(said) == ({"answers"} if status == 200 else REFUSED)
            assert all(set(each["error"]) == REFUSED | {"status"} for each in mistaken(said)), body
            assert all(each["error"]["status"] == 422 for each in mistaken(said)), body


ANSWERED, REFUSED = {"version", "known_user", "answered_from", "items"}, {"message", "hint"}


def mistaken(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers that are none."""
    return [each for each in batch.get("answers", []) if "error" in each]

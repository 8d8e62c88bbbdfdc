"""Bodies that are nearly requests: each is answered, or refused in JSON with a hint."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.request import parse_request
from serving.retriever import Retriever
from tests.mutations import changed, damaged
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, follower_of, serving
from twintide.errors import Refused

SOUND = {
    "user_id": 4,
    "k": 5,
    "features": {"region": "region 2", "age": 33.0, "tags": ["news", "culture"]},
    "recent": [5001, {"item_id": 5002, "at": 1772323200000}],
    "exclude": [5003, 5004],
}


def bodies(count: int, *, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(count):
        body = json.dumps(changed(SOUND, rng, keys=[*SOUND, "objectives", "category"])).encode()
        yield damaged(body, rng) if rng.random() < 0.4 else body


@pytest.fixture(scope="module")
def data(data_once: Path) -> Path:
    """Two versions that no test changes."""
    return data_once


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
            assert set(said) == (
                {"version", "known_user", "answered_from", "items"}
                if status == 200
                else {"message", "hint"}
            )

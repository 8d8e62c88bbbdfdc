"""A batch is answered as its requests would be alone, each refusal in its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving.request import MAX_BATCH
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, follower_of, serving


@pytest.fixture(scope="module")
def data(data_once: Path) -> Path:
    """Two versions that no test changes."""
    return data_once


def batch(client: Client, body: Any) -> tuple[int, Any]:
    status, answer = client.ask("POST", "/v1/recommend/batch", json.dumps(body).encode())
    return status, json.loads(answer)


def test_each_request_is_answered_as_alone(data: Path) -> None:
    """In their order; one that is wrong is refused in its place with the message it gets alone."""
    clock = made.held_clock()
    follower = follower_of(made.deployment_at(data), clock)
    follower.look()
    requests: list[Any] = [
        {"user_id": 4, "k": 3, "features": {"region": "region 2"}},
        {"user_id": None, "k": 2, "exclude": [5003]},
        {"user_id": 4, "k": 0},
        {"user_id": "four"},
        7,
        {"user_id": 5, "k": 2, "explain": True},
    ]
    with serving(follower, clock=clock) as port, Client(port) as client:
        status, answered = batch(client, {"requests": requests})
        alone = [client.recommend(**each) if each != 7 else (422, None) for each in requests]
        _, metrics = client.ask("GET", "/metrics")

    assert status == 200
    for found, (code, expected) in zip(answered["answers"], alone, strict=True):
        assert found == (expected if code == 200 else {"error": expected or found["error"]})
    assert [code for code, _ in alone] == [200, 200, 422, 422, 422, 200]
    assert b'twintide_batch_answers_total{status="200"} 1.0' in metrics


@pytest.mark.parametrize(
    "body", [{}, {"requests": []}, {"requests": [{}] * (MAX_BATCH + 1)}, {"requests": {}}, []]
)
def test_a_batch_that_is_none_is_refused(data: Path, body: Any) -> None:
    """Empty, too long, or no list."""
    clock = made.held_clock()
    follower = follower_of(made.deployment_at(data), clock)
    follower.look()
    with serving(follower, clock=clock) as port, Client(port) as client:
        status, answer = batch(client, body)

    assert (status, set(answer)) == (422, {"message", "hint"})

"""A batch is answered as its requests would be alone, each refusal in its place."""

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from serving.follower import Follower
from serving.request import MAX_BATCH, RecommendRequest, parse_batch
from serving.retriever import Query, Retriever
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, follower_of, serving
from twintide.errors import Refused, Retryable


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
        _, metrics = client.ask("GET", "/metrics")
        alone = [client.recommend(**each) if each != 7 else (422, None) for each in requests]

    assert status == 200
    for found, (code, expected) in zip(answered["answers"], alone, strict=True):
        refused = {"error": {"status": code, **(expected or found["error"])}}
        assert found == (expected if code == 200 else refused)
    assert [code for code, _ in alone] == [200, 200, 422, 422, 422, 200]
    assert b'twintide_batch_answers_total{status="200"} 1.0' in metrics
    for user, count in (("known", 2), ("anonymous", 1)):
        assert f'twintide_recommend_users_total{{user="{user}"}} {count}.0'.encode() in metrics


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


def test_a_key_given_twice_is_refused() -> None:
    """The last of two need not be what a proxy before the server saw; a colon elsewhere is none."""
    twice = b'{"requests": [{"user_id": 4}], "requests": [{"user_id": "a:b"}]}'
    with pytest.raises(Refused, match="'requests' twice"):
        parse_batch(twice)

    assert parse_batch(b'{"requests": [{"user_id": "a:b"}, {}]}') == [b'{"user_id": "a:b"}', b"{}"]


def test_a_batch_asks_for_so_many_items_together(data: Path) -> None:
    """Ten times what one request may ask for; one that is refused in its place counts nothing."""
    clock = made.held_clock()
    follower = follower_of(made.deployment_at(data), clock)
    follower.look()
    most = [{"user_id": 4, "k": 1000}] * 10
    with serving(follower, clock=clock) as port, Client(port) as client:
        allowed, _ = batch(client, {"requests": [*most, {"user_id": 4, "k": 1001}, 7]})
        status, answer = batch(client, {"requests": [*most, {"user_id": 4, "k": 1}]})

    assert (allowed, status) == (200, 422)
    assert "10,001 items" in answer["message"]
    assert "batches" in answer["hint"]


class Broken(Follower):
    """Its version makes a mistake with user 13, and it none with others."""

    def answering(self) -> Retriever:
        """One of a version whose index fails."""
        return BrokenRetriever(super().retriever().version, clock=made.held_clock(), max_k=1000)


class BrokenRetriever(Retriever):
    """As a version that was not foreseen."""

    def query(self, request: RecommendRequest) -> Query:
        """Raises what nobody catches."""
        if request.user_id == 13:
            raise ZeroDivisionError
        if request.user_id == 14:
            raise Retryable("the Milvus cannot be reached", hint="is it running?")
        return super().query(request)


def test_a_mistake_of_the_server_is_answered_and_counted(data: Path) -> None:
    """500 for a request alone, an error in its place within a batch; each is in the log."""
    clock = made.held_clock()
    follower = Broken(
        made.deployment_at(data).versions_dir, clock=clock, max_k=1000, poll_seconds=1.0
    )
    follower.look()
    with capture_logs() as logged, serving(follower, clock=clock) as port, Client(port) as client:
        status, alone = client.recommend(user_id=13)
        code, answered = batch(client, {"requests": [{"user_id": 13}, {"user_id": 4}]})
        _, metrics = client.ask("GET", "/metrics")

    mistake = {"message": "the server made a mistake", "hint": "the server's log has the reason"}
    assert (status, alone) == (500, mistake)
    assert (code, answered["answers"][0]) == (200, {"error": {"status": 500, **mistake}})
    assert answered["answers"][1]["items"]
    assert b'twintide_recommend_answers_total{status="500"} 1.0' in metrics
    assert "request_failed" in {each["event"] for each in logged}


def test_a_batch_whose_index_is_away_is_not_answered(data: Path) -> None:
    """503 as for one request, and at once: each of a hundred waited for the index in turn, and was
    refused as if it did not fit.
    """
    clock = made.held_clock()
    root = made.deployment_at(data).versions_dir
    follower = Broken(root, clock=clock, max_k=1000, poll_seconds=1.0)
    follower.look()
    with serving(follower, clock=clock) as port, Client(port) as client:
        alone = client.recommend(user_id=14)
        together = batch(client, {"requests": [{"user_id": 4}, {"user_id": 14}, {"user_id": 13}]})

    away = {"message": "the Milvus cannot be reached", "hint": "is it running?"}
    assert alone == together == (503, away)


def test_a_batch_that_fails_as_a_whole_is_counted(
    data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """500 with a message, and no traceback of the web server's."""
    clock = made.held_clock()
    follower = NoVersion(data, clock=clock, max_k=1000, poll_seconds=1.0)
    with serving(follower, clock=clock) as port, Client(port) as client:
        status, answer = batch(client, {"requests": [{"user_id": 4}]})
        _, metrics = client.ask("GET", "/metrics")

    assert "Traceback" not in "".join(capfd.readouterr())
    assert (status, answer["message"]) == (500, "the server made a mistake")
    assert b'twintide_batch_answers_total{status="500"} 1.0' in metrics


class NoVersion(Follower):
    """Fails before any request of a batch has its turn."""

    def retriever(self) -> Retriever:
        """Raises what nobody catches."""
        raise ZeroDivisionError

"""Who is answered without a token, and what the log says of requests."""

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from serving.access_log import route_of
from serving.hosts import is_own
from tests.serving.conftest import Client, follower_of, serving
from twintide.clock import HeldClock
from twintide.config import Deployment


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        (b"localhost:8080", True),
        (b"127.0.0.1", True),
        (b"10.1.2.3:80", True),
        (b"[::1]:8080", True),
        (b"twintide:8080", True),
        (b"a.localhost", True),
        (b"", True),
        (b"evil.example", False),
        (b"evil.example:8080", False),
        (b"EVIL.example.", False),
        (b"127.0.0.1.evil.example", False),
        (b"localhost.evil.example:80", False),
        (b"\xff.x", False),
    ],
)
def test_a_name_that_a_stranger_can_have_is_not_ours(host: bytes, *, is_ours: bool) -> None:
    """An address, localhost, or a name without a dot is."""
    assert is_own(host) == is_ours


def test_a_site_that_leads_its_name_here_reads_nothing(
    two_versions: Deployment, clock: HeldClock
) -> None:
    """Without a token; whoever knows the token may come by any name."""
    follower = follower_of(two_versions, clock)
    follower.look()
    evil: Any = {"Host": "evil.example:8080"}
    with serving(follower, clock=clock) as port, Client(port) as client:
        for method, path in (("GET", "/"), ("GET", "/metrics"), ("POST", "/v1/recommend")):
            status, body = client.ask(method, path, b'{"user_id": 1}', **evil)
            assert status == 421
            assert "localhost" in json.loads(body)["hint"]
        assert client.recommend(user_id=1)[0] == 200
    token = "correct horse battery staple"
    bearer: Any = {"Authorization": f"Bearer {token}"}
    with serving(follower, clock=clock, token=token) as port, Client(port) as client:
        assert client.ask("GET", "/v1/version", **evil, **bearer)[0] == 200


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_line_of_the_log_names_no_user_and_no_item(
    two_versions: Deployment, clock: HeldClock, ratio: float
) -> None:
    """Route, status, milliseconds, version and worker, of what is refused too; none by default."""
    follower = follower_of(two_versions, clock)
    follower.look()
    with (
        capture_logs() as logged,
        serving(follower, clock=clock, log_ratio=ratio) as port,
        Client(port) as client,
    ):
        client.recommend(user_id=4711, k=1)
        client.recommend(user_id="4711", k=1)
        client.ask("GET", "/users/4711?user=4711")
        client.ask("GET", "/v1/version", Host="4711.example")
    lines = [each for each in logged if each["event"] == "request_answered"]

    assert [(each["route"], each["status"]) for each in lines] == [
        ("/v1/recommend", 200),
        ("/v1/recommend", 422),
        ("other", 404),
        ("/v1/version", 421),
    ] * round(ratio)
    assert "4711" not in str([{**each, "ms": 0, "worker": 0} for each in lines])
    assert all(each["version"] == "v000002" and each["ms"] > 0 for each in lines)
    assert route_of("/page/versions/v000001") == "/page"

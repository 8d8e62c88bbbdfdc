import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from serving import app
from serving.follower import Follower
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import TOKEN, Client, follower_of, serving
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.errors import Refused


@pytest.fixture(scope="module")
def client(data_once: Path) -> Iterator[Client]:
    """Of a server of two versions that no test changes."""
    clock = made.held_clock()
    follower = follower_of(made.deployment_at(data_once), clock)
    follower.look()
    with serving(follower, clock=clock) as port, Client(port) as client:
        yield client


@pytest.fixture
def follower(two_versions: Deployment, clock: HeldClock) -> Follower:
    follower = follower_of(two_versions, clock)
    follower.look()
    return follower


def test_an_answer_names_its_version_and_its_items(client: Client) -> None:
    """K items with their scores, best first, and ids of the type that the events have."""
    status, answer = client.recommend(user_id=4, k=3)

    assert status == 200
    assert answer["version"] == "v000002"
    assert [5000 <= item["item_id"] < 5300 for item in answer["items"]] == [True] * 3
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)


def test_without_k_there_are_a_hundred(client: Client) -> None:
    """Everything but the user may be left out."""
    assert len(client.recommend(user_id=4)[1]["items"]) == 100


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    ("request_", "word"),
    [
        ({}, "user_id"),
        ({"user_id": "4"}, "user_id must be a whole number"),
        ({"user_id": 4.5}, "user_id"),
        ({"user_id": True}, "user_id"),
        ({"user_id": 2**63}, "user_id"),
        ({"user_id": [4]}, "user_id"),
        ({"user_id": 4, "k": 0}, "k"),
        ({"user_id": 4, "k": -1}, "k"),
        ({"user_id": 4, "k": "10"}, "k"),
        ({"user_id": 4, "k": 1001}, "at most 1000"),
        ({"user_id": 4, "k": 10**30}, "k"),
        ({"user_id": 4, "extra": 1}, "extra"),
        ({"user_id": 4, "objectives": {"like": 1.0}}, "has learnt no 'like'"),
        ({"user_id": 4, "objectives": {"click": 0}}, "one of them above 0"),
        ({"user_id": 4, "objectives": {"click": -1}}, "objectives"),
        ({"user_id": 4, "objectives": {"click": float("nan")}}, "not valid"),
        ({"user_id": 4, "objectives": {"click": True}}, "objectives"),
        ({"user_id": 4, "objectives": {}}, "one of them above 0"),
        ({"user_id": 4, "objectives": ["click"]}, "objectives"),
        ({"user_id": 4, "features": {"colour": 1}}, "reads no 'colour'"),
        ({"user_id": 4, "features": {"user_id": 5}}, "reads no 'user_id'"),
        ({"user_id": 4, "features": {"event_at": 5}}, "reads no 'event_at'"),
        ({"user_id": 4, "features": {"region": 3}}, "features.region must be a string"),
        ({"user_id": 4, "features": {"age": "old"}}, "features.age must be a finite number"),
        ({"user_id": 4, "features": {"tags": "news"}}, "features.tags must be a list of strings"),
        ({"user_id": 4, "features": {"tags": ["a", 1]}}, "features.tags"),
        ({"user_id": 4, "features": []}, "features"),
        ({"user_id": 4, "recent": ["x"]}, "recent must be a whole number"),
        ({"user_id": 4, "recent": [None]}, "recent"),
        ({"user_id": 4, "recent": 5}, "recent"),
        ({"user_id": 4, "recent": [{"item_id": 1}]}, "at"),
        ({"user_id": 4, "recent": [{"item_id": 1, "at": "now"}]}, "at"),
        ({"user_id": 4, "recent": [{"item_id": 1, "at": -1}]}, "at"),
        ({"user_id": 4, "histories": {"liked": [1]}}, "has no 'liked'"),
        ({"user_id": 4, "histories": {"history": ["x"]}}, "histories.history must be a whole"),
        ({"user_id": 4, "histories": {"history": []}, "recent": []}, "of the same events"),
        ({"user_id": 4, "exclude": ["x"]}, "exclude must be a whole number"),
        ({"user_id": 4, "exclude": list(range(10_001))}, "exclude"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_name(
    client: Client, request_: dict[str, Any], word: str
) -> None:
    """422, with what is wrong and a hint; never a guess, never a 500."""
    status, answer = client.recommend(**request_)

    assert status == 422
    assert word in answer["message"]
    assert answer["hint"]


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"user_id": NaN}', b"[" * 100_000]
)
def test_a_body_that_is_no_request_is_refused(client: Client, body: bytes) -> None:
    """422 with a message; the connection can go on."""
    status, answer = client.ask("POST", "/v1/recommend", body)

    assert status == 422
    assert json.loads(answer)["message"].startswith("the request is not valid")
    assert client.recommend(user_id=4)[0] == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"\\ud800"', 422),
        ('"\\udc00"', 422),
        ('"' + "x" * 1_001 + '"', 422),
        ('"' + "x" * 1_000 + '"', 200),
        ('"\\u0000"', 200),
        ('"日本語"', 200),
        ('""', 200),
    ],
)
def test_odd_strings_are_ids_like_any_other(client: Client, text: str, expected: int) -> None:
    """Lone surrogates and texts of more than 1,000 characters are refused; everything else is a
    region that nobody knows.
    """
    body = f'{{"user_id": 4, "k": 1, "features": {{"region": {text}}}}}'.encode()

    status, _ = client.ask("POST", "/v1/recommend", body)

    assert status == expected


@pytest.mark.promise("X5")
@pytest.mark.parametrize("age", ["1e300", "-1e300", "3e38", "1e39", str(10**30), "-0.0", "null"])
def test_a_number_of_any_size_is_answered_or_refused(client: Client, age: str) -> None:
    """What the towers cannot compute with is refused by name; it ended in a 500 once."""
    body = f'{{"user_id": 4, "k": 1, "features": {{"age": {age}}}}}'.encode()

    status, answer = client.ask("POST", "/v1/recommend", body)

    assert status in {200, 422}
    assert status == 200 or "features" in json.loads(answer)["message"]


def test_an_answer_says_whether_the_version_knows_the_user(client: Client) -> None:
    """A row or a history makes a known user; nobody and a stranger are answered all the same."""
    known = {user: client.recommend(user_id=user, k=1)[1]["known_user"] for user in (4, 5, -77)}

    assert known == {4: True, 5: True, -77: False}
    assert client.recommend(user_id=None, k=1)[1]["known_user"] is False


@pytest.mark.promise("X5")
def test_a_body_beyond_the_limit_is_refused(client: Client) -> None:
    """413 as soon as the limit is passed."""
    body = b'{"user_id": 4, "features": {"region": "' + b"x" * app.MAX_BODY_BYTES + b'"}}'

    status, answer = client.ask("POST", "/v1/recommend", body)

    assert status == 413
    assert "1000000 bytes" in json.loads(answer)["message"]


@pytest.mark.promise("X5")
def test_a_client_that_does_not_send_its_request_is_answered_in_time(
    follower: Follower, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 after the limit, and others are served meanwhile."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)
    with (
        serving(follower, clock=clock) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as slow,
        Client(port) as client,
    ):
        slow.sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert client.recommend(user_id=4)[0] == 200
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_health_and_version_say_what_is_served(client: Client) -> None:
    """Alive, ready, and the manifest's main points."""
    assert client.get("/livez") == (200, {"alive": True})
    assert client.get("/readyz") == (200, {"ready": True, "version": "v000002", "problem": None})
    assert client.get("/v1/version") == (
        200,
        {
            "version": "v000002",
            "checkpoint": "hourly-000002",
            "kind": "hourly",
            "items": 300,
            "newest_event_at": "2022-05-01T12:00:00Z",
            "newest_counted_at": "2022-05-01T12:00:00Z",
            "problem": None,
        },
    )


def test_before_the_first_version_the_server_is_alive_and_not_ready(
    deployment: Deployment, clock: HeldClock
) -> None:
    """503 with the reason, until one is live."""
    follower = follower_of(deployment, clock)
    follower.look()
    with serving(follower, clock=clock) as port, Client(port) as client:
        assert client.get("/livez")[0] == 200
        assert client.get("/readyz") == (
            503,
            {"ready": False, "version": None, "problem": "no version is live"},
        )
        for status, answer in (client.recommend(user_id=4), client.get("/v1/version")):
            assert status == 503
            assert "no version is loaded yet" in answer["message"]
            assert "twintide publish" in answer["hint"]


@pytest.mark.promise("P10")
def test_metrics_show_answers_latency_and_freshness(follower: Follower, clock: HeldClock) -> None:
    """The age of the newest click is exact, and never negative: a clock that was set back has its
    own metric. A fault of following would show.
    """
    with serving(follower, clock=clock) as port, Client(port) as client:
        client.recommend(user_id=4)
        client.recommend(user_id="x")
        clock.advance(90)

        text = client.ask("GET", "/metrics")[1].decode()

        clock.advance(-3690)
        behind = client.ask("GET", "/metrics")[1].decode()

    assert "twintide_newest_click_age_seconds 0.0" in behind
    assert "twintide_newest_click_ahead_seconds 3600.0" in behind
    for line in (
        'twintide_recommend_answers_total{status="200"} 1.0',
        'twintide_recommend_answers_total{status="422"} 1.0',
        "twintide_recommend_seconds_count 2.0",
        'twintide_version{checkpoint="hourly-000002",version="v000002"} 1.0',
        "twintide_version_items 300.0",
        "twintide_version_problem 0.0",
        "twintide_newest_click_age_seconds 90.0",
    ):
        assert line in text, text


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/recommend", 405),
        ("POST", "/v1/version", 405),
        ("DELETE", "/v1/version", 405),
        ("GET", "/../../etc/passwd", 404),
    ],
)
def test_every_error_is_json_with_a_message_and_a_hint(
    client: Client, method: str, path: str, status: int
) -> None:
    """Also those that the framework makes."""
    found, body = client.ask(method, path)

    assert found == status
    assert set(json.loads(body)) == {"message", "hint"}


@pytest.mark.promise("X5")
def test_http_changes_nothing(client: Client, data_once: Path) -> None:
    """Whatever is asked, the state file stays as it is, and no file comes or goes."""
    before = made.file_bytes(data_once / "versions", ["state.json"])
    names = sorted(path.name for path in data_once.rglob("*"))

    for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
        for path in ("/v1/recommend", "/v1/version", "/readyz", "/metrics", "/v1/rollback"):
            assert client.ask(method, path, b'{"user_id": 1}')[0] < 500

    assert made.file_bytes(data_once / "versions", ["state.json"]) == before
    assert sorted(path.name for path in data_once.rglob("*")) == names


WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": TOKEN},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": "Bearer "},
    {"Authorization": f"bearer  {TOKEN}"},
]


@pytest.mark.promise("X5")
def test_with_a_token_nobody_else_gets_an_answer(follower: Follower, clock: HeldClock) -> None:
    """All but the health checks ask for it, whatever the path; the token is in no answer."""
    with serving(follower, clock=clock, token=TOKEN) as port:
        for headers in WRONG:
            with Client(port, headers=headers) as client:
                _sees_nothing(client)
        with Client(port, headers={"Authorization": f"Bearer {TOKEN}"}) as right:
            assert right.recommend(user_id=4)[0] == 200
            assert TOKEN not in right.ask("GET", "/metrics")[1].decode()


def _sees_nothing(client: Client) -> None:
    for path in ("/v1/version", "/metrics", "/openapi.json", "/nothing", "/livez/", "//livez"):
        status, body = client.ask("GET", path)
        assert status == 401
        assert TOKEN.encode() not in body
    assert client.recommend(user_id=4)[0] == 401
    assert client.get("/livez")[0] == client.get("/readyz")[0] == 200


@pytest.mark.promise("X5")
def test_metrics_may_be_opened_to_a_scraper_and_nothing_else_with_them(
    follower: Follower, clock: HeldClock
) -> None:
    """`serving.metrics: open` lets everybody read /metrics; all other paths ask for the token."""
    with (
        serving(follower, clock=clock, token=TOKEN, metrics_need_token=False) as port,
        Client(port) as scraper,
    ):
        status, text = scraper.ask("GET", "/metrics")
        assert status == 200
        assert b"twintide_version_items" in text
        assert scraper.recommend(user_id=4)[0] == scraper.get("/v1/version")[0] == 401


def test_a_token_that_is_not_in_the_environment_is_refused_at_the_start(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that should ask for a token never runs without one."""
    named = fill_in(deployment, {"serving": {"token_env": "TWINTIDE_TEST_TOKEN"}})
    monkeypatch.delenv("TWINTIDE_TEST_TOKEN", raising=False)
    with pytest.raises(Refused, match="TWINTIDE_TEST_TOKEN is not set"):
        named.serving.token()

    monkeypatch.setenv("TWINTIDE_TEST_TOKEN", TOKEN)
    assert named.serving.token() == TOKEN


def test_a_switch_is_seen_by_the_next_request(
    two_versions: Deployment, follower: Follower, clock: HeldClock
) -> None:
    """The answer's version and items change together."""
    with serving(follower, clock=clock) as port, Client(port) as client:
        registry.rollback(two_versions.versions_dir, reason="odd", clock=clock)
        assert client.recommend(user_id=4, k=1)[1]["version"] == "v000002"

        follower.look()

        answer = client.recommend(user_id=4, k=1)[1]
        assert answer["version"] == "v000001"
        assert 1000 <= answer["items"][0]["item_id"] < 1300

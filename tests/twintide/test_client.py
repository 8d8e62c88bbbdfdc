"""`twintide.client` against real sockets that fail as servers and networks do."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest

from serving.request import RecommendRequest
from twintide.client import (
    Answer,
    Asked,
    AsyncClient,
    Client,
    Explanation,
    Failed,
    Part,
    Pull,
    RecentItem,
    Rejected,
    ScoredItem,
    Unavailable,
)
from twintide.client.outcome import spread
from twintide.errors import TwintideError

ROOT = Path(__file__).parents[2]
ANSWER = {
    "version": "v000001",
    "known_user": True,
    "items": [{"item_id": 41, "score": 2.5, "new": "key"}, {"item_id": "a", "score": 2.0}],
    "of_a_newer_server": 1,
}
FULL = (503, {"message": "the server is full", "hint": "try again"})
READ = Answer("v000001", True, (ScoredItem(41, 2.5), ScoredItem("a", 2.0)))  # noqa: FBT003
Step = tuple[int | str, Any] | None
Ask = Callable[..., Answer]


class Told:
    """A server that has been told what to say: a status with a body, and lines for the head;
    None to hang up.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._steps = list(steps)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        for step in self._steps:
            connection, _ = self._listener.accept()
            with connection, connection.makefile("rb") as stream:
                start = stream.readline().decode()
                lines = [line.decode().strip() for line in iter(stream.readline, b"\r\n")]
                heads = {
                    name.lower(): value for name, _, value in (x.partition(": ") for x in lines)
                }
                body = stream.read(int(heads.get("content-length", "0")))
                self.requests.append((start, heads, body))
                if step is not None:
                    said = step[1] if isinstance(step[1], bytes) else json.dumps(step[1]).encode()
                    length = f"Content-Length: {len(said)}\r\nConnection: close\r\n"
                    connection.sendall(f"HTTP/1.1 {step[0]} x\r\n{length}\r\n".encode() + said)

    def end(self) -> None:
        self._listener.close()


@contextmanager
def told(*steps: Step) -> Iterator[Told]:
    server = Told(steps)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        thread.join()
        server.end()


def ask_and_wait(url: str, *, token: str | None = None, user: Any = 7, **said: Any) -> Answer:
    with Client(url, token=token, first_wait_seconds=0.0) as client:
        return client.recommend(user, **said)


def ask_without_waiting(
    url: str, *, token: str | None = None, user: Any = 7, **said: Any
) -> Answer:
    async def ask() -> Answer:
        async with AsyncClient(url, token=token, first_wait_seconds=0.0) as client:
            return await client.recommend(user, **said)

    return asyncio.run(ask())


@pytest.fixture(params=[ask_and_wait, ask_without_waiting], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


def test_what_is_said_arrives_and_what_is_answered_is_read(ask: Ask) -> None:
    """Keys, token and times as docs/http.md has them; keys of a newer server are passed over."""
    with told((200, ANSWER)) as server:
        answer = ask(
            server.url, token="secret", user="ü", k=2, recent=[RecentItem(5, 99)], exclude=[1, "b"]
        )

    (start, heads, body) = server.requests[0]
    assert answer == READ
    assert answer.item_ids == [41, "a"]
    assert start.startswith("POST /v1/recommend ")
    assert heads["authorization"] == "Bearer secret"
    assert json.loads(body) == {
        "user_id": "ü",
        "k": 2,
        "recent": [{"item_id": 5, "at": 99}],
        "exclude": [1, "b"],
    }


@pytest.mark.parametrize("counted", [{}, {"newest_counted_at": "2026-03-01T12:10:00Z"}])
def test_what_is_served_is_read(counted: dict[str, str]) -> None:
    """With how fresh it is by what it has learnt and by what it has counted, which an older server
    does not say.
    """
    said = {"version": "v000001", "checkpoint": "hourly-000456", "kind": "hourly", "items": 3}
    at = {"newest_event_at": "2026-03-01T12:00:00Z", "problem": None}
    with told((200, said | at | counted)) as server, Client(server.url) as client:
        served = client.version()

    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert (served.version, served.newest_event_at) == ("v000001", noon)
    assert served.newest_counted_at == (noon + timedelta(minutes=10) if counted else None)


def test_an_explanation_is_read(ask: Ask) -> None:
    """By objective, and by the items of the history, of which one may have no id any more."""
    why = {
        "parts": {"click": {"similarity": 0.5, "bias": 2.0}},
        "history": [{"item_id": None, "score": 0.25}],
    }
    with told((200, ANSWER | {"items": [{"item_id": 41, "score": 2.5, "explain": why}]})) as server:
        answer = ask(server.url, explain=True, seen=False, filters={"category": [3, 7]})

    assert answer.items == (
        ScoredItem(41, 2.5, Explanation({"click": Part(0.5, 2.0)}, (Pull(None, 0.25),))),
    )
    said = json.loads(server.requests[0][2])
    assert (said["explain"], said["seen"], said["filters"]) == (True, False, {"category": [3, 7]})


BATCH = {"answers": [ANSWER, {"error": {"message": "k is 0", "hint": "such as 10"}}]}


def batch_and_wait(url: str) -> list[Answer | TwintideError]:
    with Client(url) as client:
        return client.recommend_batch([{"user_id": 7, "k": 2}, {"user_id": None, "k": 0}])


def batch_without_waiting(url: str) -> list[Answer | TwintideError]:
    async def ask() -> list[Answer | TwintideError]:
        async with AsyncClient(url) as client:
            return await client.recommend_batch([{"user_id": 7, "k": 2}, {"user_id": None, "k": 0}])

    return asyncio.run(ask())


@pytest.mark.parametrize("ask_many", [batch_and_wait, batch_without_waiting])
def test_of_a_batch_each_request_has_its_answer_or_its_error(
    ask_many: Callable[[str], list[Answer | TwintideError]],
) -> None:
    """In their order; one that does not fit takes nothing from the others."""
    with told((200, BATCH)) as server:
        answer, refused = ask_many(server.url)

    assert answer == READ
    assert isinstance(refused, Rejected)
    assert (refused.message, refused.status) == ("k is 0", 422)
    assert server.requests[0][0].startswith("POST /v1/recommend/batch ")


MISTAKE = {"status": 500, "message": "the server made a mistake", "hint": "its log"}


@pytest.mark.parametrize("ask_many", [batch_and_wait, batch_without_waiting])
def test_of_a_batch_each_error_is_what_it_would_be_alone(
    ask_many: Callable[[str], list[Answer | TwintideError]],
) -> None:
    """A mistake of the server is no request that does not fit."""
    with told((200, {"answers": [ANSWER, {"error": MISTAKE}]})) as server:
        _, failed = ask_many(server.url)

    assert isinstance(failed, Failed)
    assert (failed.message, failed.hint) == ("the server made a mistake", "its log")


@pytest.mark.parametrize("first", [FULL, None, (502, b"<h1>nobody there</h1>")])
def test_what_may_pass_is_asked_again(ask: Ask, first: Step) -> None:
    """A full server, one that hangs up, a proxy that met nobody: the next attempt is answered."""
    with told(first, first, (200, ANSWER)) as server:
        assert ask(server.url) == READ
    assert len(server.requests) == 3


def test_after_the_last_attempt_the_error_says_what_the_server_said(ask: Ask) -> None:
    """With its hint; whoever catches it knows that later it may work."""
    with told(FULL, FULL, FULL) as server, pytest.raises(Unavailable) as raised:
        ask(server.url)

    assert (raised.value.message, raised.value.hint) == ("the server is full", "try again")


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ((422, {"message": "k is 0", "hint": "such as 10"}), Rejected, "k is 0"),
        ((401, {"message": "the bearer token is missing", "hint": ""}), Rejected, "bearer"),
        ((429, b"slow down"), Rejected, "answered 429 without a word of Twintide"),
        ((500, {"message": "the server made a mistake", "hint": "log"}), Failed, "a mistake"),
        ((302, b""), Failed, "answered 302"),
        ((200, b"<html>"), Failed, "answered 200 without a word of Twintide"),
        ((200, b"[" * 100_000), Failed, "answered 200 without a word of Twintide"),
        ((200, {}), Failed, "answered 200 with what is no answer"),
        ((200, ANSWER | {"items": None}), Failed, "answered 200 with what is no answer"),
        ((200, ANSWER | {"items": [{"score": 1}]}), Failed, "answered 200 with what is no answer"),
        (("200 x\r\nContent-Encoding: gzip\r\nA:", b"zz"), Failed, "cannot be read"),
    ],
)
def test_what_cannot_pass_is_asked_once(
    ask: Ask, step: Step, error: type[TwintideError], message: str
) -> None:
    """The error says so, with the words of the server where it had any."""
    with told(step) as server, pytest.raises(error, match=message) as raised:
        ask(server.url)

    assert raised.value.hint
    assert len(server.requests) == 1


def test_nobody_there_is_unavailable_and_names_the_address(ask: Ask) -> None:
    """A port that nobody listens at, and what to look at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

    with pytest.raises(Unavailable, match=url) as raised:
        ask(url)
    assert "/livez" in raised.value.hint


@pytest.mark.parametrize("steps", [[(422, {})], [(200, {})], [None] * 3])
def test_what_is_said_of_an_address_holds_no_password(ask: Ask, steps: list[Step]) -> None:
    """That a proxy asks for: errors end up in logs."""
    with told(*steps) as server, pytest.raises(TwintideError, match=r"http://127") as raised:
        ask(server.url.replace("//", "//me:geheim@"))

    assert "geheim" not in str(raised.value)


def test_an_address_that_is_none_is_said_at_once(ask: Ask) -> None:
    """Without a scheme nothing can be asked, today or later."""
    with pytest.raises(Failed, match="cannot be asked") as raised:
        ask("localhost")
    assert "http://" in raised.value.hint


def test_a_server_that_never_answers_is_given_up() -> None:
    """After the time-out of each attempt, not of the network."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            Client(url, timeout_seconds=0.05, retries=1, first_wait_seconds=0.0) as client,
            pytest.raises(Unavailable, match="did not answer"),
        ):
            client.recommend(7)


@pytest.mark.parametrize(
    "said", [{}, {"answers": 7}, {"answers": [{"error": 1}] * 2}, {"answers": [ANSWER]}]
)
@pytest.mark.parametrize("ask_many", [batch_and_wait, batch_without_waiting])
def test_a_batch_is_answered_by_what_is_none(
    ask_many: Callable[[str], list[Answer | TwintideError]], said: Any
) -> None:
    """Something else that speaks JSON is said to be no Twintide server; so is who leaves out an
    answer, since the others would stand for other requests.
    """
    with told((200, said)) as server, pytest.raises(Failed, match="no answer"):
        ask_many(server.url)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
HALF_A_HEAD = b"HTTP/1.1 200 OK\r\nX:"


@contextmanager
def dripping(begin: bytes = HEAD) -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that goes on with its answer a byte at a time, as long as somebody reads it; and
    whom it has met.
    """
    met: list[socket.socket] = []
    ended = threading.Event()

    def drip() -> None:
        while True:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                if not connection.recv(65_536):
                    return
                met.append(connection)
                connection.sendall(begin)
                while not ended.wait(0.02):
                    connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", met
        finally:
            ended.set()
            socket.create_connection(listener.getsockname()).close()
            thread.join()


def drip_and_wait(url: str, **said: Any) -> None:
    with Client(url, timeout_seconds=0.15, retries=1, first_wait_seconds=0.0) as client:
        client.recommend(7, **said)


def drip_without_waiting(url: str, **said: Any) -> None:
    async def ask() -> None:
        async with AsyncClient(
            url, timeout_seconds=0.15, retries=1, first_wait_seconds=0.0
        ) as client:
            await client.recommend(7, **said)

    asyncio.run(ask())


@pytest.mark.timeout(30)
@pytest.mark.parametrize("give_up", [drip_and_wait, drip_without_waiting])
@pytest.mark.parametrize(("said", "attempts"), [({}, 2), ({"exact": True}, 1)])
@pytest.mark.parametrize("begin", [HEAD, HALF_A_HEAD])
def test_the_time_out_is_of_the_whole_attempt(
    give_up: Callable[..., None], begin: bytes, said: dict[str, Any], attempts: int
) -> None:
    """However small the pieces that an answer comes in. What takes long is not asked again: the
    server may still be at work on it.
    """
    with dripping(begin) as (url, met), pytest.raises(Unavailable, match="did not answer"):
        give_up(url, **said)

    assert len(met) == attempts


def test_a_proxy_that_gave_up_waiting_is_a_time_out(ask: Ask) -> None:
    """The server behind it may still be at work on what takes long; all else is asked again."""
    with told((504, b"")) as server, pytest.raises(Unavailable, match="answered 504"):
        ask(server.url, exact=True)
    with told((504, b""), (200, ANSWER)) as server:
        assert ask(server.url) == READ


def test_a_batch_that_takes_too_long_is_asked_once() -> None:
    """It would wait for its turn behind the first."""
    with (
        dripping() as (url, met),
        Client(url, timeout_seconds=0.1) as client,
        pytest.raises(Unavailable),
    ):
        client.recommend_batch([{"user_id": 7}])

    assert len(met) == 1


def test_clients_that_failed_together_do_not_come_back_together() -> None:
    """Each wait is spread, by half of it to both sides."""
    waited = {spread(1.0) for _ in range(20)}

    assert len(waited) > 1
    assert all(0.5 <= seconds <= 1.5 for seconds in waited)


def test_every_key_of_a_request_is_an_argument() -> None:
    """What the server reads can be said, by the same name."""
    keys = {each.name for each in msgspec.structs.fields(RecommendRequest)}

    assert set(get_type_hints(Asked)) | {"user_id"} == keys


def test_an_application_loads_no_model_code() -> None:
    """The client alone: no torch, Arrow, index, Kafka or server comes with it."""
    heavy = "{'torch', 'pyarrow', 'faiss', 'numpy', 'pydantic', 'fastapi', 'kafka'}"
    code = f"import sys, twintide.client; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_a_token_that_no_header_can_hold_is_refused_at_once(client: Any) -> None:
    """Before anything is asked, and without the token in the words."""
    with pytest.raises(ValueError, match="printable ASCII") as refused:
        client("http://localhost:1", token="geheim-ü")
    assert "geheim" not in str(refused.value)

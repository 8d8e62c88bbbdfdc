"""Requests that come whole are answered at once, as the long way answers them."""

import json
import random
import re
import socket

import h11
import pytest
from structlog.testing import capture_logs

from serving.at_once import MAX_BODY_BYTES, whole
from serving.follower import Follower
from serving.metrics import STAGES
from serving.parser import Parser
from tests.serving.conftest import TOKEN, Client, follower_of, serving
from tests.serving.test_connections import all_of
from twintide.clock import HeldClock
from twintide.config import Deployment

BEGIN = b"POST /v1/recommend HTTP/1.1\r\n"
BODY = b'{"user_id": 4, "k": 3}'
LENGTH = b"Content-Length: 22\r\n"
LONG_WAY = b"Upgrade: none\r\n"
"""A header that no answer depends on, and that is not taken at once."""


def asked(headers: bytes, body: bytes = BODY) -> bytes:
    return BEGIN + headers + b"\r\n" + body


@pytest.mark.parametrize(
    "headers", [b"", b"Connection: Keep-Alive\r\n", b"Accept: */*\r\nUser-Agent: some one\r\n"]
)
def test_a_whole_request_without_wishes_is_taken(headers: bytes) -> None:
    """What clients commonly send: their headers, and a body as long as they say."""
    found = whole(asked(b"Host: x\r\n" + LENGTH + headers))

    assert found is not None
    assert found.body == BODY
    assert found.headers[:2] == [(b"host", b"x"), (b"content-length", b"22")]


@pytest.mark.parametrize(
    "data",
    {
        "another path": asked(b"Host: x\r\n" + LENGTH).replace(b"recommend", b"recommend?a=1"),
        "another method": asked(b"Host: x\r\n" + LENGTH).replace(b"POST", b"GET"),
        "an older protocol": asked(b"Host: x\r\n" + LENGTH).replace(b"1.1", b"1.0"),
        "half a head": BEGIN + b"Host: x\r\n" + LENGTH,
        "half a body": asked(b"Host: x\r\n" + LENGTH, BODY[:-1]),
        "the next request behind it": asked(b"Host: x\r\n" + LENGTH, BODY + b"P"),
        "no length": asked(b"Host: x\r\n"),
        "two lengths": asked(b"Host: x\r\nContent-Length: 21\r\n" + LENGTH),
        "a length that is none": asked(b"Host: x\r\nContent-Length: +22\r\n"),
        "chunks": asked(b"Host: x\r\nTransfer-Encoding: chunked\r\n" + LENGTH),
        "chunks without a length": asked(b"Host: x\r\nTransfer-Encoding: chunked\r\n"),
        "compressed": asked(b"Host: x\r\nContent-Encoding: gzip\r\n" + LENGTH),
        "a question first": asked(b"Host: x\r\nExpect: 100-continue\r\n" + LENGTH),
        "the last one": asked(b"Host: x\r\nConnection: close\r\n" + LENGTH),
        "the last one, hidden": asked(
            b"Host: x\r\nConnection: close\r\nConnection: keep-alive\r\n" + LENGTH
        ),
        "no host": asked(LENGTH),
        "two hosts": asked(b"Host: x\r\nHost: y\r\n" + LENGTH),
        "a head that ends before it does": asked(b"Host: x\r\n" + LENGTH + b"\n" + b"A: b\r\n"),
        "a line that goes on": asked(b"Host: x\r\n" + LENGTH + b" A: b\r\n"),
        "no header": asked(b"Host: x\r\n" + LENGTH + b"a b\r\n"),
        "a long head": asked(b"Host: x\r\n" + LENGTH + b"A: " + b"b" * 2_048 + b"\r\n"),
        "a large body": asked(
            b"Host: x\r\nContent-Length: %d\r\n" % (MAX_BODY_BYTES + 1),
            b" " * (MAX_BODY_BYTES + 1),
        ),
        "more lines than are read": asked(b"Host: x\r\n" + LENGTH + b"".join(
            b"a%d:\r\n" % number for number in range(200)
        )),
    }.values(),
)  # fmt: skip
def test_all_else_goes_the_long_way(data: bytes) -> None:
    """What is unusual, not whole, or could mean two things."""
    assert whole(data) is None


def test_what_is_taken_is_what_the_reader_of_all_others_reads() -> None:
    """Of 3,000 requests with bytes exchanged, put in and left out: the same headers and body, and
    nothing is left.
    """
    rng, request, taken = random.Random(1), asked(b"Host: x\r\nA: b c\r\n" + LENGTH), 0
    for _ in range(3_000):
        place = rng.randrange(len(BEGIN), len(request))
        put = rng.choice([b"", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\0", b":", b"2", b"\xff", b"x"])
        data = request[:place] + put + request[place + rng.randrange(2) :]
        found = whole(data)
        if found is None:
            continue
        taken += 1
        reader = Parser()
        reader.begin_turn()
        reader.receive_data(data)
        head, *parts = iter(reader.next_event, h11.NEED_DATA)
        assert isinstance(head, h11.Request)
        assert list(head.headers) == found.headers
        assert [type(each) for each in parts] == [h11.Data, h11.EndOfMessage]
        assert parts[0].data == found.body
        assert reader.trailing_data == (b"", False)
    assert taken > 500


def answers(port: int, headers: bytes, body: bytes) -> list[bytes]:
    """Those to a request that comes whole, and to the same on the long way: without their date."""
    found, host = [], b"" if b"Host:" in headers else b"Host: x\r\n"
    for more in (b"", LONG_WAY):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
            length = b"Content-Length: %d\r\n" % len(body)
            one.sendall(asked(host + length + headers + more, body))
            one.shutdown(socket.SHUT_WR)
            found.append(re.sub(rb"\r\ndate: [^\r]*", b"", all_of(one)))
    return found


@pytest.fixture
def follower(two_versions: Deployment, clock: HeldClock) -> Follower:
    return follower_of(two_versions, clock)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (BODY, 200),
        (b'{"user_id": 4, "k": 3, "exact": true}', 200),
        (b'{"user_id": 4, "k": 0}', 422),
        (b'{"user_id": "four"}', 422),
        (b"{", 422),
    ],
)
def test_an_answer_is_the_same_either_way(
    follower: Follower, clock: HeldClock, body: bytes, status: int
) -> None:
    """To the byte, be it a refusal; each counts, and has its line in the log."""
    follower.look()
    with (
        capture_logs() as logged,
        serving(follower, clock=clock, log_ratio=1.0) as port,
        Client(port) as client,
    ):
        at_once, long_way = answers(port, b"", body)
        page = client.ask("GET", "/metrics")[1].decode()

    assert at_once == long_way
    assert at_once.startswith(b"HTTP/1.1 %d " % status)
    assert f'twintide_recommend_answers_total{{status="{status}"}} 2.0' in page
    for stage in STAGES if status == 200 else ():
        assert f'twintide_recommend_stage_seconds_count{{stage="{stage}"}} 2.0' in page
    lines = [each for each in logged if each["event"] == "request_answered"]
    assert [(each["route"], each["status"]) for each in lines[:2]] == [
        ("/v1/recommend", status)
    ] * 2


def test_whoever_may_not_ask_is_refused_either_way(follower: Follower, clock: HeldClock) -> None:
    """Without the token, by a name that is another's, and before there is a version."""
    with serving(follower, clock=clock) as port:
        too_early = answers(port, b"", BODY)
        follower.look()
        by_another_name = answers(port, b"Host: evil.example\r\n", BODY)
    with serving(follower, clock=clock, token=TOKEN) as port:
        unknown = answers(port, b"Authorization: Bearer nonsense\r\n", BODY)
        known = answers(port, f"Authorization: Bearer {TOKEN}\r\n".encode(), BODY)

    found = {503: too_early, 421: by_another_name, 401: unknown, 200: known}
    for status, (at_once, long_way) in found.items():
        assert at_once == long_way
        assert at_once.startswith(b"HTTP/1.1 %d " % status)


def test_a_mistake_of_the_server_is_said_and_counted(
    follower: Follower, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised becomes a 500 that says nothing of it, and the connection goes on."""
    follower.look()
    retriever = follower.retriever()
    monkeypatch.setattr(retriever, "query", lambda _: int("a secret"))
    with serving(follower, clock=clock) as port, Client(port) as client:
        at_once, long_way = answers(port, b"", BODY)
        page = client.ask("GET", "/metrics")[1].decode()

    assert at_once == long_way
    assert at_once.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in at_once
    assert 'twintide_recommend_answers_total{status="500"} 2.0' in page


def test_one_connection_asks_either_way_in_turns(follower: Follower, clock: HeldClock) -> None:
    """What was answered at once leaves the connection as it was."""
    follower.look()
    at_once, long_way = (asked(b"Host: x\r\n" + LENGTH + more) for more in (b"", LONG_WAY))
    with (
        serving(follower, clock=clock) as port,
        socket.create_connection(("127.0.0.1", port), timeout=20) as one,
        one.makefile("rb") as answered,
    ):
        for each in (at_once, at_once, long_way, long_way, at_once):
            one.sendall(each)
            head = list(iter(answered.readline, b"\r\n"))
            length = next(int(line.split(b":")[1]) for line in head if b"content-length" in line)
            assert len(json.loads(answered.read(length))["items"]) == 3

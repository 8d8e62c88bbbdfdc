"""What strangers send to an open port: each gets a clear answer, and nobody else waits for it."""

import gzip
import json
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h11
import pytest

from publisher import registry
from serving import app
from serving.connections import Limits
from serving.follower import Follower
from serving.parser import PIECES_A_TURN, Parser
from serving.request import parse_request
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, follower_of, serving
from tests.serving.test_connections import all_of, connected, refusal
from twintide.clock import monotonic_seconds
from twintide.config import Deployment
from twintide.errors import Refused

POST = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\n"
BODY = b'{"user_id": 4, "k": 1}'
SOUND = POST + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
ELSEWHERE = b"POST /livez HTTP/1.1\r\nHost: x\r\n"
LARGE = json.dumps({"user_id": 4, "k": 1, "exclude": list(range(10_000))}).encode()
LARGER = LARGE.replace(b'"k": 1', b'"k": 100')


@pytest.fixture(scope="module")
def follower(data_once: Path) -> Follower:
    """Of two versions that no test changes."""
    follower = follower_of(made.deployment_at(data_once), made.held_clock())
    follower.look()
    return follower


@pytest.fixture(scope="module")
def port(follower: Follower) -> Iterator[int]:
    """Of a server that has room for all."""
    with serving(follower, clock=made.held_clock()) as port:
        yield port


def answer_to(port: int, said: bytes) -> bytes:
    """All that a server says to these bytes, behind which nothing comes."""
    with connected(port, 1) as (one,):
        with suppress(OSError):
            one.sendall(said)
            one.shutdown(socket.SHUT_WR)
        return all_of(one)


def answer_of(connection: socket.socket) -> bytes:
    """One answer, on a connection that goes on."""
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(1_000)
    return answer


@contextmanager
def longest_wait(port: int) -> Iterator[list[float]]:
    """The seconds that another client, who asks on and on, waited for its slowest answer."""
    stopping = threading.Event()
    waited = [0.0]

    def ask() -> None:
        with Client(port) as client:
            while not stopping.is_set():
                began = monotonic_seconds()
                assert client.recommend(user_id=4, k=1)[0] == 200
                waited[0] = max(waited[0], monotonic_seconds() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield waited
    finally:
        stopping.set()
        asking.join()


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    ("said", "status", "word"),
    [
        (POST + CHUNKED + b"1\r\n \r\n" * 100_000, b"400", b"pieces"),
        (ELSEWHERE + CHUNKED + b"1\r\n \r\n" * 100_000, b"400", b"pieces"),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 3_900 + b"\r\n", b"431", b"lines"),
        (POST + CHUNKED + b"0\r\n" + b"a:\r\n" * 3_900 + b"\r\n", b"431", b"lines"),
    ],
    ids=["chunks of a byte", "behind an answer", "header lines", "trailers"],
)
def test_what_costs_more_to_read_than_to_send_is_not_read(
    port: int, said: bytes, status: bytes, word: bytes
) -> None:
    """600 kB of chunks of one byte took the server three seconds, in which everybody waited."""
    with longest_wait(port) as waited:
        answer = answer_to(port, said)

    assert b"HTTP/1.1 " + status in answer
    assert word in answer
    assert waited[0] < 0.5


def test_a_long_body_is_read_in_turns() -> None:
    """What has come in many pieces is read a few at a time, and all of it in the end."""
    parser, read = Parser(), 0
    parser.receive_data(POST + CHUNKED + b"1\r\n \r\n" * 200 + b"0\r\n\r\n")
    for turn in range(7):
        parser.begin_turn()
        events = list(iter(parser.next_event, h11.NEED_DATA))
        assert len(events) == (PIECES_A_TURN if turn < 6 else 10)
        assert parser.is_cut == (turn < 6)
        read += sum(type(each) is h11.Data for each in events)

    assert read == 200


@pytest.mark.parametrize("size", [1, 512], ids=["bytewise", "in chunks of 512"])
def test_a_body_in_chunks_is_read(port: int, size: int) -> None:
    """A small one in pieces of any size, a large one in sensible ones."""
    body = BODY.ljust(200) if size == 1 else LARGE
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)

    assert answer_to(port, POST + CHUNKED + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 200")


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    ("headers", "body", "status", "word"),
    [
        (b"Content-Encoding: gzip\r\n", gzip.compress(BODY), 415, "gzip"),
        (b"Content-Encoding: br, identity\r\n", BODY, 415, "br"),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", 400, "Content-Length"),
    ],
    ids=["gzip", "brotli", "two lengths"],
)
def test_a_body_that_cannot_be_read_as_meant_is_refused(
    port: int, headers: bytes, body: bytes, status: int, word: str
) -> None:
    """Compressed bodies were called malformed JSON; two lengths are how requests are smuggled."""
    head = POST + headers + b"Content-Length: %d\r\n\r\n" % len(body)

    found, said = refusal(answer_to(port, head + body))

    assert found == status
    assert word in said["message"]
    assert said["hint"]


@pytest.mark.promise("X5")
@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"], ids=["", "100-continue"])
def test_a_body_that_says_that_it_is_too_long_is_refused_unread(port: int, expect: bytes) -> None:
    """At once, and nobody is told to go on and send it."""
    head = POST + expect + b"Content-Length: %d\r\n\r\n" % (app.MAX_BODY_BYTES + 1)
    with connected(port, 1, saying=head) as (one,):
        assert one.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.promise("X5")
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/version", "/metrics"])
def test_what_can_be_got_can_be_asked_for_its_head(port: int, path: str) -> None:
    """Load balancers look with HEAD: the status of GET, without a body."""
    with Client(port) as client:
        assert client.ask("HEAD", path) == (200, b"")
        assert client.ask("GET", path)[0] == 200


@pytest.mark.parametrize(
    ("path", "allowed"), [("/livez", b"allow: GET"), ("/v1/recommend", b"allow: POST")]
)
def test_whoever_asks_by_a_wrong_method_is_told_the_right_one(
    port: int, path: str, allowed: bytes
) -> None:
    """As RFC 9110 asks for, with every 405."""
    said = answer_to(port, f"OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert said.startswith(b"HTTP/1.1 405 ")
    assert allowed in said


@pytest.mark.promise("X5")
def test_nobody_is_sent_to_a_host_that_the_request_named(port: int) -> None:
    """A slash too many is a path that is not there; it was a redirect to the Host header."""
    said = answer_to(port, b"GET /livez/ HTTP/1.1\r\nHost: evil\r\n\r\n")

    assert refusal(said)[0] == 404
    assert b"evil" not in said


@pytest.mark.parametrize(
    "said",
    [
        SOUND.replace(b"HTTP/1.1", b"HTTP/1.0"),
        SOUND.replace(b"Host", b"Expect: 100-continue\r\nHost"),
        SOUND.replace(b"POST /", b"POST http://x/"),
        SOUND.replace(b"POST /", b"POST https://x/"),
        SOUND.replace(b"Host", b"Connection: upgrade\r\nUpgrade: websocket\r\nHost"),
    ],
    ids=["1.0", "100-continue", "absolute", "absolute, of TLS", "upgrade"],
)
def test_other_ways_of_asking_are_answered(port: int, said: bytes) -> None:
    """HTTP/1.0, the whole URL as some proxies send it, an upgrade that is not there."""
    assert b"HTTP/1.1 200 OK" in answer_to(port, said)


def test_requests_that_follow_at_once_are_all_answered_in_turn(port: int) -> None:
    """Five at once, and then nothing more; a health check among them."""
    said = answer_to(port, SOUND * 2 + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + SOUND * 2)

    assert said.count(b"HTTP/1.1 200 OK") == 5
    assert said.count(b'"alive"') == 1


NESTED = '{"user_id": 4, "features": {"age": ' + "[" * 40_000 + "]" * 40_000 + "}}"
"""Deeper than any Python goes; 3.12 goes as deep as 4,000."""


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('{"user_id": 4, "k": 1, "k": 2}', "'k' twice"),
        ('{"user_id": 4, "user_id": 4}', "'user_id' twice"),
        ('{"user_id": 4, "\\u006b": 1, "k": 2}', "'k' twice"),
        ('{"user_id": 4, "features": {"age": 1, "age": 2}}', "'age' twice"),
        ('{"user_id": 4, "k": 1e3}', "k: "),
        ('{"user_id": 4, "k": 10.0}', "k: "),
        ('{"user_id": 4, "k": true}', "k: "),
        ('{"user_id": 4.0}', "user_id: "),
        ('{"user_id": 4, "features": {"age": NaN}}', "JSON"),
        ('{"user_id": 4, "features": {"age": -Infinity}}', "JSON"),
        ('{"user_id": 4, "exclude": [1, "5001"]}', "exclude"),
        ('{"user_id": 4, "exclude": [1, 2.0]}', "exclude"),
        ('{"user_id": "\\ud800"}', "surrogate"),
        ('{"user_id": 4, "features": {"region": "\\udc00"}}', "surrogate"),
        ('{"user_id": 4, "\\ud800": 1}', "surrogate"),
        ('{"user_id": 4, "filter": 1}', "filter"),
        pytest.param(NESTED, "not valid", id="nested too deep"),
        ('{"user_id": ' + "9" * 4_000 + "}", "user_id"),
        ('{"user_id": 4, "features": {"age": ' + "9" * 4_000 + "}}", "features.age"),
    ],
)
def test_a_request_that_may_mean_two_things_is_refused(port: int, body: str, word: str) -> None:
    """The rules of data files hold here too: no key twice, no half characters, no other types."""
    with Client(port) as client:
        status, answer = client.ask("POST", "/v1/recommend", body.encode())

    said = json.loads(answer)
    assert status == 422
    assert word in said["message"]
    assert len(said["message"]) < 400
    assert said["hint"]


@pytest.mark.promise("X5")
@pytest.mark.timeout(30)
def test_one_key_twice_among_many_is_found_in_one_pass() -> None:
    """600 kB of keys of which the last one came before held the server for a minute."""
    many = ",".join(f'"{number:x}":1' for number in range(60_000))
    with pytest.raises(Refused, match="the key 'zz' twice"):
        parse_request(f'{{"user_id":4,"features":{{{many},"zz":1,"zz":1}}}}'.encode())


def test_a_key_inside_a_text_is_no_key(port: int) -> None:
    """Colons and quotes in values are nothing to complain of."""
    with Client(port) as client:
        region = '"k": 1, "k": {"k": 2}'
        assert client.recommend(user_id=4, k=1, features={"region": region})[0] == 200


@pytest.mark.promise("X5")
def test_large_requests_that_stand_about_do_not_keep_small_ones_out(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all bodies together may hold is for large ones: small ones are answered all the same."""
    monkeypatch.setattr(app, "MAX_BODY_BYTES_IN_ALL", 50_000)
    head = POST + b"Content-Length: 100000\r\n\r\n"
    with (
        serving(follower, clock=made.held_clock()) as port,
        connected(port, 1, saying=head + b" " * 50_000),
        connected(port, 1, saying=head + b" " * 60_000) as (refused,),
        Client(port) as client,
    ):
        assert refused.recv(1_000).startswith(b"HTTP/1.1 503 ")
        assert client.recommend(user_id=4, k=1)[0] == 200


@pytest.mark.promise("X5")
def test_nobody_waits_for_answers_to_those_who_have_left(follower: Follower) -> None:
    """Large requests take turns; whoever hung up before its turn came has none."""
    head = POST + b"Content-Length: %d\r\n\r\n" % len(LARGE)
    with serving(follower, clock=made.held_clock()) as port:
        with connected(port, 40, saying=head + LARGE) as leaving:
            for one in leaving:  # with a reset: who only says no more may still want an answer
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with Client(port) as client:
            assert client.ask("POST", "/v1/recommend", LARGE)[0] == 200
            metrics = client.ask("GET", "/metrics")[1].decode()
    (count,) = [line for line in metrics.splitlines() if "recommend_seconds_count" in line]
    assert float(count.split()[1]) < 30


@pytest.mark.promise("P3")
def test_a_switch_while_large_requests_wait_mixes_no_versions(two_versions: Deployment) -> None:
    """Each of them is answered from one version, whichever was served when its turn came; that of
    the last comes after the switch.
    """
    clock = made.held_clock()
    follower = follower_of(two_versions, clock)
    follower.look()
    head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(LARGER)
    with (
        serving(follower, clock=clock) as port,
        connected(port, 20, saying=head + LARGER) as waiting,
        connected(port, 1, saying=head + LARGER[:-1]) as (last,),
    ):
        assert waiting[0].recv(1, socket.MSG_PEEK)
        registry.rollback(two_versions.versions_dir, reason="odd", clock=clock)
        follower.look()
        last.sendall(LARGER[-1:])
        answers = [json.loads(all_of(one).partition(b"\r\n\r\n")[2]) for one in (*waiting, last)]

    first_items = {"v000001": 1000, "v000002": 5000}
    for answer in answers:
        first = first_items[answer["version"]]
        assert all(first <= item["item_id"] < first + 300 for item in answer["items"])
    assert answers[-1]["version"] == "v000001"


@pytest.mark.promise("X5")
def test_what_is_left_of_a_refused_request_does_not_end_the_connection(follower: Follower) -> None:
    """It waits for the next request as long as any other: a 408 that nobody asked for was sent."""
    limits = Limits(connections=100, head_seconds=0.3)
    with (
        serving(follower, clock=made.held_clock(), limits=limits) as port,
        connected(port, 1, saying=ELSEWHERE + b"Content-Length: 5\r\n\r\n") as (one,),
    ):
        assert answer_of(one).startswith(b"HTTP/1.1 405 ")
        one.sendall(b"12345")
        assert not select.select([one], [], [], 0.6)[0]
        one.sendall(SOUND)
        assert answer_of(one).startswith(b"HTTP/1.1 200 ")


@pytest.mark.promise("X5")
def test_a_request_that_is_not_whole_when_the_server_ends_is_told_so(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 in JSON, like every error; it was a plain-text 500."""
    monkeypatch.setattr("serving.server.GOODBYE_SECONDS", 0.2)
    half = socket.socket()
    with half:
        with serving(follower, clock=made.held_clock()) as port:
            half.connect(("127.0.0.1", port))
            half.sendall(POST + b"Content-Length: 50\r\n\r\n{")
            with Client(port) as client:
                assert client.get("/livez")[0] == 200
        status, said = refusal(all_of(half))

    assert status == 503
    assert "ends" in said["message"]
    assert said["hint"]

"""Clients that misbehave, on real sockets: the others never notice."""

import json
import re
import select
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from publisher.publish import publish
from serving.connections import Joined, Limits
from serving.follower import Follower
from serving.parser import MAX_HEAD_BYTES
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client, follower_of, serving
from tests.serving.test_rollback_under_load import Server, wait_until
from twintide.clock import HeldClock, monotonic_seconds
from twintide.config import Deployment

HALF_A_HEAD = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\n"
ASK = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
OPEN_FILES = 256


@pytest.fixture
def follower(two_versions: Deployment, clock: HeldClock) -> Follower:
    follower = follower_of(two_versions, clock)
    follower.look()
    return follower


@contextmanager
def connected(port: int, count: int, *, saying: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many raw connections."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            one.sendall(saying)
            found.append(one)
        yield found


def all_of(connection: socket.socket) -> bytes:
    """What the server says until it hangs up."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


def refusal(answer: bytes) -> tuple[int, dict[str, str]]:
    """Status and body of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Server]:
    """A real server process that may open 256 files, with one version live."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    deployment = made.deployment_at(tmp_path / "data")
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=made.held_clock())
    config = tmp_path / "twintide.yaml"
    config.write_text(json.dumps(made.configuration(tmp_path / "data", serving={"port": port})))
    server = Server(config, port, open_files=OPEN_FILES, log=tmp_path / "log")
    wait_until(lambda: server.readiness() == 200, seconds=60)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait()


@pytest.mark.promise("X5")
def test_a_storm_of_half_open_connections_stops_nobody(narrow: Server, tmp_path: Path) -> None:
    """400 half heads at a server that may open 256 files: every new client is answered, one that
    was connected before too, the log stays short, and SIGTERM ends it with 0.
    """
    with Client(narrow.port) as before, ExitStack() as storm:
        assert before.recommend(user_id=4)[0] == 200
        storm.enter_context(connected(narrow.port, 400, saying=HALF_A_HEAD))
        for _ in range(20):
            with Client(narrow.port) as client:
                assert client.recommend(user_id=4, k=5)[0] == 200
        assert before.recommend(user_id=4)[0] == 200

        began = monotonic_seconds()
        narrow.process.send_signal(signal.SIGTERM)
        assert narrow.process.wait(timeout=20) == 0
        assert monotonic_seconds() - began < 10

    log = (tmp_path / "log").read_text()
    assert len(log) < 10_000
    assert '"event": "connections_limited"' in log
    said = [json.loads(line) for line in log.splitlines()]
    full = [line["times"] for line in said if line["event"] == "connections_full"]
    assert full
    assert len(full) < 20


@pytest.mark.promise("X5")
def test_each_step_of_a_client_has_its_time(follower: Follower, clock: HeldClock) -> None:
    """Nothing said: the connection is closed. Half a head, or one byte after the other: 408. Half
    a head after a whole request: the same.
    """
    limits = Limits(connections=100, head_seconds=0.3, request_seconds=5)
    with serving(follower, clock=clock, limits=limits) as port:
        with connected(port, 1) as (silent,), connected(port, 1, saying=b"GET /") as (slow,):
            began = monotonic_seconds()
            while not select.select([slow], [], [], 0.05)[0]:
                slow.sendall(b"a")
                assert monotonic_seconds() - began < 5
            status, said = refusal(all_of(slow))
            assert (status, set(said)) == (408, {"message", "hint"})
            assert refusal(all_of(silent))[0] == 408
        body = b'{"user_id": 4, "k": 1}'
        with connected(port, 1, saying=ASK % (len(body), body)) as (regular,):
            assert regular.recv(100).startswith(b"HTTP/1.1 200")
            regular.sendall(b"GET /")
            assert b"HTTP/1.1 408" in all_of(regular)


@pytest.mark.promise("X5")
def test_a_client_that_does_not_read_its_answers_is_left(
    follower: Follower, clock: HeldClock
) -> None:
    """Thousands of requests and no answer read: its connection is closed, its place is free."""
    limits = Limits(connections=100, head_seconds=5, request_seconds=0.5)
    with serving(follower, clock=clock, limits=limits) as port:
        with connected(port, 1) as (deaf,), pytest.raises((ConnectionResetError, BrokenPipeError)):
            ask_without_listening(deaf)
        with Client(port) as client:
            assert client.recommend(user_id=4)[0] == 200


def ask_without_listening(deaf: socket.socket) -> None:
    """Until the server hangs up."""
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    deaf.settimeout(0.2)
    began = monotonic_seconds()
    while monotonic_seconds() - began < 30:
        with suppress(TimeoutError):
            deaf.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500)


@pytest.mark.promise("X5")
def test_the_one_that_waits_longest_makes_room(follower: Follower, clock: HeldClock) -> None:
    """Strangers before those that have asked something, the oldest first; who has asked stays."""
    with (
        serving(follower, clock=clock, limits=Limits(connections=4)) as port,
        Client(port) as regular,
    ):
        assert regular.recommend(user_id=4)[0] == 200
        with connected(port, 3, saying=HALF_A_HEAD) as (first, *others):
            assert regular.recommend(user_id=4)[0] == 200
            with Client(port) as newcomer:
                assert newcomer.recommend(user_id=4)[0] == 200
                assert all_of(first) == b""
                assert not select.select(others, [], [], 0)[0]
                assert regular.recommend(user_id=4)[0] == 200


@pytest.mark.promise("X5")
def test_where_everybody_is_asking_a_newcomer_is_told_to_try_again(
    follower: Follower, clock: HeldClock
) -> None:
    """503 in JSON; nobody who is at it is cut off."""
    body = b'{"user_id": 4}'
    head = (ASK % (len(body), b"")).replace(b"Host", b"Expect: 100-continue\r\nHost")
    with serving(follower, clock=clock, limits=Limits(connections=2)) as port:
        with connected(port, 2, saying=head) as asking:
            assert all(one.recv(100).startswith(b"HTTP/1.1 100") for one in asking)
            assert newcomer_is_refused(port)
            for one in asking:
                one.sendall(body)
                assert one.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: not newcomer_is_refused(port), seconds=10)


def newcomer_is_refused(port: int) -> bool:
    with connected(
        port, 1, saying=b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    ) as (one,):
        answer = all_of(one)
    return not answer.startswith(b"HTTP/1.1 200")


@pytest.mark.promise("X5")
@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET /" + b"x" * 2 * MAX_HEAD_BYTES,
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 2 * MAX_HEAD_BYTES,
        b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["TLS", "short", "no host", "length", "header", "path", "head", "chunk"],
)
def test_what_is_no_http_is_told_so_in_json(
    follower: Follower, clock: HeldClock, said: bytes
) -> None:
    """400 with a message and a hint, like every other error."""
    with (
        serving(follower, clock=clock) as port,
        connected(port, 1, saying=said) as (one,),
    ):
        status, answer = refusal(all_of(one))

    assert status == 400
    assert set(answer) == {"message", "hint"}


@pytest.mark.promise("X5")
def test_small_requests_do_not_wait_for_large_ones(follower: Follower, clock: HeldClock) -> None:
    """While forty requests with 10,000 exclusions are at work, a small one is answered at once."""
    body = json.dumps({"user_id": 4, "exclude": list(range(100_000, 110_000))}).encode()
    with (
        serving(follower, clock=clock) as port,
        Client(port) as small,
        connected(port, 40, saying=ASK % (len(body), body)) as large,
    ):
        assert small.recommend(user_id=4, k=1)[0] == 200
        unanswered = len(large) - len(select.select(large, [], [], 0)[0])
        for one in large:
            assert re.match(b"HTTP/1.1 200", one.recv(100))
    assert unanswered > 0


@pytest.mark.promise("X5")
def test_who_sends_a_byte_at_a_time_is_read_seldom_and_answered(
    follower: Follower, clock: HeldClock
) -> None:
    """400 bytes in as many packets are far fewer reads, each of which would cost the others: the
    server waits for several, and so they are not too many pieces either.
    """
    body = b'{"user_id": 4, "k": 1}'.ljust(400)
    with (
        serving(follower, clock=clock) as port,
        connected(port, 1, saying=ASK % (len(body), b"")) as (slow,),
    ):
        for each in body:
            slow.sendall(bytes([each]))
            if select.select([slow], [], [], 0.002)[0]:
                break
        assert slow.recv(100).startswith(b"HTTP/1.1 200")


def test_a_client_that_says_it_has_no_more_to_say_gets_its_answer(
    follower: Follower, clock: HeldClock
) -> None:
    """Half-closed, as some scripts do."""
    body = b'{"user_id": 4, "k": 1}'
    with (
        serving(follower, clock=clock) as port,
        connected(port, 1, saying=ASK % (len(body), body)) as (one,),
    ):
        one.shutdown(socket.SHUT_WR)
        assert all_of(one).startswith(b"HTTP/1.1 200")


class Written:
    """What a transport was told, in its order."""

    def __init__(self) -> None:
        self.calls: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("closed")


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REFUSAL = b'HTTP/1.1 408 Request Timeout\r\n\r\n{"message": ""}'


@pytest.mark.parametrize(
    ("told", "sent"),
    [
        ([HEAD, b"{}", b""], [HEAD + b"{}", b""]),
        ([HEAD, b"", b""], [HEAD, b""]),
        ([CONTINUE, HEAD, b"{}"], [CONTINUE, HEAD + b"{}"]),
        ([HEAD, HEAD, b"{}"], [HEAD + HEAD, b"{}"]),
        ([REFUSAL], [REFUSAL]),
        ([HEAD], [HEAD, "closed"]),
    ],
)
def test_the_head_of_an_answer_goes_with_what_follows(
    told: list[bytes], sent: list[bytes | str]
) -> None:
    """In one piece, and nothing is ever kept back for good."""
    written = Written()
    joined = Joined(written)  # type: ignore[arg-type]
    for data in told:
        joined.write(data)
    if "closed" in sent:
        joined.close()

    assert written.calls == sent

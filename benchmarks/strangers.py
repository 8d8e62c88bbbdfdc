"""Clients that misbehave, each kind as a process of its own, so that what it does takes nothing of
the process that measures.

    python -m benchmarks.strangers KIND PORT

does it without a pause until it is told to end. `nobody` only keeps a processor busy: what the
others are compared with, where a machine has no processor to spare.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).parents[1]
AT_ONCE = 50
"""Connections of those who drip."""

WAITING = 400
"""Half-open connections."""

_POST = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"
_LONG = _POST + b"Content-Length: 900000\r\n\r\n"
_HUGE = _POST + b"Content-Length: 10000000\r\n\r\n"
_HALF = b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nX-Long: "


def small() -> bytes:
    """What others ask for meanwhile."""
    return json.dumps({"user_id": 4, "k": 10}).encode()


def main() -> None:
    """Misbehave."""
    kind, port = sys.argv[1], int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        with suppress(OSError, HTTPException):
            KINDS[kind](port)


def nothing(port: int) -> None:
    """A processor that is busy."""
    del port
    sum(range(100_000))


def asking(**request: object) -> Callable[[int], None]:
    """Such requests, one after the other on one connection."""
    body = json.dumps({"user_id": 4, **request}).encode()

    def ask(port: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            connection.request("POST", "/v1/recommend", body)
            connection.getresponse().read()

    return ask


def sending(head: bytes, rest: bytes) -> Callable[[int], None]:
    """A request whose body goes on in these pieces until the server hangs up."""

    def send(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as one:
            one.sendall(head)
            while True:
                one.sendall(rest)

    return send


def dripping(head: bytes) -> Callable[[int], None]:
    """A byte in a packet on each of many connections in turns; who is hung up on comes again."""

    def drip(port: int) -> None:
        several = [opened(port, head) for _ in range(AT_ONCE)]
        while True:
            gone = select.select(several, [], [], 0)[0]
            for place, one in enumerate(several):
                try:
                    one.sendall(b" ")
                    failed = one in gone
                except OSError:
                    failed = True
                if failed:
                    one.close()
                    several[place] = opened(port, head)

    return drip


def flood(port: int) -> None:
    """Connections that say nothing, opened and closed."""
    while True:
        opened(port, b"").close()


def half_open(port: int) -> None:
    """As many as wait, with half a head; who is hung up on comes again."""
    several = [opened(port, _HALF) for _ in range(WAITING)]
    while True:
        for one in select.select(several, [], [], 1)[0]:
            several.remove(one)
            one.close()
            several.append(opened(port, _HALF))


def opened(port: int, head: bytes) -> socket.socket:
    """A connection that has said so much, each word in a packet of its own."""
    one = socket.create_connection(("127.0.0.1", port), timeout=60)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.sendall(head)
    return one


KINDS: dict[str, Callable[[int], None]] = {
    "nobody": nothing,
    "10,000 exclusions": asking(exclude=list(range(10_000))),
    "10,000 exclusions of a wrong type": asking(exclude=[str(item) for item in range(10_000)]),
    "a feature of 900 kB": asking(features={"region": "x" * 900_000}),
    "bodies in chunks of a byte": sending(_CHUNKED, b"1\r\n \r\n" * 10_000),
    "bodies a byte at a time": dripping(_LONG),
    "heads a byte at a time": dripping(_HALF),
    "bodies of 10 MB": sending(_HUGE, bytes(10_000_000)),
    "10 MB in chunks": sending(_CHUNKED, b"10000\r\n" + bytes(0x10000) + b"\r\n"),
    "a flood of connections": flood,
    "400 half heads": half_open,
}


@contextmanager
def beside(kind: str, port: int) -> Iterator[None]:
    """One who does it meanwhile."""
    process = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "benchmarks.strangers", kind, str(port)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()

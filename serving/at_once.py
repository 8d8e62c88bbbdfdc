"""Requests that have come whole and say nothing unusual, which are answered at once.

What lies between a connection and an answer else (a reader of all that HTTP may be, a task, the
messages and layers of a framework) takes as long as the answer. Heads repeat, so each is read once,
by the reader of all others. What is not taken here goes the long way, which knows all cases and
says what is wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus

import h11
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.parser import Parser

PATH = "/v1/recommend"
MAX_BODY_BYTES = 8_192
"""Larger requests take turns in a thread of their own, so that small ones need not wait for them.
"""

MAX_HEAD_BYTES = 2_048
KEPT_HEADS = 1_024

Headers = list[tuple[bytes, bytes]]
"""Names in small letters."""


@dataclass(frozen=True)
class Head:
    """Of a request whose body is as long as it says, and that has no other wishes."""

    headers: Headers
    body_bytes: int


@dataclass(frozen=True)
class Whole:
    """A request, all of it."""

    headers: Headers
    body: bytes


AtOnce = Callable[[Whole], Response | None]
"""None: not this one."""


@dataclass(frozen=True)
class Application:
    """What a server runs."""

    asgi: ASGIApp
    at_once: AtOnce

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection: the long way."""
        await self.asgi(scope, receive, send)


def whole(data: bytes) -> Whole | None:
    """The request that this is, where it is one that can be answered at once, and nothing else."""
    if not data.startswith(_BEGIN):
        return None
    end = data.find(_END, 0, MAX_HEAD_BYTES)
    if end < 0:
        return None
    begin = end + len(_END)
    head = read_head(data[:begin])
    if head is None or len(data) - begin != head.body_bytes:
        return None
    return Whole(head.headers, data[begin:])


@lru_cache(KEPT_HEADS)
def read_head(data: bytes) -> Head | None:
    """A head as h11 reads it; None where it is none, or says what is not understood here."""
    reader = Parser()
    reader.receive_data(data)
    reader.begin_turn()
    try:
        event = reader.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request) or reader.trailing_data[0]:
        return None
    headers = list(event.headers)
    said = dict(headers)
    length = int(said.get(b"content-length", b"0"))
    is_usual = (
        len(said) == len(headers)  # each once
        and _UNUSUAL.isdisjoint(said)
        and said.get(b"connection", _KEEP).lower() == _KEEP
    )
    return Head(headers, length) if is_usual and 0 < length <= MAX_BODY_BYTES else None


def written(answer: Response, default_headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """An answer as it is sent."""
    lines = [_STATUS[answer.status_code]]
    lines += [b"%s: %s" % each for each in (*default_headers, *answer.raw_headers)]
    return b"\r\n".join(lines) + _END + answer.body


_BEGIN = f"POST {PATH} HTTP/1.1\r\n".encode()
_END = b"\r\n\r\n"
_KEEP = b"keep-alive"
_UNUSUAL = {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"}
_STATUS = {each.value: f"HTTP/1.1 {each} {each.phrase}".encode() for each in HTTPStatus}

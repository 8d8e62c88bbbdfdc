"""Connections: how many there may be, and how long a client may take over each step.

Whoever opens connections and says nothing, sends a byte a second or never reads the answers costs
the others nothing: each step has its time, and where all places are taken, the connection that has
waited longest without a request makes room for a new one. What takes longer to read than to send
is not read.
"""

import asyncio
import json
import re
import resource
from dataclasses import dataclass
from itertools import islice
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.at_once import AtOnce, whole, written
from serving.log import BoundedLog
from serving.parser import MAX_HEAD_BYTES, Parser

HEAD_SECONDS = 10.0
"""From the first byte of a request, or from the beginning of a connection, to the end of the head.
"""

REQUEST_SECONDS = 30.0
"""From the end of the head to the end of the answer, and as long again until a client that reads
slowly has taken what was written for it.
"""

CRUMB_BYTES = 256
"""What comes in less at once, and is not all of a request, is a crumb."""

FREE_CRUMBS = 4
"""Of a request, which any client may send so. From then on it is read ever less often, so that more
comes at once: each read costs as much as to answer half a request.
"""

LONGEST_GATHERING_SECONDS = 0.1

READ_BYTES = 16_384
"""Of one connection, before the others have their turn."""

_FILES_FOR_OTHER_THINGS = 100
"""Open files that a server needs besides its connections: libraries, versions that it loads."""

_FEWEST = 16


@dataclass(frozen=True)
class Limits:
    """Of one server."""

    connections: int
    head_seconds: float = HEAD_SECONDS
    request_seconds: float = REQUEST_SECONDS


def limits_of(max_connections: int, log: BoundedLog) -> Limits:
    """As many connections as asked for, or as the system gives files for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + _FILES_FOR_OTHER_THINGS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return Limits(max_connections)
    lowered = max(soft - _FILES_FOR_OTHER_THINGS, _FEWEST)
    log.warning("connections_limited", asked_for=max_connections, given=lowered, open_files=soft)
    return Limits(lowered)


class Lobby:
    """Who is connected, and who of them waits without a request, the longest first."""

    def __init__(self, limits: Limits, log: BoundedLog) -> None:
        self.limits = limits
        self.log = log
        self._connections: set[Connection] = set()
        self._strangers: dict[Connection, None] = {}
        """Never had a whole request; they go before those that had."""

        self._regulars: dict[Connection, None] = {}

    def enter(self, connection: "Connection") -> None:
        """A new connection; where there is no place, another one goes, or this one."""
        self._connections.add(connection)
        if len(self._connections) <= self.limits.connections:
            return
        self.log.warning("connections_full", limit=self.limits.connections)
        waiting = [*islice(self._strangers, 2), *islice(self._regulars, 1)]
        for longest in waiting:
            if longest is not connection:
                longest.hang_up()
                return
        connection.refuse(503, "the server has as many connections as it takes", hint="try again")

    def waits(self, connection: "Connection") -> None:
        """It has no request at work from now on."""
        (self._regulars if connection.has_asked else self._strangers)[connection] = None

    def asks(self, connection: "Connection") -> None:
        """It has a request at work from now on."""
        self._strangers.pop(connection, None)
        self._regulars.pop(connection, None)

    def leave(self, connection: "Connection") -> None:
        """It is gone."""
        self._connections.discard(connection)
        self.asks(connection)


class Joined:
    """A transport that sends the head of an answer together with what follows: one call of the
    system less, which takes as long as a tenth of an answer.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """asyncio's; a head waits for the body, which comes at once and may be empty."""
        if not self._head and data.endswith(b"\r\n\r\n") and _FINAL.match(data):
            self._head = data
            return
        joined, self._head = self._head + data, b""
        self._transport.write(joined)

    def close(self) -> None:
        """asyncio's, when all has been sent."""
        if self._head:
            self.write(b"")
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """All else is the transport's."""
        return getattr(self._transport, name)


class Connection(H11Protocol):
    """uvicorn's HTTP connection, with a time limit on each step and errors in JSON."""

    conn: Parser

    def __init__(self, *, lobby: Lobby, at_once: AtOnce, **given: Any) -> None:
        super().__init__(**given)
        self.conn = Parser()
        self._at_once = at_once
        self.has_asked = False
        """Whether it ever had a whole head."""

        self._lobby = lobby
        self._is_asking = False
        self._crumbs = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """uvicorn's, then: a place, or none."""
        transport.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's own is 256 KiB
        transport.set_write_buffer_limits(high=0)  # pause as soon as the client has to take more
        super().connection_made(Joined(transport))  # type: ignore[arg-type]  # it has what is used
        self._lobby.waits(self)
        self._within(self._lobby.limits.head_seconds)
        self._lobby.enter(self)

    def data_received(self, data: bytes) -> None:
        """uvicorn's, then: where does the request stand?"""
        if self._answers_at_once(data):
            return
        if self._deadline is None:  # the first byte after an answer
            self._within(self._lobby.limits.head_seconds)
        super().data_received(data)
        self._look()
        self._gather(len(data))

    def _answers_at_once(self, data: bytes) -> bool:
        """Whether this is a whole request that needs nothing of uvicorn, and has its answer."""
        is_free = self.conn.is_between_requests() and not self.flow.write_paused
        asked = whole(data) if is_free else None
        answer = self._at_once(asked) if asked else None
        if answer is None:
            return False
        self.has_asked = True
        self._lobby.asks(self)
        self.transport.write(written(answer, self.server_state.default_headers))
        self.on_response_complete()
        return True

    def handle_events(self) -> None:
        """uvicorn's; what takes longer than a turn goes on when the others had theirs."""
        self.conn.begin_turn()
        super().handle_events()
        if self.conn.is_cut:
            self.transport.pause_reading()
            self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if not self.transport.is_closing():
            self._read_on()
            self.handle_events()
            self._look()

    def on_response_complete(self) -> None:
        """uvicorn's, then: wait for the next request."""
        self._is_asking = False
        self._lobby.waits(self)
        self._within(None)
        super().on_response_complete()  # takes up the next request, where it has come already
        self._look()

    def pause_writing(self) -> None:
        """uvicorn's; the client has so long to take what has been written for it."""
        super().pause_writing()
        self._taking = self.loop.call_later(self._lobby.limits.request_seconds, self._left_lying)

    def resume_writing(self) -> None:
        """uvicorn's; it has taken all."""
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn's, and the place is free."""
        self._within(None)
        self._lobby.leave(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that has said all may still want its answer."""
        if self._is_asking:
            self.cycle.keep_alive = False
        return self._is_asking

    def shutdown(self) -> None:
        """uvicorn's; a connection that stands in an error has nothing to finish."""
        try:
            super().shutdown()
        except h11.LocalProtocolError:
            self.hang_up()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn says it in plain text
        """What cannot be read, or is not."""
        status, message = self.conn.objection
        self.refuse(status, message, hint=_HOW_TO_ASK)

    def refuse(self, status: int, message: str, *, hint: str) -> None:
        """Answer without asking the application, and hang up."""
        body = json.dumps({"message": message, "hint": hint}).encode()
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def hang_up(self) -> None:
        """Without a word, and at once."""
        self._lobby.leave(self)
        self.transport.abort()

    def _gather(self, count: int) -> None:
        """Whoever sends crumbs is not read for a while: twice as long for each more."""
        is_crumb = count < CRUMB_BYTES and self.conn.waits_for_more()
        self._crumbs = self._crumbs + 1 if is_crumb else 0
        more = min(self._crumbs - FREE_CRUMBS, _DOUBLINGS)
        if more > 0:
            self.transport.pause_reading()
            seconds = min(0.001 * 2**more, LONGEST_GATHERING_SECONDS)
            self.loop.call_later(seconds, self._read_on)

    def _read_on(self) -> None:
        if not self.flow.read_paused:  # else uvicorn reads on, when it has room
            self.transport.resume_reading()

    def _look(self) -> None:
        """A head that is complete makes a request; the rest of one that was refused makes none."""
        cycle: Any = self.cycle  # None before the first one, whatever uvicorn's annotation says
        if cycle is None or self._is_asking:
            return
        if not cycle.response_complete:
            self._is_asking = self.has_asked = True
            self._lobby.asks(self)
            self._within(self._lobby.limits.request_seconds)
        elif self._deadline is not None and self.conn.is_between_requests():
            self._within(self.timeout_keep_alive)

    def _within(self, seconds: float | None) -> None:
        """The next step must come in time; None: it may take as long as uvicorn lets it."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._too_late) if seconds else None

    def _too_late(self) -> None:
        self._deadline = None
        self._lobby.log.warning("client_too_slow", during="request" if self._is_asking else "head")
        if self._is_asking or self.transport.is_closing():
            self.hang_up()  # an answer has begun, or the client does not read
        else:
            self.refuse(408, "the head of the request did not come in time", hint="send it at once")

    def _left_lying(self) -> None:
        self._lobby.log.warning("client_too_slow", during="answer")
        self.hang_up()


_DOUBLINGS = 10
_FINAL = re.compile(rb"HTTP/1.1 [2-5]")
"""How the head of an answer begins that is not followed by another one."""

_HOW_TO_ASK = f"HTTP/1.1, with a head of at most {MAX_HEAD_BYTES:,} bytes and a Content-Length"
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}

"""The reader of HTTP: h11's, which leaves unread what costs too much or can mean two things."""

import re
from typing import Any, NoReturn

import h11

MAX_HEAD_BYTES = 16_384
MAX_LINES = 100
"""Of a head, or behind a body in chunks: each takes as long to read as kilobytes of a body."""

PIECES = 256
"""Into so many pieces any body may be cut. One in more has this many bytes a piece, on average."""

PIECES_A_TURN = 32
"""Are read of one connection, before the others have their turn: less than an answer takes."""


class Parser(h11.Connection):
    """Of one connection."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.objection = (400, "this is no valid HTTP request")
        """Status and message for what was raised last."""

        self._pieces = self._bytes = self._left = 0

    def begin_turn(self) -> None:
        """So much is read from here on."""
        self._left = PIECES_A_TURN

    @property
    def is_cut(self) -> bool:
        """Whether the turn ended before all was read that has come."""
        return not self._left

    def next_event(self) -> Any:
        """h11's."""
        if not self._left:
            return h11.NEED_DATA
        self._left -= 1
        if self.their_state is h11.IDLE:
            self._count_lines()
        event = super().next_event()
        if isinstance(event, h11.Data):
            self._count_piece(len(event.data))
        elif isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
            if {b"content-length", b"transfer-encoding"} <= {name for name, _ in event.headers}:
                self._object(400, "Content-Length and Transfer-Encoding say two lengths of a body")
        elif isinstance(event, h11.EndOfMessage) and len(event.headers) > MAX_LINES:
            self._object(431, f"at most {MAX_LINES} lines may follow a body")
        return event

    def waits_for_more(self) -> bool:
        """Whether the client has begun a request, and not sent all of it."""
        return self.their_state is h11.SEND_BODY or (
            self.their_state is h11.IDLE and bool(self.trailing_data[0])
        )

    def is_between_requests(self) -> bool:
        """Whether the client has sent all of a request, and nothing of the next one."""
        return self.their_state is h11.IDLE and not self.trailing_data[0]

    def _count_lines(self) -> None:
        """Of a head that h11 would begin to read now."""
        waiting, _ = self.trailing_data
        if (
            waiting.count(b"\n") > MAX_LINES
            and _END_OF_HEAD.split(waiting, 1)[0].count(b"\n") >= MAX_LINES
        ):
            self._object(431, f"the head of a request has at most {MAX_LINES} lines")

    def _count_piece(self, count: int) -> None:
        self._pieces += 1
        self._bytes += count
        if self._pieces > PIECES and self._bytes < self._pieces * PIECES:
            self._object(400, "the body comes in too many small pieces")

    def _object(self, status: int, message: str) -> NoReturn:
        self.objection = status, message
        raise h11.RemoteProtocolError(message)


_END_OF_HEAD = re.compile(rb"\n\r?\n")

"""One line in the log for a share of the requests: which route, how it ended, how long it took.

No user, no item, nothing that a client has sent: a path that is none of ours is called "other".
"""

import os
import random

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.at_once import AtOnce, Whole
from serving.follower import Follower
from twintide.clock import monotonic_seconds
from twintide.telemetry import get_log

ROUTES = frozenset(
    {
        *("/v1/recommend", "/v1/recommend/batch", "/v1/version", "/livez", "/readyz", "/metrics"),
        *("/openapi.json", "/"),
    }
)


class AccessLog:
    """Before all else, so that what is refused is logged as well."""

    def __init__(self, app: ASGIApp, follower: Follower, *, ratio: float) -> None:
        self._app, self._follower, self._ratio = app, follower, ratio
        self._log = get_log("serving")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http" or not self._is_drawn():
            await self._app(scope, receive, send)
            return
        began, status = monotonic_seconds(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope["path"], status, began)

    def over(self, path: str, at_once: AtOnce, asked: Whole) -> Response | None:
        """What is answered at once."""
        if not self._is_drawn():
            return at_once(asked)
        began = monotonic_seconds()
        answer = at_once(asked)
        if answer is not None:
            self._note(path, answer.status_code, began)
        return answer

    def _is_drawn(self) -> bool:
        return random.random() < self._ratio  # noqa: S311  no secret

    def _note(self, path: str, status: int, began: float) -> None:
        serves = self._follower.standing.retriever
        self._log.info(
            "request_answered",
            route=route_of(path),
            status=status,
            ms=round((monotonic_seconds() - began) * 1000, 3),
            version=serves.name if serves else None,
            worker=os.getpid(),
        )


def route_of(path: str) -> str:
    """What a path is called in the log."""
    if path.startswith("/page/"):
        return "/page"
    return path if path in ROUTES else "other"

"""What a request passes on the long way to its answer."""

import hmac
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.at_once import Headers
from serving.page import access
from serving.refusal import Refusal


class AsGet:
    """HEAD asks for what GET would answer (uvicorn leaves the body out), and a proxy may send the
    whole URL for the path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["method"] == "HEAD" or not scope["path"].startswith("/"):
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            scope = {**scope, "method": method, "path": _AUTHORITY.sub("", scope["path"], count=1)}
        await self._app(scope, receive, send)


class Direct:
    """Takes one path past FastAPI, whose way to it takes as long as half an answer."""

    def __init__(
        self, app: ASGIApp, path: str, answer: Callable[[Request], Awaitable[Response]]
    ) -> None:
        self._app, self._path, self._answer = app, path, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", self._path):
            await self._app(scope, receive, send)
            return
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)


class TokenGuard:
    """Lets nobody in without the bearer token, or as a browser gives it for a page; compared in
    constant time.
    """

    def __init__(self, app: ASGIApp, token: str, open_paths: frozenset[str]) -> None:
        self._app = app
        self._open_paths = open_paths
        self._token = token
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http" or self.lets_in(scope["path"], scope["headers"]):
            await self._app(scope, receive, send)
            return
        challenge, hint = "Bearer", "Authorization: Bearer TOKEN"
        if access.is_page(scope["path"]):
            challenge, hint = access.CHALLENGE, access.HINT
        refusal = Refusal(401, "the bearer token is missing or wrong", hint=hint)
        refusal.answer.headers["WWW-Authenticate"] = challenge
        await refusal.answer(scope, receive, send)

    def lets_in(self, path: str, headers: Headers) -> bool:
        """Whether it is open, or asked for by who knows the token."""
        given = [value for name, value in headers if name == b"authorization"]
        return path in self._open_paths or (
            len(given) == 1
            and (
                hmac.compare_digest(given[0], self._expected)
                or access.has_password(path, given[0], self._token)
            )
        )


_AUTHORITY = re.compile(r"^https?://[^/]*", re.IGNORECASE)

"""The HTTP interface: recommend, and see what is served. HTTP changes nothing.

Every error answers JSON with a message and a hint. With a token, all but the two health checks ask
for it.
"""

import asyncio
import hmac
import json
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.follower import Follower
from serving.metrics import Metrics
from serving.request import RecommendRequest, parse_request
from twintide import __version__
from twintide.clock import Clock, iso
from twintide.errors import Refused, Retryable, TwintideError
from twintide.telemetry import get_log

MAX_BODY_BYTES = 1_000_000
BODY_SECONDS = 10.0
"""How long a client may take to send a request."""

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""Health checks are asked without a token."""

log = get_log("serving")


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.answer = json_answer({"message": message, "hint": hint}, status=status)


def create_app(follower: Follower, *, clock: Clock, token: str | None) -> ASGIApp:
    """The application; the follower is run by whoever runs this."""
    app = FastAPI(title="Twintide", version=__version__, docs_url=None, redoc_url=None)
    metrics = Metrics(follower, clock=clock)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)

    @app.post("/v1/recommend", openapi_extra=_REQUEST_BODY)
    async def recommend(request: Request) -> Response:
        answer = await _recommend(request, follower, metrics)
        metrics.answers.labels(answer.status_code).inc()
        return answer

    @app.get("/v1/version")
    async def version() -> Response:
        try:
            manifest = follower.retriever().version.manifest
        except Retryable as error:
            raise Refusal(503, error.message, hint=error.hint) from error
        newest = manifest.newest_event_at
        return json_answer(
            {
                "version": manifest.name,
                "checkpoint": manifest.checkpoint,
                "kind": manifest.kind,
                "items": manifest.items,
                "newest_event_at": iso(newest) if newest else None,
                "problem": follower.standing.problem,
            }
        )

    @app.get("/livez")
    async def livez() -> Response:
        return json_answer({"alive": True})

    @app.get("/readyz")
    async def readyz() -> Response:
        standing = follower.standing
        ready = standing.retriever is not None
        served = standing.retriever.name if standing.retriever else None
        return json_answer(
            {"ready": ready, "version": served, "problem": standing.problem},
            status=200 if ready else 503,
        )

    @app.get("/metrics")
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app if token is None else TokenGuard(app, token)


class TokenGuard:
    """Lets nobody in without the bearer token; compared in constant time."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
            return
        refusal = Refusal(
            401, "the bearer token is missing or wrong", hint="Authorization: Bearer TOKEN"
        )
        refusal.answer.headers["WWW-Authenticate"] = "Bearer"
        await refusal.answer(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def json_answer(content: dict[str, Any], *, status: int = 200) -> Response:
    """FastAPI's own JSON response walks every value first, which costs more than the search."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status_code=status, media_type="application/json")


async def _recommend(request: Request, follower: Follower, metrics: Metrics) -> Response:
    try:
        parsed = parse_request(await _body(request))
        with metrics.seconds.time():
            answer = follower.retriever().answer(parsed)
        return json_answer(answer.to_dict())
    except Refusal as refusal:
        return refusal.answer
    except Refused as error:
        return Refusal(422, error.message, hint=error.hint).answer
    except Retryable as error:
        return Refusal(503, error.message, hint=error.hint).answer


async def _body(request: Request) -> bytes:
    """The request's body. Raises Refusal where it is too large or comes too slowly."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise Refusal(413, f"a request has at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise Refusal(408, f"the request did not come within {BODY_SECONDS:.0f} s") from None
    except ClientDisconnect:
        raise Refusal(400, "the client went away before it had sent its request") from None
    return bytes(body)


async def _refusal(_: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise refusal
    return refusal.answer


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    hint = "POST /v1/recommend, GET /v1/version /livez /readyz /metrics"
    return Refusal(error.status_code, str(error.detail), hint=hint).answer


async def _unexpected(_: Request, error: Exception) -> Response:
    log.error("request_failed", reason=repr(error))
    message = error.message if isinstance(error, TwintideError) else "the server made a mistake"
    return Refusal(500, message, hint="the server's log has the reason").answer


_REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": RecommendRequest.model_json_schema()}},
    }
}

"""The HTTP interface: recommend, and see what is served. HTTP changes nothing.

Every error answers JSON with a message and a hint. With a token, all but the two health checks
ask for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import call
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from serving.access_log import AccessLog
from serving.answer import Answer, answer_schema, batch_answer, batch_answer_schema
from serving.at_once import MAX_BODY_BYTES as SMALL_BODY_BYTES
from serving.at_once import PATH, Application, Whole
from serving.follower import Follower
from serving.hosts import OwnNames
from serving.layers import AsGet, Direct, TokenGuard
from serving.log import BoundedLog
from serving.metrics import Metrics
from serving.page.pages import Pages
from serving.refusal import Refusal, json_answer
from serving.request import (
    RecommendRequest,
    batch_schema,
    parse_batch,
    parse_request,
    request_schema,
)
from twintide import __version__
from twintide.clock import Clock, iso, monotonic_seconds
from twintide.errors import Refused, Retryable, TwintideError

MAX_BODY_BYTES = 1_000_000
BODY_SECONDS = 10.0
"""How long a client may take to send a request."""

WAITING = 32
"""Requests at most that wait for an index on another machine at once."""

MAX_BODY_BYTES_IN_ALL = 64_000_000
"""Of all requests that are being received or answered."""

Answering = Callable[[bytes], Awaitable[Response]]
"""From the body of a request."""

Given = TypeVar("Given")
Made = TypeVar("Made")

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""Health checks are asked without a token."""


def create_app(
    follower: Follower,
    *,
    clock: Clock,
    token: str | None,
    log: BoundedLog,
    metrics_need_token: bool = True,
    pages: Pages | None = None,
    log_ratio: float = 0.0,
) -> Application:
    """The application; the follower is run by whoever runs this. `log_ratio` of the requests have
    a line in the log.
    """
    app = FastAPI(
        title="Twintide",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # it would send clients to whatever the Host header says
    )
    metrics = Metrics(follower, clock=clock)
    bodies = Bodies(MAX_BODY_BYTES_IN_ALL)
    threads = Threads()
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected(log))

    @app.post(PATH, openapi_extra=_RECOMMEND)
    async def recommend(request: Request) -> Response:
        answer = await _or_mistake(_recommend(request, follower, metrics, bodies, threads), log)
        metrics.answers_of(answer.status_code).inc()
        return answer

    @app.post("/v1/recommend/batch", openapi_extra=_BATCH)
    async def recommend_batch(request: Request) -> Response:
        answered = partial(_batch, follower=follower, metrics=metrics, log=log)
        received = _received(
            request, bodies, lambda body: threads.large.take(request, partial(answered, body))
        )
        answer = await _or_mistake(received, log)
        metrics.batches.labels(answer.status_code).inc()
        return answer

    @app.get("/v1/version")
    async def version() -> Response:
        try:
            manifest = follower.retriever().version.manifest
        except Retryable as error:
            raise Refusal(503, error.message, hint=error.hint) from error
        newest, told = manifest.newest_event_at, manifest.newest_counted_at
        return json_answer(
            {
                "version": manifest.name,
                "checkpoint": manifest.checkpoint,
                "kind": manifest.kind,
                "items": manifest.items,
                "newest_event_at": iso(newest) if newest else None,
                "newest_counted_at": iso(told) if told else None,
                "problem": follower.problem,
            }
        )

    @app.get("/livez")
    async def livez() -> Response:
        return json_answer({"alive": True})

    @app.get("/readyz")
    async def readyz() -> Response:
        standing = follower.standing
        ready = follower.is_ready
        served = standing.retriever.name if standing.retriever else None
        return json_answer(
            {"ready": ready, "version": served, "problem": follower.problem},
            status=200 if ready else 503,
        )

    @app.get("/metrics", response_class=Response, responses={"200": _METRICS})
    async def prometheus() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    if pages is not None:
        pages.add_to(app)
    direct = Direct(app, PATH, recommend)
    open_paths = OPEN_PATHS if metrics_need_token else OPEN_PATHS | {"/metrics"}
    guard = OwnNames(direct) if token is None else TokenGuard(direct, token, open_paths)
    at_once = partial(_at_once, guard=guard, follower=follower, metrics=metrics, log=log)
    if not log_ratio:
        return Application(AsGet(guard), at_once)
    access_log = AccessLog(guard, follower, ratio=log_ratio)
    return Application(AsGet(access_log), partial(access_log.over, PATH, at_once))


class Bodies:
    """The bodies of all large requests at work, which together have a bound. Small ones have room
    in any case.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._free_bytes = limit_bytes

    async def answered(self, request: Request, answer: Answering) -> Response:
        """What `answer` makes of the body of a request, whose bytes count until then. Raises
        Refusal where it is too large, comes too slowly, or too many others are at work.
        """
        _check_length(int(request.headers.get("Content-Length", "0")))
        body, taken, is_whole = bytearray(), 0, False
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not is_whole:
                    part, is_whole = await _part(request)
                    body += part
                    if len(body) > SMALL_BODY_BYTES:
                        _check_length(len(body))
                        self._take(len(body) - taken)
                        taken = len(body)
            return await answer(bytes(body))
        except TimeoutError:
            raise Refusal(
                408,
                f"the request did not come within {BODY_SECONDS:.0f} s",
                hint="send as many bytes as Content-Length says, at once",
            ) from None
        except ClientDisconnect:
            raise Refusal(400, "the client went away before it had sent its request") from None
        finally:
            self._free_bytes += taken

    def _take(self, count: int) -> None:
        if count > self._free_bytes:
            raise Refusal(503, "too many large requests are at work", hint="try again")
        self._free_bytes -= count


async def _part(request: Request) -> tuple[bytes, bool]:
    """What has come of a body, and whether that is all; read without the generators of a framework,
    which take as long as to parse it.
    """
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), not message.get("more_body", False)


class Turns:
    """Threads in which so many requests at once are answered, the others in their turn."""

    def __init__(self, at_once: int, *, name: str) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)

    async def take(self, request: Request, answer: Callable[[], Response]) -> Response:
        """An answer in its turn; none is made for a client that has hung up meanwhile."""
        async with self._free:
            if await request.is_disconnected():
                raise ClientDisconnect
            return await asyncio.get_running_loop().run_in_executor(self._threads, answer)


class Threads:
    """In which requests are answered for which others must not wait."""

    def __init__(self) -> None:
        self.large = Turns(1, name="large-requests")
        self.waiting = Turns(WAITING, name="waiting-requests")
        """For an index on another machine."""


async def _recommend(
    request: Request, follower: Follower, metrics: Metrics, bodies: Bodies, threads: Threads
) -> Response:
    async def answered(body: bytes) -> Response:
        if len(body) > SMALL_BODY_BYTES:
            return await threads.large.take(request, partial(_answer, body, follower, metrics))
        parsed = _parsed(body, metrics)
        answer = partial(_answer_to, parsed, follower, metrics)
        if parsed.takes_long:
            return await threads.large.take(request, answer)
        return await threads.waiting.take(request, answer) if follower.waits else answer()

    return await _received(request, bodies, answered)


async def _received(request: Request, bodies: Bodies, answer: Answering) -> Response:
    """The answer to a body, when it has come; or why there is none."""
    try:
        _check_coding(request.headers.get("Content-Encoding", "identity"))
        return await bodies.answered(request, answer)
    except Refusal as refusal:
        return refusal.answer
    except asyncio.CancelledError:  # uvicorn, when it has waited long enough at the end
        return Refusal(503, "the server ends", hint="try again").answer


def _check_length(count: int) -> None:
    if count > MAX_BODY_BYTES:
        raise Refusal(
            413, f"a request has at most {MAX_BODY_BYTES} bytes", hint="exclude fewer items"
        )


def _check_coding(coding: str) -> None:
    if coding.strip().lower() != "identity":
        raise Refusal(
            415,
            f"the body is encoded as {coding[:80]!r}, which is not read here",
            hint="send JSON as it is, without Content-Encoding",
        )


def _answer(body: bytes, follower: Follower, metrics: Metrics) -> Response:
    """From the bytes of a request to those of its answer. Raises Refusal."""
    return _answer_to(_parsed(body, metrics), follower, metrics)


def _at_once(
    asked: Whole,
    *,
    guard: OwnNames | TokenGuard,
    follower: Follower,
    metrics: Metrics,
    log: BoundedLog,
) -> Response | None:
    """The answer to a small request; None where it is not let in, or others would wait for it."""
    if follower.waits or not guard.lets_in(PATH, asked.headers):
        return None
    began = monotonic_seconds()
    try:
        parsed = _understood(asked.body)
        if parsed.takes_long:
            return None  # and is parsed once more, which is what counts
        metrics.took("parse", began)
        answer = _answer_to(parsed, follower, metrics)
    except Refusal as refusal:
        answer = refusal.answer
    except Exception as error:  # noqa: BLE001  what nobody expected
        answer = _failed(_mistake(error, log))
    metrics.answers_of(answer.status_code).inc()
    return answer


def _parsed(body: bytes, metrics: Metrics) -> RecommendRequest:
    return metrics.timed("parse", _understood, body)


def _understood(body: bytes) -> RecommendRequest:
    try:
        return parse_request(body)
    except Refused as error:
        raise Refusal(422, error.message, hint=error.hint) from None


def _answer_to(parsed: RecommendRequest, follower: Follower, metrics: Metrics) -> Response:
    found = partial(_found, follower=follower, metrics=metrics)
    try:
        with metrics.seconds.time():
            answer = follower.watch.over(found, parsed)
        body = metrics.timed("write", Answer.to_json, answer)
    except Refused as error:
        return Refusal(422, error.message, hint=error.hint).answer
    except Retryable as error:
        return Refusal(503, error.message, hint=error.hint).answer
    _count(parsed, answer, metrics)
    return Response(body, media_type="application/json")


def _found(parsed: RecommendRequest, follower: Follower, metrics: Metrics) -> Answer:
    answering = follower.answering()
    search = metrics.timed("encode", answering.prepared, parsed)
    return metrics.timed("search", call, search)


def _count(parsed: RecommendRequest, answer: Answer, metrics: Metrics) -> None:
    """Whom an answer was for, alone or in a batch, and what it was made of."""
    metrics.users_of(_user(parsed, answer)).inc()
    if answer.answered_from == "popularity":
        metrics.popular.inc()


def _user(parsed: RecommendRequest, answer: Answer) -> str:
    """As metrics count them."""
    if parsed.user_id is None:
        return "anonymous"
    return "known" if answer.known_user else "unknown"


def _batch(body: bytes, follower: Follower, metrics: Metrics, log: BoundedLog) -> Response:
    """Each request of a batch answered by one version as it would be alone, or refused in its
    place; where the index is away, none of them.
    """
    try:
        bodies, retriever, watch = parse_batch(body), follower.answering(), follower.watch
        requests = [_in_its_place(parse_request, each, log) for each in bodies]
        retriever.check_together([each for each in requests if isinstance(each, RecommendRequest)])
        answer = partial(watch.over, retriever.answer)
        answers = [
            each if isinstance(each, TwintideError) else _in_its_place(answer, each, log)
            for each in requests
        ]
    except Refused as error:
        return Refusal(422, error.message, hint=error.hint).answer
    except Retryable as error:
        return Refusal(503, error.message, hint=error.hint).answer
    for request, made in zip(requests, answers, strict=True):
        if isinstance(request, RecommendRequest) and isinstance(made, Answer):
            _count(request, made, metrics)
    return Response(batch_answer(answers), media_type="application/json")


def _in_its_place(
    make: Callable[[Given], Made], given: Given, log: BoundedLog
) -> Made | TwintideError:
    """What is made of one request of a batch, or the error that stands there. Raises Retryable,
    which is so for all of them.
    """
    try:
        return make(given)
    except Refused as error:
        return error
    except Retryable:
        raise
    except Exception as error:  # noqa: BLE001  the others have their answers
        return _mistake(error, log)


async def _or_mistake(answer: Awaitable[Response], log: BoundedLog) -> Response:
    """The answer, or the 500 that is counted as any other status."""
    try:
        return await answer
    except Exception as error:  # noqa: BLE001  what nobody expected
        return _failed(_mistake(error, log))


async def _refusal(_: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise refusal
    return refusal.answer


async def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    hint = (
        "POST /v1/recommend /v1/recommend/batch, GET /v1/version /livez /readyz /metrics, and / "
        "for a browser"
    )
    refusal = Refusal(error.status_code, str(error.detail), hint=hint)
    refusal.answer.headers.update(error.headers or {})  # Allow: which methods there are
    return refusal.answer


def _unexpected(log: BoundedLog) -> Callable[[Request, Exception], Any]:
    async def handle(_: Request, error: Exception) -> Response:
        return _failed(_mistake(error, log))

    return handle


def _mistake(error: Exception, log: BoundedLog) -> TwintideError:
    """What a client is told of what nobody expected; the log has the rest."""
    log.error("request_failed", reason=repr(error))
    message = error.message if isinstance(error, TwintideError) else "the server made a mistake"
    return TwintideError(message, hint="the server's log has the reason")


def _failed(mistake: TwintideError) -> Response:
    return Refusal(500, mistake.message, hint=mistake.hint).answer


_ERROR = {
    "description": "What is wrong, and what to do.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["message", "hint"],
                "properties": {"message": {"type": "string"}, "hint": {"type": "string"}},
            }
        }
    },
}


def _described(
    asked: dict[str, Any], answered: dict[str, Any], description: str, *, example: dict[str, Any]
) -> dict[str, Any]:
    """A path of the OpenAPI document."""
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": asked, "example": example}},
        },
        "responses": {
            "200": {
                "description": description,
                "content": {"application/json": {"schema": answered}},
            },
            **_ERRORS,
        },
    }


_ERRORS: dict[str, Any] = {
    status: _ERROR | {"description": what}
    for status, what in {
        "400": "The client went away, it is no HTTP, or the body comes in small pieces.",
        "401": "The bearer token is missing or wrong.",
        "408": "The request came too slowly.",
        "413": "The request is too large.",
        "415": "The body is compressed.",
        "421": "Without a token: the server is called by a name that is not its own.",
        "422": "The request does not fit: the message names the key.",
        "431": "The head of the request is too large.",
        "500": "The server made a mistake; its log has the reason.",
        "503": "No version is live yet, or the server is full or ends: try again.",
    }.items()
}
_METRICS = {
    "description": "For Prometheus.",
    "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}},
}
_RECOMMEND = _described(
    request_schema(),
    answer_schema(),
    "The items, best first: k of them, or all that are left.",
    example={"user_id": 7, "k": 3, "exclude": [12]},
)
_BATCH = _described(
    batch_schema(),
    batch_answer_schema(),
    "The answer to each request, or why it was refused, in their order.",
    example={"requests": [{"user_id": 7, "k": 3}, {"user_id": None}]},
)

"""What came of one attempt: an answer, another attempt, or an error that says who must act.

TwintideError
├── Unavailable (Retryable)   nobody answered in time, or the server has no room or no version yet
├── Rejected (Refused)        the request does not fit: `status` is 4xx
└── Failed                    the server made a mistake, or something else answered in its place

To recommend changes nothing on the server, so any attempt may be made again.
"""

import random
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from twintide.client.answers import Question
from twintide.errors import Refused, Retryable, TwintideError

GATEWAY_TIMEOUT = 504
PASSING = frozenset({502, 503, GATEWAY_TIMEOUT})
"""Statuses that pass by themselves: no room, no version yet, a proxy that met nobody."""

SPREAD = (0.5, 1.5)
"""Times a wait, so that clients that failed together do not come back together."""

NOBODY_ANSWERED = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)

UNASKABLE, MISTAKEN = 400, 500
"""From which status on the request is at fault, and from which the server."""

UNPROCESSABLE = 422
"""What a request that does not fit is answered with when it comes alone."""

NO_ANSWER = (AttributeError, LookupError, TypeError, ValueError)
"""What reading JSON of another shape raises."""

Outcome = httpx.Response | httpx.RequestError
Read = TypeVar("Read")


class Unavailable(Retryable):
    """Nobody answered, however often it was tried; later somebody may."""


class Rejected(Refused):
    """The server refused the request; asking the same again cannot help."""

    def __init__(self, message: str, *, hint: str, status: int) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Failed(TwintideError):
    """An answer that is none."""


def waits(retries: int, *, first_wait_seconds: float) -> tuple[float, ...]:
    """Seconds to wait before each further attempt."""
    return tuple(first_wait_seconds * 2**number for number in range(retries))


def spread(wait_seconds: float) -> float:
    """About so long."""
    return wait_seconds * random.uniform(*SPREAD)  # noqa: S311  no secret


def too_long(question: httpx.Request, timeout_seconds: float) -> httpx.ReadTimeout:
    """What came of an attempt whose time is over."""
    return httpx.ReadTimeout(f"no whole answer within {timeout_seconds} s", request=question)


def is_worth_another(outcome: Outcome, question: Question) -> bool:
    """Whether to ask again. The server may still be at work on what takes long: asked again, it
    would have it twice.
    """
    return may_pass(outcome) and not (question.takes_long and _is_timeout(outcome))


def _is_timeout(outcome: Outcome) -> bool:
    """Whether we, or a proxy, did not wait until the answer was there."""
    if isinstance(outcome, httpx.Response):
        return outcome.status_code == GATEWAY_TIMEOUT
    return isinstance(outcome, httpx.ReadTimeout)


def may_pass(outcome: Outcome) -> bool:
    """Whether another attempt may fare better."""
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in PASSING
    return isinstance(outcome, NOBODY_ANSWERED)


def read(outcome: Outcome, answer: Callable[[Any], Read]) -> Read:
    """An answer, made of its JSON. Raises Unavailable, Rejected or Failed."""
    said = _said(outcome)
    try:
        return answer(said)
    except NO_ANSWER as error:
        where = _where(outcome)
        raise Failed(
            f"{where} answered 200 with what is no answer: {error!r}", hint=_WHO
        ) from error


_WHO = "is it the address of a Twintide server?"


def _where(outcome: Outcome) -> httpx.URL:
    """Who was asked for what, without the password that a proxy may ask for."""
    return outcome.request.url.copy_with(userinfo=b"")


def _said(outcome: Outcome) -> dict[str, Any]:
    if not isinstance(outcome, httpx.Response):
        raise _unanswered(outcome)
    said = _json_of(outcome)
    if outcome.is_success and said is not None:
        return said
    status, where = outcome.status_code, _where(outcome)
    message = (said or {}).get("message") or f"{where} answered {status} without a word of Twintide"
    hint = (said or {}).get("hint") or _WHO
    raise _refusal(status, message, hint)


def in_place_of_an_answer(said: dict[str, Any]) -> TwintideError:
    """What a batch has there, as the request would raise it alone."""
    status = said.get("status", UNPROCESSABLE)  # an older server does not say it
    return _refusal(status, said["message"], said["hint"])


def _refusal(status: int, message: str, hint: str) -> TwintideError:
    if status in PASSING:
        return Unavailable(message, hint=hint)
    if UNASKABLE <= status < MISTAKEN:
        return Rejected(message, hint=hint, status=status)
    return Failed(message, hint=hint)


def _unanswered(error: httpx.RequestError) -> TwintideError:
    where, why = _where(error), str(error) or type(error).__name__
    if may_pass(error):
        hint = "does the server run, and is it reached from here? /livez answers without a token"
        return Unavailable(f"{where} did not answer: {why}", hint=hint)
    if isinstance(error, httpx.DecodingError):
        return Failed(f"{where} answered what cannot be read: {why}", hint=_WHO)
    return Failed(f"{where} cannot be asked: {why}", hint="such as http://127.0.0.1:8080")


def _json_of(response: httpx.Response) -> dict[str, Any] | None:
    try:
        said = response.json()
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None

"""The two clients: the same words, one that waits and one for asyncio.

An attempt takes at most `timeout_seconds`, and `retries` more follow where nobody answered or the
server was busy, after waits that double. What takes long is not asked again after a time-out.
Redirections are not followed: they could carry the token elsewhere.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, Unpack

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "twintide.client asks by httpx, which is not installed: pip install 'twintide[client]'"
    ) from error

from twintide.client.answers import (
    VERSION,
    Answer,
    Asked,
    AskedOfMany,
    Id,
    Question,
    Served,
    batch_of,
    request_of,
)
from twintide.client.deadline import Deadline
from twintide.client.outcome import (
    Outcome,
    Read,
    in_place_of_an_answer,
    is_worth_another,
    read,
    spread,
    too_long,
    waits,
)
from twintide.errors import TwintideError

TIMEOUT_SECONDS = 2.0
RETRIES = 2
FIRST_WAIT_SECONDS = 0.05


class Client:
    """A server, asked by whoever waits for the answer. Threads may share it."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._waits = waits(retries, first_wait_seconds=first_wait_seconds)
        self._timeout_seconds = timeout_seconds
        self._http = httpx.Client(
            base_url=url, headers=_headers(token), timeout=timeout_seconds, transport=transport
        )
        self._deadline = Deadline()
        if transport is None:
            self._deadline.bounds(self._http)

    def recommend(self, user_id: Id | None, **said: Unpack[Asked]) -> Answer:
        """The best items for a user, None for an anonymous one; `Asked` says what may be added.

        Raises Unavailable, Rejected or Failed.
        """
        return self._ask(request_of(user_id, said), Answer.read)

    def recommend_batch(self, requests: Sequence[AskedOfMany]) -> list[Answer | TwintideError]:
        """An answer to each request, or the error that it would have raised alone, in their order.

        Raises Unavailable, Rejected or Failed where that is so of the batch.
        """
        return self._ask(batch_of(requests), partial(_answers, count=len(requests)))

    def version(self) -> Served:
        """What is served. Raises Unavailable, Rejected or Failed."""
        return self._ask(VERSION, Served.read)

    def close(self) -> None:
        """Give its connections back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: Question, answer: Callable[[Any], Read]) -> Read:
        for wait_seconds in self._waits:
            outcome = self._attempt(question)
            if not is_worth_another(outcome, question):
                return read(outcome, answer)
            time.sleep(spread(wait_seconds))
        return read(self._attempt(question), answer)

    def _attempt(self, question: Question) -> Outcome:
        asked = self._http.build_request(question.method, question.path, content=question.body)
        try:
            with self._deadline.within(self._timeout_seconds):
                return self._http.send(asked)
        except httpx.RequestError as error:
            return error


class AsyncClient:
    """A server, asked by a program that does other things meanwhile."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries: int = RETRIES,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._waits = waits(retries, first_wait_seconds=first_wait_seconds)
        self._timeout_seconds = timeout_seconds
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(token), timeout=timeout_seconds, transport=transport
        )

    async def recommend(self, user_id: Id | None, **said: Unpack[Asked]) -> Answer:
        """As `Client.recommend`."""
        return await self._ask(request_of(user_id, said), Answer.read)

    async def recommend_batch(
        self, requests: Sequence[AskedOfMany]
    ) -> list[Answer | TwintideError]:
        """As `Client.recommend_batch`."""
        return await self._ask(batch_of(requests), partial(_answers, count=len(requests)))

    async def version(self) -> Served:
        """As `Client.version`."""
        return await self._ask(VERSION, Served.read)

    async def close(self) -> None:
        """Give its connections back."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, question: Question, answer: Callable[[Any], Read]) -> Read:
        for wait_seconds in self._waits:
            outcome = await self._attempt(question)
            if not is_worth_another(outcome, question):
                return read(outcome, answer)
            await asyncio.sleep(spread(wait_seconds))
        return read(await self._attempt(question), answer)

    async def _attempt(self, question: Question) -> Outcome:
        asked = self._http.build_request(question.method, question.path, content=question.body)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._http.send(asked)
        except httpx.RequestError as error:
            return error
        except TimeoutError:
            return too_long(asked, self._timeout_seconds)


def _answers(said: Mapping[str, Any], *, count: int) -> list[Answer | TwintideError]:
    found = [
        in_place_of_an_answer(each["error"]) if "error" in each else Answer.read(each)
        for each in said["answers"]
    ]
    if len(found) != count:
        raise ValueError(f"{len(found)} answers to {count} requests")
    return found


def _headers(token: str | None) -> dict[str, str]:
    if token and not (token.isascii() and token.isprintable()):
        raise ValueError("the token holds what no header can: it is printable ASCII")
    return {"Authorization": f"Bearer {token}"} if token else {}

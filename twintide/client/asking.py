"""The two clients: the same words, one that waits and one for asyncio.

An attempt takes at most `timeout_seconds`, and `retries` more follow where nobody answered or the
server was busy, after waits that double. Redirections are not followed: they could carry the token
elsewhere.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self, Unpack

try:
    import httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "twintide.client asks by httpx, which is not installed: pip install 'twintide[client]'"
    ) from error

from twintide.client.answers import (
    Answer,
    Asked,
    AskedOfMany,
    Id,
    Served,
    batch_body,
    request_body,
)
from twintide.client.outcome import Outcome, Rejected, may_pass, read, refused_in_batch, waits

TIMEOUT_SECONDS = 2.0
RETRIES = 2
FIRST_WAIT_SECONDS = 0.05
BATCH = "/v1/recommend/batch"


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
        self._http = httpx.Client(
            base_url=url, headers=_headers(token), timeout=timeout_seconds, transport=transport
        )

    def recommend(self, user_id: Id | None, **said: Unpack[Asked]) -> Answer:
        """The best items for a user, None for an anonymous one; `Asked` says what may be added.

        Raises Unavailable, Rejected or Failed.
        """
        return Answer.read(self._ask("POST", "/v1/recommend", request_body(user_id, said)))

    def recommend_batch(self, requests: Sequence[AskedOfMany]) -> list[Answer | Rejected]:
        """An answer to each request, or why it was refused, in their order.

        Raises Unavailable, Rejected or Failed where that is so of the batch.
        """
        return _answers(self._ask("POST", BATCH, batch_body(requests)))

    def version(self) -> Served:
        """What is served. Raises Unavailable, Rejected or Failed."""
        return Served.read(self._ask("GET", "/v1/version"))

    def close(self) -> None:
        """Give its connections back."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        for wait_seconds in self._waits:
            outcome = self._attempt(method, path, body)
            if not may_pass(outcome):
                return read(outcome)
            time.sleep(wait_seconds)
        return read(self._attempt(method, path, body))

    def _attempt(self, method: str, path: str, body: bytes | None) -> Outcome:
        try:
            return self._http.request(method, path, content=body)
        except httpx.TransportError as error:
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
        self._http = httpx.AsyncClient(
            base_url=url, headers=_headers(token), timeout=timeout_seconds, transport=transport
        )

    async def recommend(self, user_id: Id | None, **said: Unpack[Asked]) -> Answer:
        """As `Client.recommend`."""
        return Answer.read(await self._ask("POST", "/v1/recommend", request_body(user_id, said)))

    async def recommend_batch(self, requests: Sequence[AskedOfMany]) -> list[Answer | Rejected]:
        """As `Client.recommend_batch`."""
        return _answers(await self._ask("POST", BATCH, batch_body(requests)))

    async def version(self) -> Served:
        """As `Client.version`."""
        return Served.read(await self._ask("GET", "/v1/version"))

    async def close(self) -> None:
        """Give its connections back."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        for wait_seconds in self._waits:
            outcome = await self._attempt(method, path, body)
            if not may_pass(outcome):
                return read(outcome)
            await asyncio.sleep(wait_seconds)
        return read(await self._attempt(method, path, body))

    async def _attempt(self, method: str, path: str, body: bytes | None) -> Outcome:
        try:
            return await self._http.request(method, path, content=body)
        except httpx.TransportError as error:
            return error


def _answers(said: Mapping[str, Any]) -> list[Answer | Rejected]:
    return [
        refused_in_batch(each["error"]) if "error" in each else Answer.read(each)
        for each in said["answers"]
    ]


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}

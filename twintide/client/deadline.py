"""The end of an attempt, beyond which nothing waits for the network.

httpx limits each wait by itself, and a head that comes a byte at a time is as many waits. So what
it reads and writes through is told how much time is left.
"""

import math
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from twintide.clock import monotonic_seconds


class Deadline(threading.local):
    """Of the attempt that this thread is at."""

    _until = math.inf

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Nothing waits longer than that in here."""
        self._until = monotonic_seconds() + seconds
        try:
            yield
        finally:
            self._until = math.inf

    def left(self, timeout_seconds: float | None, late: type[Exception]) -> float | None:
        """How long one wait may take. Raises `late` where the time is over."""
        left = self._until - monotonic_seconds()
        if left <= 0:
            raise late("the time of the whole attempt is over")
        if timeout_seconds is None:
            return None if math.isinf(left) else left
        return min(timeout_seconds, left)

    def bounds(self, http: httpx.Client) -> None:
        """Each wait of this client, through whatever proxies, from now on."""
        transports: Iterable[Any] = (http._transport, *http._mounts.values())  # noqa: SLF001
        for each in filter(None, transports):
            # httpx lets nobody say what its pools read through; httpcore, which has them, does.
            pool: Any = each._pool  # noqa: SLF001
            pool._network_backend = _Network(pool._network_backend, self)  # noqa: SLF001


class _Network(httpcore.NetworkBackend):
    def __init__(self, network: httpcore.NetworkBackend, deadline: Deadline) -> None:
        self._network, self._deadline = network, deadline

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *given: Any, **more: Any
    ) -> httpcore.NetworkStream:
        """As httpcore has it."""
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._network.connect_tcp(host, port, left, *given, **more), self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """As httpcore has it."""
        return self._stream.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As httpcore has it."""
        self._stream.write(buffer, self._deadline.left(timeout, httpcore.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """As httpcore has it."""
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def close(self) -> None:
        """As httpcore has it."""
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        """As httpcore has it."""
        return self._stream.get_extra_info(info)

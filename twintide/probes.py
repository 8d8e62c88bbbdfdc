"""How a daemon answers those who watch it: /metrics for Prometheus, /livez and /readyz for whoever
restarts it.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from prometheus_client import CollectorRegistry, generate_latest

from twintide.errors import Refused

_ASKING_SECONDS = 5.0


class Watched(Protocol):
    """What a daemon shows of itself."""

    registry: CollectorRegistry

    @property
    def standing(self) -> str:
        """What /readyz says."""

    @property
    def is_ready(self) -> bool:
        """Whether it does its work."""

    @property
    def is_alive(self) -> bool:
        """Whether it does anything; where it does not, only a restart helps."""


@contextmanager
def served(watched: Watched, port: int | None, *, host: str = "127.0.0.1") -> Iterator[int | None]:
    """Answer /metrics, /livez and /readyz while the block runs; gives the port.

    Port 0 takes any free one; without a port nothing is served. Beyond loopback nothing is asked
    of who reads: what is there are counts, and nothing can be changed. Raises Refused where the
    address cannot be had.
    """
    if port is None:
        yield None
        return
    server = _open(host, port, _handler(watched))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    """One thread for each question; none outlives the program."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who asked has hung up."""


def _open(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        kind = type("_Server", (_Server,), {"address_family": family})
        server: _Server = kind(address[:2], handler)
    except (OSError, OverflowError, UnicodeError) as error:
        raise Refused(
            f"metrics cannot be answered at {host}, port {port}: "
            f"{getattr(error, 'strerror', None) or error}",
            hint="--metrics-port names another port (0: any that is free), --metrics-host an "
            "address of this machine",
        ) from error
    return server


def _handler(watched: Watched) -> type[BaseHTTPRequestHandler]:
    answers: dict[str, Callable[[], tuple[int, bytes]]] = {
        "/metrics": lambda: (200, generate_latest(watched.registry)),
        "/livez": lambda: (200, b"alive\n") if watched.is_alive else (503, b"stuck\n"),
        "/readyz": lambda: (200 if watched.is_ready else 503, f"{watched.standing}\n".encode()),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = _ASKING_SECONDS
        """Who connects and says nothing must not keep a thread for ever."""

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            status, body = answers.get(path, lambda: (404, b"not here\n"))()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: probes come every second."""

    return Handler

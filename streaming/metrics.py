"""What ingest shows of itself: Prometheus metrics, and whether it lives and is ready."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from twintide.clock import monotonic_seconds
from twintide.errors import Refused
from twintide.shards import ShardFooter

_STUCK_SECONDS = 60.0
_ASKING_SECONDS = 5.0


class IngestMetrics:
    """Counters of one run, and the two questions that a supervisor asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rows = self._counter("rows", "Events committed in shards.")
        self._rejected = self._counter("rejected", "Messages set aside in quarantine files.")
        self._filtered = self._counter("filtered", "Messages without a value.")
        self._clock_ahead = self._counter(
            "clock_ahead", "Messages whose broker time was later than our clock."
        )
        self._clock_nonsense = self._counter(
            "clock_nonsense", "Messages whose broker time was missing or before the year 2000."
        )
        self._shards = self._counter("shards", "Shards committed.")
        self._lost_races = self._counter("lost_races", "Shards that a rival committed first.")
        self._lag = self._gauge("lag", "Messages behind the end of the partition's log.")
        self._lag_seconds = self._gauge("lag_seconds", "Age of what is read, by broker time.")
        self._in_trouble = self._gauge(
            "in_trouble", "1 where the partition cannot be read at the moment; the log says why."
        )
        self._turned_at = monotonic_seconds()
        self.standing = "not ready: starts"
        """What /readyz says: `ready`, `standby`, or `not ready` and why."""

    def turned(self) -> None:
        """The main loop has come round once more."""
        self._turned_at = monotonic_seconds()

    @property
    def is_ready(self) -> bool:
        """Whether a broker answers and every partition that is ours is read; a member of a group
        that has no partition to give it stands by, which is all that it can do.
        """
        return self.standing in {"ready", "standby"}

    @property
    def is_alive(self) -> bool:
        """Whether the main loop has come round of late."""
        return monotonic_seconds() - self._turned_at < _STUCK_SECONDS

    def committed(self, footer: ShardFooter) -> None:
        """One shard more; a backlog of small ones is no standstill."""
        self.turned()
        partition = str(footer.partition)
        self._shards.labels(partition).inc()
        self._rows.labels(partition).inc(footer.rows)
        self._rejected.labels(partition).inc(footer.rejected)
        self._filtered.labels(partition).inc(footer.filtered)
        self._clock_ahead.labels(partition).inc(footer.clock_ahead)
        self._clock_nonsense.labels(partition).inc(footer.clock_nonsense)

    def lost_race(self, partition: int) -> None:
        """A rival was first."""
        self._lost_races.labels(str(partition)).inc()

    def lagged(self, partition: int, messages: int, seconds: float) -> None:
        """How far behind a partition is."""
        self._lag.labels(str(partition)).set(messages)
        self._lag_seconds.labels(str(partition)).set(seconds)

    def troubled(self, partition: int, *, is_in_trouble: bool) -> None:
        """Whether a partition cannot be read."""
        self._in_trouble.labels(str(partition)).set(int(is_in_trouble))

    def _counter(self, name: str, help_text: str) -> Counter:
        full_name = f"twintide_ingest_{name}"
        return Counter(full_name, help_text, ["partition"], registry=self.registry)

    def _gauge(self, name: str, help_text: str) -> Gauge:
        full_name = f"twintide_ingest_{name}"
        return Gauge(full_name, help_text, ["partition"], registry=self.registry)


@contextmanager
def served(
    metrics: IngestMetrics, port: int | None, *, host: str = "127.0.0.1"
) -> Iterator[int | None]:
    """Answer /metrics, /livez and /readyz while the block runs; gives the port.

    Port 0 takes any free one; without a port nothing is served. Beyond loopback nothing is asked
    of who reads: what is there are counts by partition, and nothing can be changed. Raises Refused
    where the address cannot be had.
    """
    if port is None:
        yield None
        return
    server = _open(host, port, _handler(metrics))
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


def _handler(metrics: IngestMetrics) -> type[BaseHTTPRequestHandler]:
    answers: dict[str, Callable[[], tuple[int, bytes]]] = {
        "/metrics": lambda: (200, generate_latest(metrics.registry)),
        "/livez": lambda: (200, b"alive\n") if metrics.is_alive else (503, b"stuck\n"),
        "/readyz": lambda: (200 if metrics.is_ready else 503, f"{metrics.standing}\n".encode()),
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

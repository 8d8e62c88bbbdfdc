"""How many requests a second a server answers, beside an endpoint of the same server that does
nothing, and how long they take at half of that.

    python -m benchmarks.http [--items 200000] [--rounds 5] [--seconds 3] [--connections 8]

One server process with /v1/recommend and with a bare FastAPI endpoint that returns a constant list
of 100 items; one process that asks. Quickstart-sized towers, k = 100. Both take turns in a round:
first as many as they can on all connections, then evenly spaced at half of that rate. Printed: the
median over the rounds, lowest and highest, and p50 and p99 at half load from when each was due.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.recommend import PORT, ROOT, K, configuration
from publisher.publish import publish
from serving.app import create_app
from serving.at_once import Application
from serving.connections import Limits
from serving.follower import Follower
from serving.log import BoundedLog
from serving.server import HttpServer, listen, settle
from tests.publisher import checkpoint_fixture as made
from twintide.clock import SystemClock, monotonic_seconds
from twintide.config import load
from twintide.telemetry import configure_logging

PATHS = {"recommend": "/v1/recommend", "bare FastAPI": "/bare"}


def main() -> None:
    """Serve, or measure a server."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, default=200_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--connections", type=int, default=8)
    arguments.add_argument("--serve", type=Path)
    chosen = arguments.parse_args()
    configure_logging(level=40)
    if chosen.serve:
        serve(chosen.serve)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), chosen)


def serve(config: Path) -> None:
    """Both endpoints in one server, as `twintide serve` runs it."""
    deployment, clock, log = load(config), SystemClock(), BoundedLog()
    settle()
    follower = Follower(deployment.versions_dir, clock=clock, max_k=1000, poll_seconds=0.2)
    app = create_app(follower, clock=clock, token=None, log=log)
    threading.Thread(target=follower.run, daemon=True).start()
    both = Application(Both(app, bare()), app.at_once)
    server = HttpServer(both, Limits(1000), log)
    server.run(sockets=[listen(deployment.serving)])


def bare() -> ASGIApp:
    """An endpoint as FastAPI's tutorial has it."""
    app = FastAPI()
    items = [{"item_id": item, "score": 1.0 / (item + 1)} for item in range(K)]

    @app.post("/bare")
    async def answer() -> list[dict[str, Any]]:
        return items

    return app


class Both:
    """The one application for its path, the other for all else."""

    def __init__(self, app: ASGIApp, bare: ASGIApp) -> None:
        self._app, self._bare = app, bare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        await (self._bare if scope["path"] == "/bare" else self._app)(scope, receive, send)


def measure(folder: Path, chosen: argparse.Namespace) -> None:
    """Take turns, print."""
    config = folder / "twintide.yaml"
    config.write_text(json.dumps(configuration(folder / "data")))
    deployment, catalogue = load(config), made.item_range(0, chosen.items)
    model = made.model_of(deployment, catalogue)
    made.add_checkpoint(deployment, 1, items=catalogue, model=model)
    publish(deployment, clock=SystemClock(), judge=False)
    process = subprocess.Popen(  # noqa: S603  our own server
        [sys.executable, "-m", "benchmarks.http", "--serve", str(config)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        until_ready(process)
        rounds = [asyncio.run(a_round(chosen, process.pid)) for _ in range(chosen.rounds + 1)][1:]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    print(f"{chosen.items:,} items, {chosen.connections} connections, k = {K}")
    columns = f"{'requests/s':>12}{'spread':>16}{'cpu ms':>9}{'p50 ms':>9}{'p99 ms':>9}"
    print(f"{'':14}{columns}{'p99/p50':>9}")
    for name in PATHS:
        rates = [each[name].rate for each in rounds]
        cpu_ms = statistics.median(each[name].cpu_ms for each in rounds)
        p50, p99 = (
            statistics.median(float(np.percentile(each[name].times, q)) for each in rounds)
            for q in (50, 99)
        )
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        print(
            f"{name:14}{statistics.median(rates):>12,.0f}{spread:>16}{cpu_ms:>9.2f}{p50:>9.2f}{p99:>9.2f}"
            f"{p99 / p50:>9.1f}"
        )
    both = [(each["recommend"], each["bare FastAPI"]) for each in rounds]
    of_rate = statistics.median(one.rate / bare.rate for one, bare in both)
    of_cpu = statistics.median(bare.cpu_ms / one.cpu_ms for one, bare in both)
    print(f"share of the bare endpoint's rate: {of_rate:.2f}, by processor time {of_cpu:.2f}")


def until_ready(process: "subprocess.Popen[bytes]") -> None:
    """Wait for the first version."""
    while process.poll() is None:
        try:
            connection = HTTPConnection("127.0.0.1", PORT, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:  # noqa: PLR2004  HTTP OK
                return
        except OSError:
            threading.Event().wait(0.1)
    raise SystemExit("the server ended")


@dataclass(frozen=True)
class Round:
    """What one endpoint showed in one round."""

    rate: float
    """Requests a second at most."""

    cpu_ms: float
    """Processor time of the server for each of them."""

    times: list[float]
    """Milliseconds at half of that rate."""


async def a_round(chosen: argparse.Namespace, server: int) -> dict[str, Round]:
    """By endpoint."""
    found = {}
    for name, path in PATHS.items():
        connections = [await Connection.to(path) for _ in range(chosen.connections)]
        before = cpu_seconds(server)
        rate = await at_most(connections, chosen.seconds)
        cpu_ms = (cpu_seconds(server) - before) / (rate * chosen.seconds) * 1000
        times = await evenly(connections, chosen.seconds, rate / 2)
        found[name] = Round(rate, cpu_ms, times)
        for each in connections:
            each.close()
    return found


def cpu_seconds(process: int) -> float:
    """Processor time that a process has taken (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Connection:
    """One keep-alive connection that asks an endpoint, for one user after the other."""

    def __init__(self, path: str, reader: asyncio.StreamReader, writer: Any) -> None:
        self._reader, self._writer = reader, writer
        bodies = [
            json.dumps({"user_id": user, "k": K, "features": {"region": f"region {user % 5}"}})
            for user in range(made.USERS)
        ]
        self._requests = [
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            for body in bodies
        ]
        self._asked = 0

    @classmethod
    async def to(cls, path: str) -> "Connection":
        """A new one."""
        return cls(path, *await asyncio.open_connection("127.0.0.1", PORT))

    async def ask(self) -> None:
        """One request and its answer."""
        self._writer.write(self._requests[self._asked % made.USERS])
        self._asked += 1
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise SystemExit(head.decode())
        await self._reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r")[0]))

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def at_most(connections: Sequence[Connection], seconds: float) -> float:
    """Requests a second where each connection asks again as soon as it has its answer."""
    end = monotonic_seconds() + seconds
    count = 0

    async def ask(connection: Connection) -> None:
        nonlocal count
        while monotonic_seconds() < end:
            await connection.ask()
            count += 1

    await asyncio.gather(*map(ask, connections))
    return count / seconds


async def evenly(connections: Sequence[Connection], seconds: float, rate: float) -> list[float]:
    """Milliseconds of each request from when it was due, whoever is free taking the next."""
    begin = monotonic_seconds()
    due = iter(begin + number / rate for number in range(int(seconds * rate)))
    times = []

    async def ask(connection: Connection) -> None:
        for at in due:
            await asyncio.sleep(max(at - monotonic_seconds(), 0))
            await connection.ask()
            times.append((monotonic_seconds() - at) * 1000)

    await asyncio.gather(*map(ask, connections))
    return times


if __name__ == "__main__":
    main()

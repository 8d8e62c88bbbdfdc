"""What clients cost the server and one another; with --against, beside another tree in turns.

    python -m benchmarks.clients [--against TREE] [--items 10000] [--rounds 5] [--seconds 2]

Real server processes, each on a small deployment that its tree has made. Printed: the
processor's time for an answer in process (k = 100); how many of 20 new clients are answered by a
server that may open 256 files while 400 connections have sent half a head, and what it logs; how
long a small request (k = 10) takes beside each kind of client that misbehaves
(`benchmarks/strangers.py`), also as a ratio to beside a process that only computes. Medians
over the rounds [lowest..highest]; ratios are of each round's pair, below 1: better.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np

from benchmarks import strangers
from benchmarks.strangers import KINDS, small
from twintide.clock import monotonic_seconds

ROOT = Path(__file__).parents[1]
FIRST_PORT = 18_474
OPEN_FILES = 256
HALF_OPEN = 400
NEW_CLIENTS = 20
PATIENCE_SECONDS = 1.0
SETTLE_SECONDS = 0.7
TURNS = 60
"""Of a round of answers in process."""

A_TURN = 5
"""Answers."""


class Tree:
    """A checkout of the program, and its server on a port of its own."""

    def __init__(self, name: str, root: Path, port: int) -> None:
        self.name = name
        self.port = port
        self.environment = os.environ | {"PYTHONPATH": str(root)}
        self._root = root

    def command(self, *words: str) -> list[str]:
        """Of `tree.py`, to be run by this tree."""
        return [sys.executable, "-P", str(ROOT / "benchmarks" / "tree.py"), *words]

    @contextmanager
    def server(self, folder: Path, *, open_files: int = 1024) -> Iterator[Path]:
        """A ready server of this tree, which may open so many files; gives its log."""
        values = json.loads((folder / self.name / "twintide.yaml").read_text())
        config, log = folder / f"{self.port}.yaml", folder / f"{self.port}.log"
        config.write_text(json.dumps(values | {"serving": {"port": self.port}}))
        command = f'ulimit -n {open_files}; exec "{sys.executable}" -m serving -c "{config}"'
        with log.open("w") as stream:
            process = subprocess.Popen(  # noqa: S603  our own server
                ["/bin/sh", "-c", command],
                cwd=self._root,
                env=self.environment,
                stderr=stream,
            )
            try:
                wait_until_ready(process, self.port)
                yield log
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()


def main() -> None:
    """Measure, and print what was found."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--against", type=Path)
    arguments.add_argument("--items", type=int, action="append")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2)
    chosen = arguments.parse_args()
    roots = [chosen.against.resolve()] if chosen.against else []
    names = ["before", "now"] if roots else ["now"]
    trees = [
        Tree(name, root, FIRST_PORT + place)
        for place, (name, root) in enumerate(zip(names, [*roots, ROOT], strict=True))
    ]
    for items in chosen.items or [10_000]:
        with tempfile.TemporaryDirectory() as folder:
            build(trees, Path(folder), items)
            print(f"\n{items:,} items", flush=True)
            answers(trees, Path(folder), rounds=chosen.rounds)
    with tempfile.TemporaryDirectory() as folder:
        build(trees, Path(folder), 2_000)
        storm(trees, Path(folder), rounds=chosen.rounds)
        beside(trees, Path(folder), rounds=chosen.rounds, seconds=chosen.seconds)


def build(trees: list[Tree], folder: Path, items: int) -> None:
    """Each tree makes its own version of the same untrained model: formats may differ."""
    for tree in trees:
        (folder / tree.name).mkdir()
        command = tree.command("build", str(folder / tree.name), str(items))
        subprocess.run(command, check=True, env=tree.environment)  # noqa: S603  our own program


def answers(trees: list[Tree], folder: Path, *, rounds: int) -> None:
    """The processor's milliseconds for an answer, request bytes to answer bytes. The trees take
    turns after every few answers, since what else the machine does changes from second to second.
    """
    with ExitStack() as stack:
        asks = [stack.enter_context(answering(tree, folder)) for tree in trees]
        turns = [
            [statistics.fmean(spent) for spent in zip(*in_turns(asks, count=TURNS), strict=True)]
            for _ in range(rounds + 1)
        ][1:]
    for place, tree in enumerate(trees):
        spent = spread([turn[place] for turn in turns], 3)
        print(f"an answer in process, {tree.name}: {spent} ms of processor", end="")
        print(ratio([turn[place] / turn[0] for turn in turns]) if place else "", flush=True)


@contextmanager
def answering(tree: Tree, folder: Path) -> Iterator[Callable[[], float]]:
    """Asks a process of that tree a few times; gives the milliseconds of one answer."""
    with subprocess.Popen(  # noqa: S603  our own program
        tree.command("answer", str(folder / tree.name)),
        env=tree.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:

        def ask() -> float:
            if process.stdin is None or process.stdout is None:
                raise SystemExit("no pipe")
            process.stdin.write(f"{A_TURN}\n")
            process.stdin.flush()
            return float(process.stdout.readline()) * 1000 / A_TURN

        yield ask


def in_turns(asks: list[Callable[[], float]], *, count: int) -> list[list[float]]:
    """What each gives, turn by turn; every other turn in the other order."""
    found = []
    for number in range(count):
        turn = [0.0] * len(asks)
        for place in list(range(len(asks)))[:: -1 if number % 2 else 1]:
            turn[place] = asks[place]()
        found.append(turn)
    return found


def storm(trees: list[Tree], folder: Path, *, rounds: int) -> None:
    """Who is answered while half-open connections wait, how soon, and what is logged."""
    print(f"\n{HALF_OPEN} half heads, {OPEN_FILES} files, {NEW_CLIENTS} new clients a round")
    answered: dict[str, list[float]] = {tree.name: [] for tree in trees}
    logged: dict[str, list[float]] = {tree.name: [] for tree in trees}
    for _ in range(rounds):
        for tree in trees:
            with tree.server(folder, open_files=OPEN_FILES) as log, half_open(tree.port):
                began, before = monotonic_seconds(), log.stat().st_size
                answered[tree.name] += new_clients(tree.port)
                time.sleep(max(0.0, 5 - (monotonic_seconds() - began)))
                seconds = monotonic_seconds() - began
                logged[tree.name].append((log.stat().st_size - before) / seconds)
    for tree in trees:
        spent = answered[tree.name]
        print(
            f"{tree.name}: {len(spent)} of {rounds * NEW_CLIENTS} answered within "
            f"{PATIENCE_SECONDS:.0f} s, {spread(spent, 1) if spent else '-'} ms; "
            f"log {spread(logged[tree.name], 0)} bytes a second",
            flush=True,
        )


@contextmanager
def half_open(port: int) -> Iterator[None]:
    """Connections that have sent half a head."""
    with ExitStack() as stack:
        for _ in range(HALF_OPEN):
            with suppress(OSError):
                one = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
                stack.enter_context(one)
                one.sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\n")
        yield


def new_clients(port: int) -> list[float]:
    """Milliseconds of each that was answered in time, from its connection on."""
    spent = []
    for _ in range(NEW_CLIENTS):
        began = monotonic_seconds()
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        with suppress(OSError, HTTPException):
            ask(connection, small())
            spent.append((monotonic_seconds() - began) * 1000)
        connection.close()
    return spent


def beside(trees: list[Tree], folder: Path, *, rounds: int, seconds: float) -> None:
    """Of a small request, beside each kind of client in turns."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        for tree in trees:
            stack.enter_context(tree.server(folder))
        for _ in range(rounds):
            for name in KINDS:
                for tree in trees:
                    with strangers.beside(name, tree.port):
                        settle(tree.port)
                        each = small_requests(tree.port, seconds)
                    found.setdefault((name, tree.name), []).append(each)
    print(f"\n{'a small request beside':36}{'':8}{'p50 ms':>22}{'p99 ms':>24}  p99 to nobody")
    for (name, tree_name), pairs in found.items():
        p50, p99 = zip(*pairs, strict=True)
        alone = [pair[1] for pair in found["nobody", tree_name]]
        ratios = [mine / other for mine, other in zip(p99, alone, strict=True)]
        print(f"{name:36}{tree_name:8}{spread(p50, 1):>22}{spread(p99, 1):>24}{ratio(ratios)}")


def settle(port: int) -> None:
    """Until whoever misbehaves has begun."""
    small_requests(port, SETTLE_SECONDS)


def small_requests(port: int, seconds: float) -> tuple[float, float]:
    """Milliseconds, p50 and p99, on one connection."""
    spent = []
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    ends = monotonic_seconds() + seconds
    while monotonic_seconds() < ends:
        began = monotonic_seconds()
        ask(connection, small())
        spent.append((monotonic_seconds() - began) * 1000)
    connection.close()
    p50, p99 = np.percentile(spent, [50, 99])
    return float(p50), float(p99)


def ask(connection: HTTPConnection, body: bytes) -> None:
    """Ask, and read the whole answer."""
    connection.request("POST", "/v1/recommend", body)
    connection.getresponse().read()


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Until it answers 200 to /readyz."""
    while process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:  # noqa: PLR2004  HTTP OK
                connection.close()
                return
        connection.close()
        time.sleep(0.1)
    raise SystemExit("the server ended")


def spread(found: list[float] | tuple[float, ...], digits: int) -> str:
    """The median, the lowest and the highest."""
    low, middle, high = min(found), statistics.median(found), max(found)
    return f"{middle:,.{digits}f} [{low:,.{digits}f}..{high:,.{digits}f}]"


def ratio(found: list[float]) -> str:
    """The median of the rounds' ratios, and their spread."""
    return f"  {statistics.median(found):.2f} [{min(found):.2f}..{max(found):.2f}]"


if __name__ == "__main__":
    main()

"""How long an answer takes, beside what the machine must do for it at least.

    python -m benchmarks.recommend [--items 10000 --items 200000] [--rounds 7] [--requests 200]
        [--processor]

Untrained quickstart-sized towers (64 wide, 256-128-64, history of 20), k = 100, one request at a
time. All contestants take turns within one run: a round asks each the same users. Printed per
contestant: the median over the rounds of each round's p50 and p99, the lowest and highest p50, and
the ratio of p50 to that of Faiss alone, all on one thread. With `--processor` by the time that the
asking thread computes, for machines that do other things as well, and without HTTP.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from publisher.index.searched import Vectors
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from serving.request import RecommendRequest, parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from twintide.clock import SystemClock, monotonic_seconds
from twintide.config import load
from twintide.telemetry import configure_logging

ROOT = Path(__file__).parents[1]
K = 100
PORT = 18_473

FAISS = "faiss search alone"
Ask = Callable[[int], object]
"""Answer the n-th request."""

Clock = Callable[[], float]
"""Seconds."""


def main() -> None:
    """Measure each size of catalogue; print a table for each."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, action="append")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--requests", type=int, default=200)
    arguments.add_argument("--processor", action="store_true")
    chosen = arguments.parse_args()
    configure_logging(level=40)
    torch.set_num_threads(1)
    for items in chosen.items or [10_000, 200_000]:
        with tempfile.TemporaryDirectory() as folder:
            seconds = time.thread_time if chosen.processor else monotonic_seconds
            compare(
                Path(folder), seconds, items=items, rounds=chosen.rounds, requests=chosen.requests
            )


def compare(folder: Path, seconds: Clock, *, items: int, rounds: int, requests: int) -> None:
    """Build a version of that many items, let the contestants take turns, print their times."""
    config = folder / "twintide.yaml"
    config.write_text(json.dumps(configuration(folder / "data")))
    deployment = load(config)
    catalogue = made.item_range(0, items)
    model = made.model_of(deployment, catalogue)
    vectors = model.candidate_vectors(made.candidates_of(deployment, catalogue))
    made.add_checkpoint(deployment, 1, items=catalogue, model=model)
    began = monotonic_seconds()
    name = publish(deployment, clock=SystemClock(), judge=False).version
    built_seconds = monotonic_seconds() - began
    version = load_version(deployment.versions_dir, name)
    print(
        f"\n{items:,} items, index {version.index.kind}, published in {built_seconds:.1f} s, "
        f"recall@{K} of the index against the exact list {index_recall(version, vectors):.3f}"
    )
    with server(config) as connection:
        contestants = asks(version, vectors, connection)
        if seconds is time.thread_time:
            del contestants["over HTTP, one connection"]
        times = take_turns(contestants, seconds, rounds=rounds, requests=requests)
    print_table(times)


def configuration(data_dir: Path) -> dict[str, Any]:
    """The tests' deployment, with the sizes and query features of the quickstart."""
    values = made.configuration(data_dir, serving={"port": PORT})
    query = [feature for feature in values["model"]["query"] if feature["name"] in QUERY]
    query[1]["length"] = 20
    values["model"] |= {
        "query": query,
        "embedding_width": 64,
        "tower": {"kind": "dnn", "hidden": [256, 128]},
        "output_width": 64,
    }
    return values


QUERY = ("user", "history", "hour", "region")


def asks(version: LoadedVersion, vectors: Vectors, connection: HTTPConnection) -> dict[str, Ask]:
    """The contestants, from the physical limit outwards."""
    retriever = Retriever(version, clock=SystemClock(), max_k=1000)
    bodies = [
        json.dumps({"user_id": user, "k": K, "features": {"region": f"region {user % 5}"}}).encode()
        for user in range(made.USERS)
    ]
    encoded = [retriever.encode(parse_request(body)) for body in bodies]
    queries = [version.model.query_vectors(one) for one in encoded]

    torch_vectors, torch_queries = torch.from_numpy(vectors), list(map(torch.from_numpy, queries))

    def limit(number: int) -> object:
        scores = torch.mv(torch_vectors, torch_queries[number][0]).numpy()
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    def http(number: int) -> object:
        connection.request("POST", "/v1/recommend", bodies[number])
        answer = connection.getresponse()
        if answer.status != 200:  # noqa: PLR2004  HTTP OK
            raise SystemExit(answer.read().decode())
        return answer.read()

    return {
        "product and partial sort": limit,
        FAISS: lambda number: version.index.search(queries[number], K),
        "query tower alone": lambda number: version.model.query_vectors(encoded[number]),
        "in process, bytes to bytes": lambda number: retriever.answer(
            parse_request(bodies[number])
        ).to_json(),
        "over HTTP, one connection": http,
    }


def take_turns(
    contestants: dict[str, Ask], seconds: Clock, *, rounds: int, requests: int
) -> dict[str, list[list[float]]]:
    """Name -> for each round, the milliseconds of each request. The first round is not counted."""
    times: dict[str, list[list[float]]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, ask in contestants.items():
            spent = []
            for number in range(requests):
                began = seconds()
                ask(number % made.USERS)
                spent.append((seconds() - began) * 1000)
            if round_:
                times[name].append(spent)
    return times


def print_table(times: dict[str, list[list[float]]]) -> None:
    """Milliseconds, and the ratio to Faiss alone."""
    print(f"{'':32}{'p50 ms':>8}{'spread':>16}{'p99 ms':>8}{'ratio':>8}")
    of_faiss = statistics.median(statistics.median(spent) for spent in times[FAISS])
    for name, rounds in times.items():
        middles = [statistics.median(spent) for spent in rounds]
        p50 = statistics.median(middles)
        p99 = statistics.median(float(np.percentile(spent, 99)) for spent in rounds)
        spread = f"{min(middles):.3f}-{max(middles):.3f}"
        print(f"{name:32}{p50:8.3f}{spread:>16}{p99:8.3f}{p50 / of_faiss:8.2f}")


def index_recall(version: LoadedVersion, vectors: Vectors) -> float:
    """Share of the exact list's items that the index finds, over 100 users."""
    retriever = Retriever(version, clock=SystemClock(), max_k=1000)
    requests = [RecommendRequest(user_id=user) for user in range(100)]
    queries = np.concatenate(
        [version.model.query_vectors(retriever.encode(one)) for one in requests]
    )
    _, found = version.index.search(queries, K)
    exact = np.argpartition(-(queries @ vectors.T), K, axis=1)[:, :K]
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, exact, strict=True)]))


@contextmanager
def server(config: Path) -> Iterator[HTTPConnection]:
    """A real server process, and one keep-alive connection to it."""
    process = subprocess.Popen(  # noqa: S603  our own server
        [sys.executable, "-m", "serving", "-c", str(config)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _ready_connection(process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _ready_connection(process: subprocess.Popen[bytes]) -> HTTPConnection:
    while process.poll() is None:
        connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:  # noqa: PLR2004  HTTP OK
                return connection
        except OSError:
            pass
        connection.close()
        time.sleep(0.1)
    raise SystemExit("the server ended")


if __name__ == "__main__":
    main()

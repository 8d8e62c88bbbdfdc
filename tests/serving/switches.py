"""A server whose version is switched again and again while clients check every answer.

Versions are two nights and the hours behind each, as deltas; an answer that names a version must be
what that version answers alone, to the last digit.
"""

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from publisher import registry
from publisher.publish import publish
from publisher.reader import load_version
from serving.request import parse_request
from serving.retriever import Retriever
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from tests.serving.conftest import Client
from tests.serving.test_rollback_under_load import wait_until
from twintide.clock import HeldClock, monotonic_seconds
from twintide.config import Deployment, load
from twintide.versions import version_names

USERS = 60
K = 20
HOURS = 3
"""Behind each night."""

Answers = Mapping[str, list[Any]]
"""By version, of each user."""


@dataclass(frozen=True)
class Line:
    """Versions, and what each answers."""

    deployment: Deployment
    config: Path
    alone: Answers


def body_of(user: int) -> bytes:
    """A request whose answer does not depend on the time."""
    return json.dumps({"user_id": user, "k": K, "features": {"region": "region 1"}}).encode()


def line_at(folder: Path, port: int, *, items: int, clock: HeldClock) -> Line:
    """Two nights, each with its hours."""
    values = made.configuration(
        folder / "data",
        serving={"port": port, "poll_seconds": 0.02},
        publishing={"index": "ivf", "nprobe": 8},
    )
    kept = ("user", "history", "region")
    values["model"]["query"] = [f for f in values["model"]["query"] if f["name"] in kept]
    config = folder / "twintide.yaml"
    config.write_text(json.dumps(values))
    deployment = load(config)
    for night in range(2):
        hours.night(deployment, made.item_range(1000, items), sequence=1 + night * (HOURS + 1))
        publish(deployment, clock=clock, judge=False)
        for hour in range(HOURS):
            users = np.arange(hour, USERS, 3)
            hours.hour(deployment, users, made.item_range(1000 + 30 * hour, len(users)))
            publish(deployment, clock=clock, judge=False)
    return Line(deployment, config, _alone(deployment, clock))


def _alone(deployment: Deployment, clock: HeldClock) -> Answers:
    found = {}
    for name in version_names(deployment.versions_dir):
        retriever = Retriever(load_version(deployment.versions_dir, name), clock=clock, max_k=K)
        answers = [retriever.answer(parse_request(body_of(user))) for user in range(USERS)]
        found[name] = [json.loads(answer.to_json()) for answer in answers]
    return found


class Checked:
    """Clients that ask without a pause, and compare."""

    def __init__(self, port: int, alone: Answers, *, clients: int = 4) -> None:
        self._port, self._alone = port, alone
        self._stopping = threading.Event()
        self.phase = "steady"
        self.failed: list[str] = []
        self.mixed: list[str] = []
        self.versions: Counter[str] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    @property
    def answers(self) -> int:
        """How many there were so far."""
        return self.versions.total()

    def _ask(self, number: int) -> None:
        order = random.Random(number)
        with Client(self._port) as client:
            while not self._stopping.is_set():
                user, phase, began = order.randrange(USERS), self.phase, monotonic_seconds()
                try:
                    status, answer = client.ask("POST", "/v1/recommend", body_of(user))
                except Exception as error:  # noqa: BLE001  any fault at all is a failed request
                    self.failed.append(repr(error))
                    continue
                self.seconds.setdefault(phase, []).append(monotonic_seconds() - began)
                self._check(user, status, answer)

    def _check(self, user: int, status: int, answer: bytes) -> None:
        if status != 200:
            self.failed.append(str(answer))
            return
        said = json.loads(answer)
        self.versions[said["version"]] += 1
        if said != self._alone[said["version"]][user]:
            self.mixed.append(f"user {user} by {said['version']}: {answer!r}")

    def stop(self) -> None:
        """No more requests; those that are on the way are waited for."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def switch(line: Line, client: Client, name: str, *, clock: HeldClock) -> None:
    """Make a version live, and wait until the server says that it serves it."""
    registry.rollback(line.deployment.versions_dir, to=name, reason="a switch", clock=clock)
    wait_until(lambda: bool(client.get("/v1/version")[1]["version"] == name), seconds=30)


def tour(line: Line, count: int) -> Iterator[str]:
    """So many versions, none twice in a row, and each as often as any other."""
    order, live = random.Random(1), ""
    while count > 0:
        names = order.sample(sorted(line.alone), len(line.alone))
        names = names if names[0] != live else names[::-1]
        yield from names[:count]
        count, live = count - len(names), names[-1]

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import pytest

from publisher.publish import publish
from serving.app import create_app
from serving.connections import Limits
from serving.follower import Follower
from serving.log import BoundedLog
from serving.page.pages import Pages
from serving.page.snapshot import Looker
from serving.server import HttpServer, listen
from tests.publisher import checkpoint_fixture as made
from twintide.clock import HeldClock
from twintide.config import Deployment, ServingConfig

PLENTY = Limits(connections=1_000)
TOKEN = "correct horse battery staple"


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int, *, headers: dict[str, str] | None = None) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = headers or {}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        self._connection.request(method, path, body, self._headers | headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def get(self, path: str) -> tuple[int, Any]:
        status, body = self.ask("GET", path)
        return status, json.loads(body)

    def recommend(self, **request: Any) -> tuple[int, Any]:
        status, body = self.ask("POST", "/v1/recommend", json.dumps(request).encode())
        return status, json.loads(body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@pytest.fixture
def clock() -> HeldClock:
    return made.held_clock()


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return made.deployment_at(tmp_path / "data")


@pytest.fixture(scope="session")
def data_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of disjoint items: 1000 to 1299 and, live, 5000 to 5299."""
    data_dir = tmp_path_factory.mktemp("two_versions") / "data"
    deployment = made.deployment_at(data_dir)
    for sequence, first in ((1, 1000), (2, 5000)):
        made.add_checkpoint(deployment, sequence, items=made.item_range(first, 300), seed=sequence)
        publish(deployment, clock=made.held_clock())
    return data_dir


@pytest.fixture
def two_versions(data_once: Path, deployment: Deployment) -> Deployment:
    shutil.copytree(data_once, deployment.data_dir)
    return deployment


def follower_of(deployment: Deployment, clock: HeldClock) -> Follower:
    return Follower(
        deployment.versions_dir,
        clock=clock,
        max_k=deployment.serving.max_k,
        poll_seconds=deployment.serving.poll_seconds,
    )


def pages_of(deployment: Deployment, follower: Follower, clock: HeldClock) -> Pages:
    looker = Looker(deployment, Path("twintide.yaml"), clock=clock)
    return Pages(looker.look, lambda: follower.standing, clock=clock)


@contextmanager
def serving(
    follower: Follower,
    *,
    clock: HeldClock,
    token: str | None = None,
    metrics_need_token: bool = True,
    limits: Limits = PLENTY,
    pages: Pages | None = None,
    log_ratio: float = 0.0,
) -> Iterator[int]:
    """Serve over real HTTP from a thread of the test; gives the port. The test looks itself."""
    log = BoundedLog()
    app = create_app(
        follower,
        clock=clock,
        token=token,
        log=log,
        metrics_need_token=metrics_need_token,
        pages=pages,
        log_ratio=log_ratio,
    )
    listener = listen(ServingConfig(port=0))
    server = HttpServer(app, limits, log)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()

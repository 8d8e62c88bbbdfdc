import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from publisher import registry
from publisher.publish import publish
from serving.server import listen
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client
from twintide.clock import HeldClock, monotonic_seconds
from twintide.config import Deployment, load
from twintide.errors import Refused
from twintide.versions import read_state

FIRST_ITEMS = {"v000001": 1000, "v000002": 3000, "v000003": 5000}
ROOT = Path(__file__).parents[2]


class Server:
    """A real `python -m serving` process."""

    def __init__(
        self, config: Path, port: int, *, open_files: int = 1024, log: Path | None = None
    ) -> None:
        self.port = port
        command = f'ulimit -n {open_files}; exec "{sys.executable}" -m serving -c "{config}"'
        with ExitStack() as stack:
            self.process = subprocess.Popen(
                ["sh", "-c", command],
                cwd=ROOT,
                stderr=stack.enter_context(log.open("w")) if log else subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def readiness(self) -> int | None:
        try:
            with Client(self.port) as client:
                return client.get("/readyz")[0]
        except OSError:
            return None

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


def wait_until(condition: Callable[[], bool], *, seconds: float) -> float:
    """Seconds until the condition held; fails where it does not in time."""
    began = monotonic_seconds()
    pause = threading.Event()
    while not condition():
        assert monotonic_seconds() - began < seconds, "it did not happen in time"
        pause.wait(0.01)
    return monotonic_seconds() - began


@pytest.fixture
def configured(tmp_path: Path) -> tuple[Deployment, Path, int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = tmp_path / "twintide.yaml"
    values = made.configuration(tmp_path / "data", serving={"port": port, "poll_seconds": 0.05})
    path.write_text(json.dumps(values))
    return load(path), path, port


@pytest.fixture
def server(configured: tuple[Deployment, Path, int]) -> Iterator[Server]:
    server = Server(configured[1], configured[2])
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


def train(deployment: Deployment, sequence: int) -> None:
    first = FIRST_ITEMS[f"v{sequence:06d}"]
    made.add_checkpoint(deployment, sequence, items=made.item_range(first, 300), seed=sequence)


class Load:
    """Clients that ask without a pause and check every answer."""

    def __init__(self, port: int, *, clients: int) -> None:
        self._port = port
        self._stopping = threading.Event()
        self.failures: list[str] = []
        self.versions: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _ask(self, number: int) -> None:
        user = number
        with Client(self._port) as client:
            while not self._stopping.is_set():
                user += 1
                try:
                    status, answer = client.recommend(user_id=user % 300, k=20)
                    self._check(status, answer)
                except Exception as error:  # noqa: BLE001  any fault at all is a failed request
                    self.failures.append(repr(error))

    def _check(self, status: int, answer: dict[str, object]) -> None:
        if status != 200:
            self.failures.append(str(answer))
            return
        version, items = str(answer["version"]), answer["items"]
        assert isinstance(items, list)
        first = FIRST_ITEMS[version]
        if len(items) != 20 or not all(first <= item["item_id"] < first + 300 for item in items):
            self.failures.append(f"an answer of {version} with {items}")
        self.versions[version] += 1

    def wait_for(self, count: int) -> None:
        enough = count - len(self.failures)
        wait_until(lambda: self.versions.total() >= enough, seconds=60 + count / 50)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.promise("P3")
@pytest.mark.promise("P5")
@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "answers",
    [2_000, pytest.param(100_000, marks=[pytest.mark.faults, pytest.mark.timeout(2400)])],
)
@pytest.mark.long
def test_a_rollback_under_load_fails_no_request_and_sticks_until_release(
    configured: tuple[Deployment, Path, int], server: Server, clock: HeldClock, answers: int
) -> None:
    """Clients ask all the while. Every answer is whole and of the version that it names; the
    rollback is served within 3 s; the next publish does not undo it; after release the next one
    is served. The server starts before there is a version, and SIGTERM ends it with 0.
    """
    deployment = configured[0]
    root = deployment.versions_dir
    wait_until(lambda: server.readiness() == 503, seconds=60)
    train(deployment, 1)
    assert publish(deployment, clock=clock).promoted
    wait_until(lambda: server.readiness() == 200, seconds=10)
    load = Load(server.port, clients=4)

    def served() -> str:
        with Client(server.port) as client:
            return str(client.get("/v1/version")[1]["version"])

    train(deployment, 2)
    assert publish(deployment, clock=clock).promoted
    wait_until(lambda: served() == "v000002", seconds=10)
    load.wait_for(answers // 4)

    began = monotonic_seconds()
    registry.rollback(root, reason="odd items", clock=clock)
    pointer_seconds = monotonic_seconds() - began
    served_seconds = wait_until(lambda: served() == "v000001", seconds=3)

    train(deployment, 3)
    held = publish(deployment, clock=clock)
    assert not held.promoted
    load.wait_for(load.versions.total() + answers // 4)
    assert served() == read_state(root).current == "v000001"

    registry.release(root, clock=clock)
    assert publish(deployment, clock=clock).promoted
    wait_until(lambda: served() == "v000003", seconds=10)
    load.wait_for(answers)
    load.stop()

    assert load.failures == []
    assert set(load.versions) == set(FIRST_ITEMS)
    assert pointer_seconds < 1
    assert served_seconds < 3
    assert server.end() == 0
    assert server.process.stderr is not None


def test_a_port_that_is_taken_is_refused_by_number(
    configured: tuple[Deployment, Path, int],
) -> None:
    """With a hint, before anything is loaded."""
    deployment, _, port = configured
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(Refused, match=f"cannot listen on 127.0.0.1 port {port}"),
    ):
        listen(deployment.serving)


def test_a_missing_configuration_is_said_in_two_lines(tmp_path: Path) -> None:
    """Exit code 2, the file, a hint, and no traceback."""
    ended = subprocess.run(
        [sys.executable, "-m", "serving", "-c", str(tmp_path / "nothing.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 2
    assert "nothing.yaml" in ended.stderr

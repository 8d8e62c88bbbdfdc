"""Several processes answer behind one address; one that dies is replaced, and none is missed."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from publisher import registry
from tests.publisher import checkpoint_fixture as made
from tests.serving.conftest import Client
from tests.serving.test_rollback_under_load import Server, configured, wait_until
from twintide.config import Deployment

__all__ = ["configured"]

COUNT = 3


def workers(log: Path) -> list[int]:
    """The processes that were started, in order."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line["worker"] for line in lines if line["event"] == "worker_started"]


def answered(port: int, version: str) -> bool:
    """Whether new connections, which any of the workers may take, are all answered by it."""
    for _ in range(4 * COUNT):
        with Client(port) as client:
            status, answer = client.recommend(user_id=4, k=2)
            if status != 200 or answer["version"] != version:
                return False
    return True


def counted(port: int) -> float:
    with Client(port) as client:
        _, body = client.ask("GET", "/metrics")
    found = re.search(rb'twintide_recommend_answers_total{status="200"} (\S+)', body)
    return float(found[1]) if found else 0.0


def shown(port: int) -> dict[str, float]:
    """What a scrape of whichever worker takes it shows of versions."""
    with Client(port) as client:
        text = client.ask("GET", "/metrics")[1].decode()
    found = re.findall(r"^(twintide_version\S*) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found if not name.endswith("_created")}


def all_show(port: int, **expected: float) -> bool:
    """Whether scrapes of new connections, which any of the workers may take, all show this."""
    return all(
        {name.removeprefix("twintide_version_"): value for name, value in shown(port).items()}
        == {"items": 300, "rollbacks_total": 0, **expected}
        for _ in range(4 * COUNT)
    )


@pytest.mark.long
def test_workers_answer_together_and_are_replaced(
    two_versions: Deployment,
    configured: tuple[Deployment, Path, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each follows what is live; /metrics of any adds up what all have answered, one that was
    killed included, and shows what those serve that run; SIGTERM ends all of them.
    """
    _, path, port = configured
    values = json.loads(path.read_text()) | {"data_dir": str(two_versions.data_dir)}
    values["serving"]["workers"] = COUNT
    path.write_text(json.dumps(values))
    log, own_folder = tmp_path / "log", tmp_path / "temporary"
    own_folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(own_folder))
    server = Server(path, port, log=log)
    try:
        wait_until(lambda: server.readiness() == 200 and answered(port, "v000002"), seconds=60)
        assert len(workers(log)) == COUNT
        before = counted(port)
        assert answered(port, "v000002")
        assert counted(port) == before + 4 * COUNT
        of_v2 = 'twintide_version{checkpoint="hourly-000002",version="v000002"}'
        loaded = {"switches_total": COUNT, "failures_total": 0, "problem": 0}
        wait_until(lambda: all_show(port, **{of_v2: COUNT}, **loaded), seconds=60)

        os.kill(workers(log)[1], signal.SIGKILL)
        wait_until(lambda: len(workers(log)) == COUNT + 1, seconds=30)
        assert all(answered(port, "v000002") for _ in range(5))  # it loads before it takes any
        assert counted(port) >= before + 4 * COUNT
        loaded["switches_total"] += 1
        wait_until(lambda: all_show(port, **{of_v2: COUNT}, **loaded), seconds=60)
        registry.rollback(two_versions.versions_dir, reason="odd", clock=made.held_clock())
        wait_until(lambda: answered(port, "v000001"), seconds=60)
        of_v1 = 'twintide_version{checkpoint="hourly-000001",version="v000001"}'
        loaded["switches_total"] += COUNT
        wait_until(lambda: all_show(port, **{of_v1: COUNT}, **loaded), seconds=60)
    finally:
        code = server.end()

    assert code == 0
    assert all(not is_running(process) for process in workers(log))
    assert list(own_folder.iterdir()) == []


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

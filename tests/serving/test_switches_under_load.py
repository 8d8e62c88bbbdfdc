"""However often the live version changes, no request fails and no answer is of two versions."""

import socket
from pathlib import Path

import pytest

from tests.serving.conftest import Client
from tests.serving.switches import Checked, line_at, switch, tour
from tests.serving.test_rollback_under_load import Server, wait_until
from twintide.clock import HeldClock


@pytest.mark.promise("P2")
@pytest.mark.promise("P3")
@pytest.mark.parametrize(
    ("switches", "answers"),
    [
        (25, 2_000),
        pytest.param(1_000, 100_000, marks=[pytest.mark.faults, pytest.mark.timeout(3600)]),
    ],
)
@pytest.mark.long
def test_switches_under_load_fail_no_request_and_mix_no_versions(
    tmp_path: Path, clock: HeldClock, switches: int, answers: int
) -> None:
    """From any version to any other, nights and the deltas of their hours: each answer is that of
    the version that it names, as that version gives it alone.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    line = line_at(tmp_path, port, items=400, clock=clock)
    server = Server(line.config, port, log=tmp_path / "log")
    try:
        wait_until(lambda: server.readiness() == 200, seconds=60)
        load = Checked(port, line.alone)
        with Client(port) as client:
            for name in tour(line, switches):
                switch(line, client, name, clock=clock)
            wait_until(lambda: load.answers >= answers, seconds=60 + answers / 50)
            metrics = client.ask("GET", "/metrics")[1].decode()
        load.stop()
    finally:
        server.end()

    assert (load.failed[:3], load.mixed[:3]) == ([], [])
    assert set(load.versions) == set(line.alone)
    assert f"twintide_version_switches_total {switches + 1}.0" in metrics  # and that at its start

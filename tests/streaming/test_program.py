import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streaming.daemon import run
from streaming.metrics import IngestMetrics
from tests.streaming import crash_runs
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, wait_until
from twintide.clock import SystemClock, to_unix_ms
from twintide.errors import Refused
from twintide.probes import served

ROOT = Path(__file__).parents[2]


@contextmanager
def program(config: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "streaming", "-c", str(config), *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def written(line: Line, folder: Path) -> Path:
    path = folder / "deployment.yaml"
    path.write_text(json.dumps(line.values))
    return path


def answer(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  http, by the test
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.mark.promise("S12")
def test_sigterm_ends_the_program_cleanly(line: Callable[..., Line], tmp_path: Path) -> None:
    """Ready while it reads, metrics by partition, exit 0 within 5 s; the open shard is dropped,
    and the next run stores its events.
    """
    made = line()
    made.feed(range(100))
    made.feed([100], start_ms=to_unix_ms(SystemClock().now()))
    with program(written(made, tmp_path), "--metrics-port", "0") as process:
        assert process.stderr is not None
        started = json.loads(process.stderr.readline())
        url = f"http://127.0.0.1:{started['port']}"
        wait_until(lambda: answer(f"{url}/readyz")[0] == 200)
        wait_until(lambda: 'rows_total{partition="0"} 100.0' in answer(f"{url}/metrics")[1])
        assert answer(f"{url}/livez") == (200, "alive\n")
        assert answer(f"{url}/elsewhere")[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0

    assert sum(made.stored().values()) in {100, 101}
    made.catch_up()
    assert made.holds_every_event_once()


@pytest.mark.promise("S12")
@pytest.mark.long
def test_sigterm_ends_the_program_while_a_disk_holds_it(
    line: Callable[..., Line], tmp_path: Path
) -> None:
    """Within 5 s, exit code 0: the main thread hears nothing, another one ends the program."""
    made = line()
    made.feed(range(10))
    held = tmp_path / "held"
    process = crash_runs.start(crash_runs.read_on_held_disk, made.values, str(held))
    wait_until(held.exists)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    process.join(timeout=5)

    assert process.exitcode == 0
    made.catch_up()
    assert made.holds_every_event_once()


def test_a_metrics_port_that_is_taken_is_named(line: Callable[..., Line]) -> None:
    """With what else to type."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"answered at 127.0.0.1, port {port}: ") as refused:
            run(line().deployment, clock=SystemClock(), metrics_port=port)

    assert "--metrics-port names another port" in refused.value.hint


def test_folders_that_cannot_be_written_are_named(line: Callable[..., Line]) -> None:
    """At the start, with whose business it is; a disk that fills up later heals."""
    made = line()
    made.deployment.data_dir.write_text("a file where a folder should be")

    with pytest.raises(Refused, match="cannot be written") as refused:
        run(made.deployment, clock=SystemClock())
    assert "folders.shards" in refused.value.hint


def test_metrics_are_read_from_where_they_are_asked_to_be() -> None:
    """On loopback by default; who connects and says nothing does not keep others waiting."""
    with (
        served(IngestMetrics(), 0, host="0.0.0.0") as port,
        socket.create_connection(("127.0.0.1", port or 0)),
    ):
        assert answer(f"http://127.0.0.1:{port}/livez") == (200, "alive\n")
        assert answer(f"http://127.0.0.1:{port}/metrics?probe=1")[0] == 200
    nowhere = "no-such-host.invalid"
    with pytest.raises(Refused, match=nowhere), served(IngestMetrics(), 0, host=nowhere):
        pass


@pytest.mark.long
@pytest.mark.promise("S7")
def test_a_member_without_a_partition_stands_by_and_is_ready(
    line: Callable[..., Line], tmp_path: Path
) -> None:
    """A group may have more members than partitions: the one in reserve is as it should be, and a
    supervisor must not restart it.
    """
    made = line()
    made.values["kafka"]["assignment"] = "group"
    config = written(made, tmp_path)
    port = ("--metrics-port", "0")
    with program(config, *port) as first, program(config, *port) as second:
        urls = [f"http://127.0.0.1:{started(each)['port']}/readyz" for each in (first, second)]
        both = [(200, "ready\n"), (200, "standby\n")]
        wait_until(lambda: sorted(answer(url) for url in urls) == both)


def started(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stderr is not None
    found: dict[str, Any] = json.loads(process.stderr.readline())
    return found


@pytest.mark.promise("S12")
def test_shards_that_are_being_committed_are_no_standstill(
    line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come out of one turn of the loop, and however long each takes."""
    made = line()
    made.feed(range(10), step_ms=MINUTE_MS)
    elapsed = [0.0]
    metrics = IngestMetrics()
    monkeypatch.setattr("streaming.metrics.monotonic_seconds", lambda: elapsed[0])
    made.catch_up()
    metrics.turned()
    for footer in made.footers():
        elapsed[0] += 40.0
        assert metrics.is_alive
        metrics.committed(footer)

    elapsed[0] += 60.0
    assert not metrics.is_alive


def test_the_program_can_end_when_it_has_caught_up(
    line: Callable[..., Line], tmp_path: Path
) -> None:
    """For cron, and for scripts that want the shards now."""
    made = line()
    made.feed(range(30), start_ms=NOON_MS + MINUTE_MS)
    with program(written(made, tmp_path), "--until-caught-up") as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    assert all(json.loads(each)["level"] == "info" for each in errors.splitlines())
    assert made.holds_every_event_once()


def test_a_mistake_gets_a_message_and_a_hint_and_no_traceback(tmp_path: Path) -> None:
    """Exit code 2 where an operator must act."""
    with program(tmp_path / "none.yaml") as process:
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert f"error: there is no file {tmp_path / 'none.yaml'}" in errors
    assert "hint: " in errors
    assert "Traceback" not in errors


@pytest.mark.long
def test_ingest_starts_without_what_it_does_not_need() -> None:
    """No torch, no index, no scheduler in the daemon; no Kafka client in the offline path."""
    check = "import sys, {}; print([m for m in {} if m in sys.modules])"
    for module, forbidden in (
        ("streaming.commands", ["torch", "faiss", "apscheduler", "fastapi", "jgo"]),
        ("streaming.offline", ["kafka", "torch"]),
        ("twintide.datafile", ["kafka", "torch"]),
    ):
        code = check.format(module, forbidden)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]", module

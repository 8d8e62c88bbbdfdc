"""Workers end when they are told to and with their master, and only they are replaced."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serving.metrics import COUNTED, sweep_counted

SCRIPT = """
import os, signal, sys, tempfile, threading
from pathlib import Path
from serving import workers
from twintide.telemetry import configure_logging

configure_logging(as_json=True)
workers.AGAIN_SECONDS = 0.01

def ready():
    os.write(1, b"ready ")
    threading.Event().wait()

"""
ASKED_AT_EACH_START = """
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
workers.Workers(6, ready, later=ready).run()
"""
A_STRANGER_ENDS = """
told, tell = os.pipe()
stranger = os.fork()
if not stranger:
    os.read(told, 1)
    os._exit(0)
once = Path(tempfile.mkdtemp()) / "once"

def work():
    if once.exists():
        once.unlink()
        once.parent.rmdir()
        os.kill(os.getppid(), signal.SIGTERM)
        threading.Event().wait()
    once.touch()
    os.write(tell, b"x")
    try:
        while True:
            os.kill(stranger, 0)
            os.sched_yield()
    except ProcessLookupError:
        sys.exit(3)

try:
    workers.Workers(1, work, later=work).run()
finally:
    os.write(1, b"master ended")
"""


def started(script: str) -> subprocess.Popen[str]:
    """What it starts holds stdout too: that ends with the last of them."""
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def events(log: str) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [(line["event"], line["worker"]) for line in lines]


def test_workers_that_are_just_being_started_end_too() -> None:
    """A SIGTERM right after a fork, when a worker has no handler of its own yet."""
    process = started(ASKED_AT_EACH_START)
    try:
        process.communicate(timeout=20)
    finally:
        process.kill()

    assert process.returncode == 0


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_master(ending: signal.Signals) -> None:
    """However that ends: nothing goes on answering that nobody can end."""
    process = started("workers.Workers(2, ready, later=ready).run()")
    assert process.stdout is not None
    assert process.stdout.read(len("ready ready ")) == "ready ready "

    process.send_signal(ending)
    process.communicate(timeout=20)

    assert process.returncode == (0 if ending == signal.SIGINT else -ending)


def test_only_a_worker_is_replaced_however_it_ended() -> None:
    """PID 1 of a container is handed children that it never started. A worker that raises
    SystemExit ends there, and not in what its master had still to do.
    """
    process = started(A_STRANGER_ENDS)
    output, log = process.communicate(timeout=20)

    (first, worker), ended, (last, _) = events(log)
    assert ended == ("worker_ended", worker)
    assert first == last == "worker_started"
    assert output == "master ended"


def test_a_master_that_is_told_to_end_takes_no_connection_any_more() -> None:
    """What comes while workers finish is refused, and does not wait for nobody."""
    script = (
        'workers.Workers(2, ready, later=ready, ending=lambda: os.write(1, b"ending ")).run()\n'
        'os.write(1, b"ended")'
    )
    process = started(script)
    assert process.stdout is not None
    assert process.stdout.read(len("ready ready ")) == "ready ready "

    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)

    assert said == "ending ended"


def test_what_killed_masters_have_counted_is_swept(tmp_path: Path) -> None:
    """A folder of a process that runs stays, and so does what is called otherwise."""
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for name in (f"{COUNTED}{ended}-x", f"{COUNTED}{os.getpid()}-x", f"{COUNTED}x-y", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "counter.db").write_bytes(b"x")

    sweep_counted(tmp_path)

    left = {f"{COUNTED}{os.getpid()}-x", f"{COUNTED}x-y", "other"}
    assert {path.name for path in tmp_path.iterdir()} == left

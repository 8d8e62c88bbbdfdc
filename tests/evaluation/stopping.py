"""An evaluation as a program of two processes, and a signal on its way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.console.conftest import ROOT

COMMAND = [sys.executable, "-m", "console", "evaluate", "clicks.parquet", "--processes", "2"]
COMMAND += ["--policy", "nightly", "--policy", "popular-1h"]


def stopped(
    folder: Path, percent: int, by: signal.Signals, *, timeout_seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """It gets the signal once it has said that it came so far. Who outlives it holds its output
    open, until the time-out.
    """
    with subprocess.Popen(
        COMMAND,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if f" {percent} %" in line:
                process.send_signal(by)
                break
        out, err = process.communicate(timeout=timeout_seconds)
    return subprocess.CompletedProcess(COMMAND, process.returncode, out, err)


def gone_on(folder: Path) -> subprocess.CompletedProcess[str]:
    """The same asked again, to its end."""
    return subprocess.run(
        COMMAND, cwd=folder, env=_environment(), capture_output=True, text=True, check=True
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}

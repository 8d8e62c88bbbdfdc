"""The Kafka that pip brings, on a machine that has never had it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "from streaming.local_kafka import find_jars; print(len(find_jars().split(':')))"


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_programs_that_fetch_kafka_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    """As the workers of a test run do on a fresh machine: one fetches, the others wait for it."""
    settings = os.environ | {"HOME": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    programs = [
        subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]

    found = [program.communicate()[0].strip() for program in programs]

    assert [program.returncode for program in programs] == [0, 0, 0]
    assert len(set(found)) == 1
    assert int(found[0]) > 40

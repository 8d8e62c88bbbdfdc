import io
import sys
from contextlib import suppress

import pytest

from twintide import telemetry


@pytest.mark.promise("S10")
def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies on the disk that is full, or nobody reads it any more."""
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), line_buffering=True)
    monkeypatch.setattr(sys, "stderr", full)
    telemetry.configure_logging()
    log = telemetry.get_log("test")
    log.info("written_to_a_full_disk")
    with suppress(OSError):  # of what is still in its buffer
        full.close()
    log.info("written_to_nobody")

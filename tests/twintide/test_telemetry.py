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


class Writes(io.StringIO):
    """A stream that remembers each write apart, as a file does that is not buffered."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []

    def write(self, text: str) -> int:
        self.made.append(text)
        return len(text)


def test_a_line_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the lines of several workers, which share a file, end up within each other."""
    stream = Writes()
    monkeypatch.setattr(sys, "stderr", stream)
    telemetry.configure_logging()
    telemetry.get_log("test").info("worker_started", worker=7)

    assert [text.count("\n") for text in stream.made] == [1]
    assert stream.made[0].endswith("\n")

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.streaming.line import Line, new_line
from twintide import telemetry


@pytest.fixture
def line(kafka: str, tmp_path: Path) -> Callable[..., Line]:
    """What makes a line with a topic of its own."""

    def make(*, partitions: int = 1) -> Line:
        topic = f"clicks-{uuid4().hex[:8]}"
        return new_line(kafka, topic, tmp_path / "data", partitions=partitions)

    return make


@pytest.fixture(autouse=True)
def json_logs() -> None:
    telemetry.configure_logging()

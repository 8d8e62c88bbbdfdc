from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from tests.streaming.line import Line, new_line
from tests.streaming.secured import SecuredKafka, secured_kafka
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


@pytest.fixture
def logged() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """The events of a name that the log has had so far."""
    with capture_logs() as lines:
        yield lambda name: [dict(each) for each in lines if each["event"] == name]


@pytest.fixture(scope="session")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker whose disk a test may touch, and that listens in every way."""
    with secured_kafka(tmp_path_factory.mktemp("own")) as broker:
        yield broker

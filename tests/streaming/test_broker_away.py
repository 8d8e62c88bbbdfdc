import socket
import threading
from pathlib import Path
from uuid import uuid4

import pytest

from streaming.client import create_topic
from streaming.local_kafka import LocalKafka
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, deployment_values, wait_until
from twintide import telemetry
from twintide.clock import HeldClock, from_unix_ms
from twintide.errors import Retryable


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.promise("S7")
@pytest.mark.long
def test_a_broker_that_comes_late_or_is_killed_costs_no_event(tmp_path: Path) -> None:
    """The daemon starts before any broker answers, and outlives one that dies and comes back."""
    telemetry.configure_logging()
    topic = f"clicks-{uuid4().hex[:8]}"
    broker = LocalKafka(tmp_path / "kafka", port=free_port())
    section = {"bootstrap_servers": [broker.bootstrap], "topic": topic, "assignment": "all"}
    line = Line(deployment_values(tmp_path / "data", kafka=section), partitions=2)
    clock = HeldClock(from_unix_ms(NOON_MS + 60 * MINUTE_MS))
    with line.running(clock), broker:
        create_topic(broker.bootstrap, topic, partitions=2)
        line.feed(range(50))
        wait_until(lambda: line.stored() == line.fed)
        broker.kill()
        broker.restart()
        clock.advance(120)
        line.feed(range(50, 100), start_ms=NOON_MS + 2 * MINUTE_MS)
        wait_until(lambda: line.stored() == line.fed)

    assert line.holds_every_event_once()


@pytest.mark.long
def test_a_run_that_shall_end_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a broker it says where it looked, and what to do; no attempt leaves a thread behind,
    for a night without a broker is thousands of attempts.
    """
    threads = threading.active_count()
    monkeypatch.setattr("streaming.daemon._GIVE_UP_SECONDS", 0.0)
    nowhere = f"127.0.0.1:{free_port()}"
    section = {"bootstrap_servers": [nowhere]}
    line = Line(deployment_values(tmp_path / "data", kafka=section), partitions=1)

    with pytest.raises(Retryable, match=nowhere) as failed:
        line.catch_up()
    assert "bootstrap_servers" in failed.value.hint
    assert threading.active_count() == threads

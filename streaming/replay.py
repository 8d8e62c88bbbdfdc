"""Feed a data file into the topic, in event-time order, at the pace it had or at once."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from streaming.client import create_topic
from streaming.produce import ROWS_AT_ONCE, sending
from twintide.clock import Clock, monotonic_seconds
from twintide.config import Deployment
from twintide.datafile import read_data
from twintide.errors import Refused

_TICK_MS = 200


@dataclass(frozen=True)
class ReplayProgress:
    """How far a replay has come."""

    sent: int
    events: int
    at: datetime
    """Event time of the last one sent."""


@dataclass(frozen=True)
class ReplaySummary:
    """What a replay did."""

    events: int
    seconds: float


def replay(
    deployment: Deployment,
    data: Path,
    *,
    speed: float | None,
    clock: Clock,
    on_progress: Callable[[ReplayProgress], None] | None = None,
    partitions: int = 3,
    stop: threading.Event | None = None,
) -> ReplaySummary:
    """Send the events of a Parquet, CSV or JSONL file to the topic, making it where it is missing.

    `speed`: 1.0 takes as long as the events took, 60.0 a sixtieth of it, None no longer than it
    must. Each message is stamped with its event time. `partitions` counts only for a new topic.
    Raises Refused for a file that is missing or does not fit `events`.
    """
    if speed is not None and speed <= 0:
        raise Refused(f"a replay cannot run at speed {speed}", hint="1.0 is as it happened")
    started_at = monotonic_seconds()
    events = read_data(deployment, data)
    kafka = deployment.kafka
    create_topic(kafka, kafka.topic, partitions=partitions)
    sent = 0
    with sending(kafka, kafka.topic, schema=deployment.events) as send:
        for rows in _paced(events, deployment, speed, clock=clock, stop=stop or threading.Event()):
            send(rows)
            sent += len(rows)
            if on_progress is not None:
                at = rows[deployment.events.time][-1].as_py()
                on_progress(ReplayProgress(sent=sent, events=len(events), at=at))
    return ReplaySummary(events=sent, seconds=monotonic_seconds() - started_at)


def _paced(
    events: pa.Table,
    deployment: Deployment,
    speed: float | None,
    *,
    clock: Clock,
    stop: threading.Event,
) -> Iterator[pa.Table]:
    """Runs of rows, each handed out when its last event is due."""
    if speed is None:
        for start in range(0, len(events), ROWS_AT_ONCE):
            if stop.is_set():
                return
            yield events.slice(start, ROWS_AT_ONCE)
        return
    times_ms = np.asarray(events[deployment.events.time].cast(pa.int64()), np.int64)
    began_at = clock.now()
    done = 0
    while done < len(events):
        passed_ms = (clock.now() - began_at).total_seconds() * 1000 * speed
        due = int(np.searchsorted(times_ms, times_ms[0] + passed_ms, side="right"))
        if due > done:
            yield events.slice(done, min(due, done + ROWS_AT_ONCE) - done)
            done = min(due, done + ROWS_AT_ONCE)
        elif stop.wait(_TICK_MS / 1000):
            return

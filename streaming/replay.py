"""Feed a data file into the topic, in event-time order, at the pace it had or at once.

Each event goes in once: a receipt beside the shards says how much of which file is in which topic.
A replay that ended early goes on where it was, a file that is in is refused.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from streaming import topics
from streaming.client import create_topic
from streaming.produce import ROWS_AT_ONCE, Encoder, sending
from streaming.receipts import Receipt, Receipts, count_in_log, digest_of
from streaming.topics import Topic
from twintide.clock import Clock, from_unix_ms, has_come, iso, monotonic_seconds
from twintide.config import Deployment
from twintide.datafile import null_columns, read_data
from twintide.errors import Refused
from twintide.events import EARLIEST_MS
from twintide.records import Position

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
    """Events of the file that are in the topic now."""

    of: int
    """Events that the file has; more than `events` where the replay was stopped."""

    before: int
    """Those of `events` that an earlier, interrupted replay had sent."""

    null_columns: tuple[str, ...]
    """Columns that are null in every event of the file."""

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
    again: bool = False,
) -> ReplaySummary:
    """Send the events of a data file to the topic, making it where it is missing.

    `speed`: 1.0 takes as long as the events took, 60.0 a sixtieth of it, None no longer than it
    must. Each message is stamped with its event time. `partitions` counts only for a new topic.
    `again` sends what is in the topic already once more.

    Raises Refused for a file that is missing, does not fit `events` or is in the topic already, and
    for a topic that would not keep the events with their times.
    """
    if speed is not None and speed <= 0:
        raise Refused(f"a replay cannot run at speed {speed}", hint="1.0 is as it happened")
    began = monotonic_seconds()
    kafka, schema = deployment.kafka, deployment.events
    events = read_data(deployment, data)
    _check_times(events[schema.time], data, clock)
    create_topic(kafka, kafka.topic, partitions=partitions)
    receipts = Receipts(deployment.ledger_dir, kafka.topic)
    with receipts.alone():
        topic = topics.look_at(kafka)
        topics.check_keeps(topic, events[schema.time][0].as_py(), now=clock.now())
        receipt = _receipt(deployment, events, topic, receipts, data, again=again, clock=clock)
        torn, left = _left(deployment, events, receipt, topic)
        before = len(events) - len(torn) - len(left)
        receipts.write(receipt)  # a crash from here on leaves messages that the log can tell of
        with sending(kafka, kafka.topic, schema=schema) as send:
            # Whatever the pace, since a receipt counts events from the first on.
            receipt = _after(receipt, send(torn), sent=len(events) - len(left))
            receipts.write(receipt)
            for rows in _paced(
                left, deployment, speed, clock=clock, stop=stop or threading.Event()
            ):
                receipt = _after(receipt, send(rows), sent=receipt.sent + len(rows))
                receipts.write(receipt)
                if on_progress is not None:
                    at = rows[schema.time][-1].as_py()
                    on_progress(ReplayProgress(sent=receipt.sent, events=len(events), at=at))
    return ReplaySummary(
        events=receipt.sent,
        of=len(events),
        before=before,
        null_columns=tuple(null_columns(events)),
        seconds=monotonic_seconds() - began,
    )


def _check_times(times: pa.ChunkedArray, data: Path, clock: Clock) -> None:
    """Raises Refused where ingest would not believe an event's time as a stamp of Kafka's."""
    first_at, last_at = times[0].as_py(), times[-1].as_py()
    if first_at < from_unix_ms(EARLIEST_MS):
        raise Refused(
            f"{data} begins at {iso(first_at)}, and a stamp of Kafka's before 2000 counts as none",
            hint="`twintide evaluate` reads it; a replay needs events from 2000 on",
        )
    if not has_come(last_at, clock):
        raise Refused(
            f"{data} ends at {iso(last_at)}, which has not come yet",
            hint="is `data_file.times` or `time_zone` right? or leave out what lies ahead",
        )


def _receipt(
    deployment: Deployment,
    events: pa.Table,
    topic: Topic,
    receipts: Receipts,
    data: Path,
    *,
    again: bool,
    clock: Clock,
) -> Receipt:
    """That of an earlier replay that was interrupted, or a fresh one."""
    encoder = Encoder(deployment.events, len(topic.ends))
    digest = digest_of(value for _, _, value, _ in encoder.messages(events))
    found = receipts.find(digest, topic_id=topic.id)
    if found is not None and not again:
        if found.is_complete:
            raise Refused(
                f"{topic.name} holds the {found.events:,} events of {data} already: {found.source} "
                f"was replayed at {iso(found.at)}",
                hint="--again sends them once more, and each then counts twice",
            )
        if len(found.ends) != len(topic.ends):
            raise Refused(
                f"{topic.name} had {len(found.ends)} partitions when the replay of {data} was "
                f"interrupted, and has {len(topic.ends)}: users' places have changed",
                hint="replay into another topic; or --again sends all of it once more",
            )
        return found
    return Receipt(
        topic=topic.name,
        topic_id=topic.id,
        digest=digest,
        source=str(data),
        events=len(events),
        sent=0,
        ends=topic.ends,
        at=clock.now(),
    )


def _after(receipt: Receipt, ends: Position, *, sent: int) -> Receipt:
    return receipt.model_copy(update={"sent": sent, "ends": receipt.ends | ends})


def _left(
    deployment: Deployment, events: pa.Table, receipt: Receipt, topic: Topic
) -> tuple[pa.Table, pa.Table]:
    """The events that are not in the topic: the rest of the rows that a crash tore, of which some
    came in before a receipt could say so, and all behind them.
    """
    if receipt.sent == 0 and receipt.ends == topic.ends:
        return events.slice(0, 0), events
    torn = events.slice(receipt.sent, ROWS_AT_ONCE)
    places = defaultdict(list)
    expected = defaultdict(list)
    encoder = Encoder(deployment.events, len(topic.ends))
    for index, (partition, _, value, _) in enumerate(encoder.messages(torn)):
        places[partition].append(index)
        expected[partition].append(value)
    found = count_in_log(deployment.kafka, receipt.ends, topic.ends, expected)
    is_left = np.ones(len(torn), np.bool_)
    for partition, count in found.items():
        is_left[places[partition][:count]] = False
    if is_left.all():
        return events.slice(0, 0), events.slice(receipt.sent)
    return torn.filter(pa.array(is_left)), events.slice(receipt.sent + len(torn))


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

"""Real shards without Kafka: a table of events is cut and committed as ingest would have done.

For evaluation in virtual time and for tests of what comes after. Nothing here imports Kafka.
"""

from datetime import datetime

import numpy as np
import pyarrow as pa

from streaming.content import content_of_rows, with_coordinates
from streaming.cutter import Cut, PartitionCutter
from streaming.messages import Int64s, Messages
from streaming.writer import publish
from twintide.clock import from_unix_ms
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.events import LATEST_MS
from twintide.keys import keys_of
from twintide.layout import make_ready
from twintide.shards import Ledger, Watermark


def write_shards(
    deployment: Deployment,
    events: pa.Table,
    *,
    partitions: int = 1,
    complete_until: datetime | None = None,
) -> None:
    """Append events, sorted by time, to the shards as if Kafka had stored each at its event time.

    A user's events share a partition. Offsets go on where the shards end, so that a stream may be
    written hour by hour. Afterwards every partition's watermark says that all is there up to
    `complete_until`, by default the last event's time.
    """
    schema = deployment.events
    events = events.select(list(schema.columns)).cast(schema.arrow_schema()).combine_chunks()
    times_ms = _times_ms(events, schema.time)
    if np.any(np.diff(times_ms) < 0):
        raise Refused("events must be sorted by time", hint="`twintide.datafile.read_data` does it")
    make_ready(deployment.shards_dir)
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    of_partition = keys_of(events[schema.user]) % np.uint64(partitions)
    for partition in range(partitions):
        own = events if partitions == 1 else events.filter(pa.array(of_partition == partition))
        _append(deployment, ledger, own, partition=partition, partitions=partitions)
    if complete_until is None and len(events):
        complete_until = from_unix_ms(int(times_ms[-1]))
    if complete_until is not None:
        for partition in range(partitions):
            _publish_watermark(ledger, partition, complete_until, partitions=partitions)


def _append(
    deployment: Deployment, ledger: Ledger, events: pa.Table, *, partition: int, partitions: int
) -> None:
    """Cut and commit the events of one partition."""
    before = ledger.take_up(partition)
    first = 0 if before is None else before.next
    end = first + len(events)
    times_ms = _times_ms(events, deployment.events.time)
    rows = Messages(np.arange(first, end), end, times_ms, range(len(events)), bytes=0)
    cutter = PartitionCutter(partition, deployment.shards, first=first, before=before)
    no_wall_clock = from_unix_ms(LATEST_MS)  # virtual time: an event is never ahead of it
    for cut in cutter.add(rows, no_wall_clock):
        _commit(deployment, ledger, cut, events, partitions=partitions)
    last = cutter.flush()
    if last is not None:
        _commit(deployment, ledger, last, events, partitions=partitions)


def _commit(
    deployment: Deployment, ledger: Ledger, cut: Cut, events: pa.Table, *, partitions: int
) -> None:
    rows = with_coordinates(
        events.slice(cut.runs[0].values[0], len(cut)),
        deployment.events,
        cut.partition,
        offsets=np.concatenate([run.offsets for run in cut.runs]),
        times_ms=np.concatenate([run.times_ms for run in cut.runs]),
    )
    content = content_of_rows(rows)
    fingerprint = deployment.events.fingerprint()
    publish(ledger, cut, content, partitions=partitions, fingerprint=fingerprint)


def _publish_watermark(
    ledger: Ledger, partition: int, complete_until: datetime, *, partitions: int
) -> None:
    newest = ledger.newest(partition)
    ledger.publish_watermark(
        Watermark(
            topic=ledger.topic,
            partition=partition,
            next=0 if newest is None else newest.next,
            complete_until=complete_until,
            partitions=partitions,
        )
    )


def _times_ms(events: pa.Table, time: str) -> Int64s:
    return np.asarray(events[time].combine_chunks().cast(pa.int64()), np.int64)

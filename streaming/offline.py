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

_NO_WALL_CLOCK = from_unix_ms(LATEST_MS)
"""In virtual time: an event is never ahead of it."""


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
    times_ms = times_of(events, schema.time)
    if np.any(np.diff(times_ms) < 0):
        raise Refused("events must be sorted by time", hint="`twintide.datafile.read_data` does it")
    make_ready(deployment.shards_dir)
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    of_partition = keys_of(events[schema.user]) % np.uint64(partitions)
    for partition in range(partitions):
        own = events if partitions == 1 else events.filter(pa.array(of_partition == partition))
        appender = Appender(deployment, ledger, partition, partitions=partitions)
        appender.add(own)
        appender.finish()
    if complete_until is None and len(events):
        complete_until = from_unix_ms(int(times_ms[-1]))
    if complete_until is not None:
        for partition in range(partitions):
            _publish_watermark(ledger, partition, complete_until, partitions=partitions)


class Appender:
    """Cuts the events of one partition and commits each cut, from where its shards end on."""

    def __init__(
        self, deployment: Deployment, ledger: Ledger, partition: int, *, partitions: int
    ) -> None:
        before = ledger.take_up(partition)
        self.next = 0 if before is None else before.next
        """Behind the last event that is in a shard."""

        self._deployment = deployment
        self._ledger = ledger
        self._partitions = partitions
        self._fingerprint = deployment.events.fingerprint()
        self._cutter = PartitionCutter(partition, deployment.shards, first=self.next, before=before)
        self._open = deployment.events.arrow_schema().empty_table()
        """What has been added and is in no shard."""

    def add(self, events: pa.Table) -> None:
        """Take events that are in the schema's `arrow_schema()`, sorted by time, and no older than
        those before. Where they are divided into several calls makes no difference.
        """
        first = self._cutter.next
        end = first + len(events)
        times_ms = times_of(events, self._deployment.events.time)
        rows = Messages(np.arange(first, end), end, times_ms, range(len(events)), bytes=0)
        self._open = pa.concat_tables([self._open, events])
        for cut in self._cutter.add(rows, _NO_WALL_CLOCK):
            self._commit(cut)

    def finish(self) -> None:
        """Commit the shard that is open: nothing more comes at the moment."""
        last = self._cutter.flush()
        if last is not None:
            self._commit(last)

    def _commit(self, cut: Cut) -> None:
        rows = with_coordinates(
            self._open.slice(0, len(cut)).combine_chunks(),
            self._deployment.events,
            cut.partition,
            offsets=np.concatenate([run.offsets for run in cut.runs]),
            times_ms=np.concatenate([run.times_ms for run in cut.runs]),
        )
        publish(
            self._ledger,
            cut,
            content_of_rows(rows),
            partitions=self._partitions,
            fingerprint=self._fingerprint,
        )
        self._open = self._open.slice(len(cut))
        self.next = cut.next


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


def times_of(events: pa.Table, time: str) -> Int64s:
    """When each happened, Unix ms."""
    return np.asarray(events[time].combine_chunks().cast(pa.int64()), np.int64)

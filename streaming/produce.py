"""Events into Kafka: JSON objects, keyed by user, stamped with their event time.

A user's events share a partition, the one that Kafka's own clients would choose, and keep their
order in it. For replays, the demo and tests; a site has its own producer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
from kafka.partitioner.default import murmur2

from streaming.client import as_config, partitions_of, producer, translated
from twintide.clock import from_unix_ms
from twintide.columnpath import nested, paths_of
from twintide.config import KafkaConfig
from twintide.errors import Refused, Retryable
from twintide.events import EventSchema
from twintide.notation import YEAR_1971_MS
from twintide.records import Position

ROWS_AT_ONCE = 10_000

_MILLISECONDS = pa.timestamp("ms", tz="UTC")
_IN_UNIT: dict[str | None, Callable[[int], float]] = {
    "s": lambda ms: ms / 1000 if ms % 1000 else ms // 1000,
    "us": lambda ms: ms * 1000,
    "ns": lambda ms: ms * 1_000_000,
}

Send = Callable[[pa.Table], Position]


def produce(
    kafka: KafkaConfig | str,
    topic: str,
    events: pa.Table,
    *,
    schema: EventSchema,
    on_progress: Callable[[int], None] | None = None,
) -> int:
    """Send every event, in the order of the rows; returns how many, when the broker has them.

    `on_progress` gets the number sent so far. Raises Refused where there is no such topic,
    Retryable where the broker does not take them.
    """
    with sending(kafka, topic, schema=schema) as send:
        for start in range(0, len(events), ROWS_AT_ONCE):
            send(events.slice(start, ROWS_AT_ONCE))
            if on_progress is not None:
                on_progress(min(start + ROWS_AT_ONCE, len(events)))
    return len(events)


@contextmanager
def sending(kafka: KafkaConfig | str, topic: str, *, schema: EventSchema) -> Iterator[Send]:
    """Give a function that sends the rows of a table. It returns when the broker has them: the
    offsets behind the last message of each partition.
    """
    config = as_config(kafka)
    partitions = partitions_of(config, topic)
    if partitions == 0:
        raise Refused(f"Kafka has no topic {topic}", hint="streaming.client.create_topic makes it")
    failures: list[BaseException] = []
    encoder = Encoder(schema, partitions)
    with producer(config) as client:

        def send(events: pa.Table) -> Position:
            newest: dict[int, Any] = {}
            for partition, key, value, at_ms in encoder.messages(events):
                newest[partition] = client.send(
                    topic, value, key=key, partition=partition, timestamp_ms=at_ms
                ).add_errback(failures.append)
            client.flush()  # the client bounds no memory by itself
            if failures:
                raise Retryable(f"Kafka did not take an event: {failures[0]}")
            return {partition: sent.value.offset + 1 for partition, sent in newest.items()}

        with translated(config.bootstrap_servers):
            yield send


class Encoder:
    """Rows to messages as ingest reads them, nested where `events.paths` says so. A field without a
    value is left out.
    """

    def __init__(self, schema: EventSchema, partitions: int) -> None:
        self._schema = schema
        self._partitions = partitions
        self._of_user: dict[Any, tuple[bytes, int]] = {}
        self._event = _nested(schema) if schema.paths else _flat(schema)
        self._encode = msgspec.json.Encoder().encode

    def messages(self, events: pa.Table) -> Iterator[tuple[int, bytes | None, bytes, int]]:
        """(partition, key, value, Unix ms) of each row."""
        columns = {name: self._plain(events[name]) for name in self._schema.columns}
        rows = map(self._event, *columns.values())
        users = columns[self._schema.user]
        times = events[self._schema.time].cast(pa.int64()).to_pylist()
        for event, user, at_ms in zip(rows, users, times, strict=True):
            value = self._encode(event)
            key, partition = self._place(user, value)
            yield partition, key, value, at_ms

    def _plain(self, column: pa.ChunkedArray) -> list[Any]:
        """Python values as JSON has them: instants are numbers in the declared unit."""
        if not pa.types.is_timestamp(column.type):
            values: list[Any] = column.to_pylist()
            return values
        return [self._instant(ms) for ms in column.cast(_MILLISECONDS).cast(pa.int64()).to_pylist()]

    def _instant(self, ms: int | None) -> float | str | None:
        if ms is None or self._schema.times not in {None, "ms"}:
            return None if ms is None else _IN_UNIT[self._schema.times](ms)
        # Without a declared unit ingest reads no number as a time of 1970.
        is_sure = self._schema.times == "ms" or ms >= YEAR_1971_MS
        return ms if is_sure else from_unix_ms(ms).isoformat()

    def _place(self, user: Any, value: bytes) -> tuple[bytes | None, int]:
        """Key and partition: by hash of the user, or of the message where it has none. The place of
        a message depends on nothing but itself, so that a replay can go on where one was cut off.
        """
        if user is None:
            return None, self._partition_of(value)
        place = self._of_user.get(user)
        if place is None:
            key = str(user).encode()
            place = self._of_user[user] = (key, self._partition_of(key))
        return place

    def _partition_of(self, data: bytes) -> int:
        return int((murmur2(data) & 0x7FFFFFFF) % self._partitions)


def _flat(schema: EventSchema) -> Callable[..., Any]:
    """Makes a message of the values of its columns."""
    fields = [
        (f"c{index}", Any, msgspec.field(name=name, default=None))
        for index, name in enumerate(schema.columns)
    ]
    return msgspec.defstruct("Event", fields, omit_defaults=True, gc=False)


def _nested(schema: EventSchema) -> Callable[..., Any]:
    """The same where some lie in others' objects."""
    return partial(nested, tuple(paths_of(schema).values()))

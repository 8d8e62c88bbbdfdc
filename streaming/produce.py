"""Events into Kafka: JSON objects, keyed by user, stamped with their event time.

A user's events share a partition, the one that Kafka's own clients would choose, and keep their
order in it. For replays, the demo and tests; a site has its own producer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pyarrow as pa
from kafka.partitioner.default import murmur2

from streaming.client import as_config, partitions_of, producer, translated
from twintide.config import KafkaConfig
from twintide.errors import Refused, Retryable
from twintide.events import EventSchema

ROWS_AT_ONCE = 10_000

Send = Callable[[pa.Table], None]


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
    """Give a function that sends the rows of a table and returns when the broker has them."""
    config = as_config(kafka)
    partitions = partitions_of(config, topic)
    if partitions == 0:
        raise Refused(f"Kafka has no topic {topic}", hint="streaming.client.create_topic makes it")
    failures: list[BaseException] = []
    encoder = _Encoder(schema, partitions)
    with producer(config) as client:

        def send(events: pa.Table) -> None:
            for partition, key, value, at_ms in encoder.messages(events):
                client.send(
                    topic, value, key=key, partition=partition, timestamp_ms=at_ms
                ).add_errback(failures.append)
            client.flush()  # the client bounds no memory by itself
            if failures:
                raise Retryable(f"Kafka did not take an event: {failures[0]}")

        with translated(config.bootstrap_servers):
            yield send


class _Encoder:
    """Rows to messages. A field without a value is left out."""

    def __init__(self, schema: EventSchema, partitions: int) -> None:
        self._schema = schema
        self._partitions = partitions
        self._of_user: dict[Any, tuple[bytes, int]] = {}
        self._without_user = 0
        fields = [
            (f"c{index}", Any, msgspec.field(name=name, default=None))
            for index, name in enumerate(schema.columns)
        ]
        self._event = msgspec.defstruct("Event", fields, omit_defaults=True, gc=False)
        self._encode = msgspec.json.Encoder().encode

    def messages(self, events: pa.Table) -> Iterator[tuple[int, bytes | None, bytes, int]]:
        """(partition, key, value, Unix ms) of each row."""
        columns = {name: self._plain(events[name]) for name in self._schema.columns}
        rows = map(self._event, *columns.values())
        users, times = columns[self._schema.user], columns[self._schema.time]
        for event, user, at_ms in zip(rows, users, times, strict=True):
            key, partition = self._place(user)
            yield partition, key, self._encode(event), at_ms

    def _plain(self, column: pa.ChunkedArray) -> list[Any]:
        """Python values as JSON has them: instants are Unix milliseconds."""
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64())
        values: list[Any] = column.to_pylist()
        return values

    def _place(self, user: Any) -> tuple[bytes | None, int]:
        """Key and partition: by hash of the user; events without one go round."""
        if user is None:
            self._without_user += 1
            return None, self._without_user % self._partitions
        place = self._of_user.get(user)
        if place is None:
            key = str(user).encode()
            place = self._of_user[user] = (key, (murmur2(key) & 0x7FFFFFFF) % self._partitions)
        return place

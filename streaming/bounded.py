"""Reading a topic to where it ends now: nothing is committed, and no group is joined."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streaming.client import connection, opened, translated
from twintide.clock import monotonic_seconds
from twintide.config import KafkaConfig
from twintide.errors import Retryable

_SETTINGS = {
    "enable_auto_commit": False,
    "isolation_level": "read_committed",
    "metrics_enabled": False,
}


@contextmanager
def consumer(kafka: KafkaConfig) -> Iterator[Any]:
    """A consumer of kafka-python, closed with the block. Raises Retryable without a broker."""
    with translated(kafka.bootstrap_servers):
        made = opened(KafkaConsumer, kafka, connection(kafka) | _SETTINGS)
        try:
            yield made
        finally:
            made.close()


def places_of(reader: Any, topic: str) -> list[TopicPartition]:
    """The topic's partitions, in order."""
    partitions = reader.partitions_for_topic(topic) or set()
    return [TopicPartition(topic, each) for each in sorted(partitions)]


def messages_until(
    reader: Any, ends: Mapping[TopicPartition, int], *, silent_seconds: float
) -> Iterator[Any]:
    """Messages from where the reader stands until it stands behind all ends, perhaps some more.

    Raises Retryable where none has come for so long.
    """
    left, heard_at = list(ends), monotonic_seconds()
    while left := [each for each in left if reader.position(each) < ends[each]]:
        polled = reader.poll(timeout_ms=500)
        if polled:
            heard_at = monotonic_seconds()
        elif monotonic_seconds() - heard_at > silent_seconds:
            raise Retryable(
                f"topic {left[0].topic} was not read to its end: nothing came for "
                f"{silent_seconds:.0f} s",
                hint="are all of its partitions led?",
            )
        for messages in polled.values():
            yield from messages

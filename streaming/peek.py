"""A look at the newest messages of a topic, for whoever does not know yet what is in them. Nothing
is committed, and no group is joined.
"""

from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streaming.client import connection, opened, translated
from streaming.topics import look_at
from twintide.clock import monotonic_seconds
from twintide.config import KafkaConfig
from twintide.errors import Retryable

SILENT_SECONDS = 10.0
"""So long without a message before the end, and the look is given up."""

_SETTINGS = {
    "enable_auto_commit": False,
    "isolation_level": "read_committed",
    "metrics_enabled": False,
}


def newest(kafka: KafkaConfig, *, count: int) -> list[bytes]:
    """The values of about `count` messages, or of all that there are: as many of each partition,
    its newest. Raises Refused where there is no such topic, Retryable where nobody answers.
    """
    look_at(kafka, hint="`--topic` names one that your events are sent to")
    with translated(kafka.bootstrap_servers):
        consumer = opened(KafkaConsumer, kafka, connection(kafka) | _SETTINGS)
        try:
            return _read(consumer, kafka.topic, count)
        finally:
            consumer.close()


def _read(consumer: Any, topic: str, count: int) -> list[bytes]:
    partitions = consumer.partitions_for_topic(topic) or set()
    places = [TopicPartition(topic, each) for each in sorted(partitions)]
    begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
    consumer.assign(places)
    for each in places:
        consumer.seek(each, max(begins[each], ends[each] - -(-count // len(places))))
    values: list[bytes] = []
    left, heard_at = places, monotonic_seconds()
    while left := [each for each in left if consumer.position(each) < ends[each]]:
        polled = consumer.poll(timeout_ms=500)
        values += [one.value for of in polled.values() for one in of if one.value is not None]
        if polled:
            heard_at = monotonic_seconds()
        elif monotonic_seconds() - heard_at > SILENT_SECONDS:
            raise Retryable(
                f"topic {topic} was not read to its end: nothing came for {SILENT_SECONDS:.0f} s",
                hint="are all of its partitions led?",
            )
    return values[:count]

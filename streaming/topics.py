"""What a topic does to the messages that come in: whether a replay into it would mean something.

A replayed event must keep its own time as its stamp, and must stay until ingest has read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from streaming.client import admin
from twintide.clock import iso
from twintide.config import KafkaConfig
from twintide.errors import Refused
from twintide.records import Position

_BEFORE = ("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms")
_ALTER = "kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {change}"


@dataclass(frozen=True)
class Topic:
    """A topic as it is now."""

    name: str
    id: str
    ends: Position
    settings: Mapping[str, str]


def look_at(kafka: KafkaConfig, *, hint: str = "`twintide replay` makes it") -> Topic:
    """The topic that is named. Raises Refused where there is none, Retryable without a broker."""
    name = kafka.topic
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    with admin(kafka) as client:
        if name not in client.list_topics():
            raise Refused(f"Kafka has no topic {name}", hint=hint)
        about = client.describe_topics([name])[0]
        partitions = [TopicPartition(name, each["partition_index"]) for each in about["partitions"]]
        ends = client.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
        settings = client.describe_configs([resource], config_filter="all")["topic"][name]
    return Topic(
        name=name,
        id=str(about["topic_id"]),
        ends={each.partition: at.offset for each, at in ends.items()},
        settings={key: str(setting["value"]) for key, setting in settings.items()},
    )


def check_keeps(topic: Topic, first_at: datetime, *, now: datetime) -> None:
    """Raises Refused where the topic would stamp events with another time than their own, would
    not take their stamps, or would delete them before they are read.
    """
    if topic.settings.get("message.timestamp.type") == "LogAppendTime":
        raise _refused(
            topic,
            "stamps each message with the time at which it comes in, so that all of history would "
            "happen now",
            "message.timestamp.type=CreateTime",
        )
    age = now - first_at
    for key in _BEFORE:
        if age > _length(topic.settings.get(key)):
            raise _refused(topic, f"takes no stamp as old as {iso(first_at)}", f"{key}={2**63 - 1}")
    policy = topic.settings.get("cleanup.policy", "delete")
    if "compact" in policy:
        raise _refused(topic, "keeps only the newest event of a user", "cleanup.policy=delete")
    if age > _length(topic.settings.get("retention.ms")):
        raise _refused(
            topic,
            f"deletes events as old as {iso(first_at)} before they are read",
            "retention.ms=-1",
        )


def _refused(topic: Topic, what: str, change: str) -> Refused:
    return Refused(
        f"the topic {topic.name} {what}",
        hint=f"`{_ALTER.format(topic=topic.name, change=change)}`, or replay into another topic",
    )


def _length(milliseconds: str | None) -> timedelta:
    """How long a setting says; -1 and what is not set are for ever."""
    ms = int(milliseconds) if milliseconds else -1
    longest = timedelta.max // timedelta(milliseconds=1)
    return timedelta.max if ms < 0 or ms > longest else timedelta(milliseconds=ms)

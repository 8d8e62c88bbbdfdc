"""Where the logs of a topic end: asked once and briefly, for whoever only wants to look."""

import socket
from collections.abc import Sequence

from kafka import TopicPartition
from kafka.admin import OffsetSpec

from streaming.client import admin
from twintide.config import KafkaConfig
from twintide.errors import Retryable

_KNOCK_SECONDS = 1.0


def log_ends(config: KafkaConfig, *, timeout_seconds: float = 3.0) -> dict[int, int]:
    """Partition -> the offset that its next message will get, of each that has a leader; {} where
    there is no such topic.

    Raises Retryable where no broker answers soon, Refused where it does not let us in.
    """
    _knock(config.bootstrap_servers)
    with admin(config, timeout_seconds=timeout_seconds) as client:
        if config.topic not in client.list_topics():
            return {}
        (topic,) = client.describe_topics([config.topic])
        wanted = {
            TopicPartition(config.topic, each["partition_index"]): OffsetSpec.LATEST
            for each in topic["partitions"]
            if each["leader_id"] >= 0
        }
        found = client.list_partition_offsets(wanted, timeout_ms=round(timeout_seconds * 1000))
    return {each.partition: end.offset for each, end in found.items()}


def _knock(servers: Sequence[str]) -> None:
    """The client would try for seconds; that nobody listens is known at once."""
    for server in servers:
        host, _, port = server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
        except OSError:
            continue
        return
    raise Retryable(
        f"no broker answers at {', '.join(servers)}",
        hint="is it up, and is kafka.bootstrap_servers right? `twintide broker` starts a local one",
    )

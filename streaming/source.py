"""The click stream as it comes out of Kafka: messages by partition, and which partitions are ours.

Callbacks of a rebalance run on the client's I/O thread, where anything that blocks would leave a
consumer that consumes nothing: they only enqueue, and `poll` tells the main loop what they said
together with the messages. Where reading begins is for the caller to say, with `seek`; no offset
that the group has committed and no default of the client ever moves a position.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from streaming import blocks
from streaming.client import connection, opened, translated
from streaming.messages import Messages, messages_of
from twintide.config import KafkaConfig
from twintide.telemetry import get_log

_MAX_BLOCKS = 32
_MAX_RECORDS = 5000
_ANSWER_MS = 5000
_STRAYED = (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError)


@dataclass(frozen=True)
class Polled:
    """What one look at the stream gave."""

    gone: frozenset[int]
    """Partitions that are not ours any more."""

    fresh: frozenset[int]
    """Partitions that nobody has said yet where to read from."""

    strayed: frozenset[int]
    """Partitions whose log does not hold the position that was said."""

    messages: tuple[tuple[int, Messages], ...]
    """(partition, messages), in offset order within a partition."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka has no types
    """Writes down what a rebalance says, and nothing else: see above."""

    def __init__(self) -> None:
        self.said: deque[tuple[str, frozenset[int]]] = deque()

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self.said.append(("assigned", _numbers(assigned)))

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self.said.append(("revoked", _numbers(revoked)))

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self.said.append(("revoked", _numbers(lost)))


class Source:
    """One consumer of the topic; a context manager. Raises Retryable where no broker answers."""

    def __init__(self, config: KafkaConfig, *, takes_all: bool) -> None:
        """`takes_all`: read every partition, without a group."""
        self.topic = config.topic
        self.takes_all = takes_all
        self._servers = config.bootstrap_servers
        self._listener = _Listener()
        self._owned: frozenset[int] = frozenset()
        with translated(self._servers):
            self._consumer = opened(KafkaConsumer, **_settings(config, takes_all=takes_all))
        self._in_blocks = blocks.install(self._consumer)
        if not self._in_blocks:
            get_log("ingest").warning(
                "block_path_missing", effect="polls plainly, four times slower"
            )
        if not takes_all:
            self._consumer.subscribe([self.topic], listener=self._listener)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the group and hang up, within two seconds."""
        self._consumer.close(autocommit=False, timeout_ms=2000)

    def partitions(self) -> int:
        """How many the topic has; 0 where there is no such topic. Raises Retryable."""
        with translated(self._servers):
            return len(self._consumer.partitions_for_topic(self.topic))

    def poll(self, *, timeout_seconds: float) -> Polled:
        """Messages, and what became of the partitions since the last call. Raises Retryable."""
        fetched: Mapping[Any, list[Any]] = {}
        strayed: frozenset[int] = frozenset()
        with translated(self._servers):
            try:
                fetched = self._fetch(timeout_seconds)
            except kafka_errors.NoOffsetForPartitionError:
                pass  # of a partition that a rebalance has just brought: it is fresh, see below
            except _STRAYED as error:
                strayed = _partitions_of(error)
        gone, fresh = self._heard()
        unsure = gone | fresh | strayed
        return Polled(
            gone=gone,
            fresh=fresh,
            strayed=(strayed & self._owned) - fresh,
            messages=tuple(
                (partition.partition, messages)
                for partition, batch in fetched.items()
                if partition.partition not in unsure
                for messages in self._as_messages(batch)
            ),
        )

    def seek(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        # A rebalance may have taken it in this moment: then the next poll says so.
        with contextlib.suppress(ValueError, KeyError):
            self._consumer.seek(self._of(partition), offset)

    def position(self, partition: int) -> int:
        """Offset that is read next, behind all that was handed out; -1 where it is not known."""
        try:
            with translated(self._servers):
                offset = self._consumer.position(self._of(partition), timeout_ms=_ANSWER_MS)
        except (kafka_errors.NoOffsetForPartitionError, kafka_errors.IllegalStateError):
            return -1
        # A rebalance is announced before it changes positions, and then takes them from the group.
        return -1 if offset is None or self._listener.said else int(offset)

    def is_at_end(self, partition: int) -> bool:
        """Whether the last answer of the broker left nothing to read."""
        try:
            end = self._consumer.highwater(self._of(partition))
        except (kafka_errors.IllegalStateError, KeyError):  # a rebalance has just taken it
            return False
        return end is not None and self.position(partition) >= end

    def begins(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition -> the oldest offset that its log still holds. Raises Retryable."""
        wanted = [self._of(partition) for partition in partitions]
        with translated(self._servers):
            found = self._consumer.beginning_offsets(wanted, timeout_ms=_ANSWER_MS)
        return {partition.partition: offset for partition, offset in found.items()}

    def ends(self, partitions: Iterable[int]) -> dict[int, int]:
        """Partition -> the offset that its next message will get. Raises Retryable."""
        wanted = [self._of(partition) for partition in partitions]
        with translated(self._servers):
            found = self._consumer.end_offsets(wanted, timeout_ms=_ANSWER_MS)
        return {partition.partition: offset for partition, offset in found.items()}

    def tell_group(self, positions: Mapping[int, int]) -> None:
        """Commit positions, for lag dashboards alone: nothing here reads them, so nobody waits for
        the answer and a rebalance in between is no error.
        """
        if self.takes_all or not positions:
            return
        self._consumer.commit_async(
            {
                self._of(partition): OffsetAndMetadata(position, "", -1)
                for partition, position in positions.items()
            }
        )

    def _fetch(self, timeout_seconds: float) -> Mapping[Any, list[Any]]:
        if self.takes_all and self._takes_new_partitions():
            return {}
        found: Mapping[Any, list[Any]] = self._consumer.poll(
            timeout_ms=round(timeout_seconds * 1000),
            max_records=_MAX_BLOCKS if self._in_blocks else _MAX_RECORDS,
        )
        return found

    def _takes_new_partitions(self) -> bool:
        """Assign every partition that the topic has by now; with a new one, all begin afresh."""
        known = frozenset(self._consumer.partitions_for_topic(self.topic))
        if known == self._owned:
            return False
        self._consumer.assign([self._of(partition) for partition in known])
        self._listener.said.append(("revoked", self._owned))
        self._listener.said.append(("assigned", known))
        return True

    def _heard(self) -> tuple[frozenset[int], frozenset[int]]:
        """Partitions gone and partitions fresh, after everything the callbacks have said."""
        owned, fresh = set(self._owned), set[int]()
        while self._listener.said:
            what, partitions = self._listener.said.popleft()
            if what == "assigned":
                owned |= partitions
                fresh |= partitions
            else:
                owned -= partitions
                fresh -= partitions
        gone = self._owned - owned
        self._owned = frozenset(owned)
        return gone, frozenset(fresh)

    def _as_messages(self, batch: list[Any]) -> list[Messages]:
        if self._in_blocks:
            return batch
        return [
            messages_of(
                np.array([record.offset for record in batch], np.int64),
                batch[-1].offset + 1,
                np.array([record.timestamp for record in batch], np.int64),
                [record.value for record in batch],
            )
        ]

    def _of(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)


def _partitions_of(error: Exception) -> frozenset[int]:
    """Partitions that the client names in a complaint about their position."""
    return _numbers(getattr(error, "divergent_offsets", None) or error.args[0])


def _numbers(partitions: Iterable[Any]) -> frozenset[int]:
    return frozenset(partition.partition for partition in partitions)


def _settings(config: KafkaConfig, *, takes_all: bool) -> dict[str, Any]:
    session_ms = round(config.session_timeout_seconds * 1000)
    return connection(config) | {
        "group_id": None if takes_all else config.group,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",  # anything else skips deleted messages without a word
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": max(100, session_ms // 3),
        "request_timeout_ms": max(10_000, session_ms + 5_000),
        "fetch_max_wait_ms": 250,
        "metadata_max_age_ms": 30_000,  # a new partition is seen within this
        "metrics_enabled": False,
    }

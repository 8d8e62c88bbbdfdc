"""The click stream as it comes out of Kafka: messages by partition, and which partitions are ours.

Callbacks of a rebalance run on the client's I/O thread, where anything that blocks would leave a
consumer that consumes nothing: they only enqueue, and `poll` tells the main loop what they said
together with the messages. Where reading begins is for the caller to say, with `seek`; no offset
that the group has committed and no default of the client ever moves a position.
"""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from streaming import blocks
from streaming.ask import Asker, Said, TopicState
from streaming.blocks import Block
from streaming.client import connection, opened, raise_if_unreachable, translated
from twintide.clock import monotonic_seconds
from twintide.config import KafkaConfig
from twintide.errors import Retryable

_MAX_BLOCKS = 32
_LOOK_FOR_COORDINATOR_MS = 50
_AWAY_SECONDS = 5.0
_FETCH_BYTES = 16 * 1024 * 1024
"""Of one answer of a broker: what is fetched and not yet taken is held beside open shards."""

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

    blocks: tuple[Block, ...]
    """In offset order within a partition; what is wrong with a partition, its block says."""


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
        self.takes_all = takes_all
        self.has_joined = takes_all
        """Whether the group has said what is ours; that may be nothing."""

        self._name = config.topic
        self._servers = config.bootstrap_servers
        self._listener = _Listener()
        self._owned: frozenset[int] = frozenset()
        with translated(self._servers):
            self._consumer = opened(KafkaConsumer, config, _settings(config, takes_all=takes_all))
        try:
            blocks.install(self._consumer)
            _fetch_without_coordinator(self._consumer)
            self._asker = Asker(self._consumer._client, config.topic)  # noqa: SLF001  see streaming.ask
            self._confirm_at_first(config)
        except BaseException:
            self.close()
            raise
        if not takes_all:
            self._consumer.subscribe([config.topic], listener=self._listener)

    def _confirm_at_first(self, config: KafkaConfig) -> None:
        try:
            self._asker.confirm()
        except Retryable:  # a broker told us of the others; do those let us in?
            raise_if_unreachable(config, self._asker.addresses())
            raise

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

    @property
    def topic(self) -> TopicState:
        """What the topic is, as of the last answer."""
        return self._asker.topic

    @property
    def owned(self) -> frozenset[int]:
        """Partitions that are ours, as of the last poll."""
        return self._owned

    def poll(self, *, timeout_seconds: float) -> Polled:
        """Messages, and what became of the partitions since the last call. Raises Retryable."""
        if self._asker.refusal is not None:
            raise self._asker.refusal
        fetched: Mapping[Any, list[Block]] = {}
        strayed: frozenset[int] = frozenset()
        if self.takes_all:
            self._take_new_partitions()
        with translated(self._servers):
            try:
                fetched = self._consumer.poll(
                    timeout_ms=round(timeout_seconds * 1000), max_records=_MAX_BLOCKS
                )
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
            blocks=tuple(
                block
                for partition, batch in fetched.items()
                if partition.partition not in unsure
                for block in batch
            ),
        )

    def read_from(self, partition: int, offset: int) -> None:
        """Read on from `offset`."""
        # A rebalance may have taken it in this moment: then the next poll says so.
        with contextlib.suppress(ValueError, KeyError):
            self._consumer.seek(self._of(partition), offset)
            self._consumer.resume(self._of(partition))

    def hold(self, partition: int) -> None:
        """Read nothing of it until `read_from` says where: the others go on."""
        with contextlib.suppress(ValueError, KeyError):
            # Any position: a poll raises, for all, where one partition has none.
            self._consumer.seek(self._of(partition), 0)
            self._consumer.pause(self._of(partition))

    def is_at_end(self, partition: int, position: int) -> bool:
        """Whether the last answer of the broker left nothing to read behind `position`."""
        try:
            end = self._consumer.highwater(self._of(partition))
        except (kafka_errors.IllegalStateError, KeyError):  # a rebalance has just taken it
            return False
        return end is not None and position >= end

    def ask(self, epochs: Mapping[int, int], *, at: datetime) -> None:
        """Ask what the logs of some partitions hold, and what the topic is; nobody waits.

        `epochs`: partition -> the leader epoch of what was read of it, -1 where it is not known.
        """
        self._asker.ask(epochs, at=at)

    def heard(self) -> Iterator[Said]:
        """Answers that have come since the last call."""
        return self._asker.heard()

    def confirm(self, partition: int, *, since: float) -> TopicState:
        """What the topic is now, or was at some time after `since` (monotonic seconds). Raises
        Retryable where nobody answers.
        """
        return self._asker.confirm(partition, since=since)

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

    def _take_new_partitions(self) -> None:
        """Assign every partition that the topic has by now; those that were there read on."""
        known = frozenset(self.topic.leaders)
        if known <= self._owned:
            return
        self._consumer.assign([self._of(partition) for partition in known | self._owned])
        self._listener.said.append(("assigned", known - self._owned))

    def _heard(self) -> tuple[frozenset[int], frozenset[int]]:
        """Partitions gone and partitions fresh, after everything the callbacks have said."""
        owned, fresh = set(self._owned), set[int]()
        while self._listener.said:
            what, partitions = self._listener.said.popleft()
            if what == "assigned":
                self.has_joined = True
                owned |= partitions
                fresh |= partitions
            else:
                owned -= partitions
                fresh -= partitions
        gone = self._owned - owned
        self._owned = frozenset(owned)
        return gone, frozenset(fresh)

    def _of(self, partition: int) -> TopicPartition:
        return TopicPartition(self._name, partition)


def _fetch_without_coordinator(consumer: Any) -> None:
    """Let `consumer.poll()` fetch what is ours while the group's coordinator is away: by itself it
    fetches nothing then. Claims keep out whoever owns a partition no longer without knowing it.

    Only once it has been away for some seconds: whoever joins a group, or moves to another
    coordinator, needs whole polls for that (one of ten members was left without partitions).
    """
    coordinator, own = consumer._coordinator, consumer._subscription  # noqa: SLF001  no other way
    poll = coordinator.poll
    known_at = monotonic_seconds()

    def polled(timeout_ms: float | None = None) -> bool:
        nonlocal known_at
        if not (coordinator.coordinator_unknown() and own.assigned_partitions()):
            known_at = monotonic_seconds()
        if monotonic_seconds() - known_at < _AWAY_SECONDS:
            return bool(poll(timeout_ms=timeout_ms))
        poll(timeout_ms=_LOOK_FOR_COORDINATOR_MS)
        return True

    coordinator.poll = polled


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
        "connections_max_idle_ms": max(540_000, session_ms + 60_000),
        "fetch_max_wait_ms": 250,
        "fetch_max_bytes": _FETCH_BYTES,
        "max_in_flight_requests_per_connection": 50,  # questions do not push fetches aside
        "metadata_max_age_ms": 30_000,  # a new partition is seen within this
        "metrics_enabled": False,
    }

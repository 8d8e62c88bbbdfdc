"""Questions to the brokers about a topic, partition by partition, that nobody has to wait for.

The client's own `end_offsets` raises for all where one partition has no leader, waits for a broker
that is away, and counts to the last stable offset, which hides what an open transaction holds back.
Here each leader is asked on its own, and each answer is heard when it comes.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kafka import errors as kafka_errors
from kafka.future import Future
from kafka.protocol.consumer import (
    IsolationLevel,
    ListOffsetsRequest,
    OffsetForLeaderEpochRequest,
    OffsetSpec,
)
from kafka.protocol.metadata import MetadataRequest

from twintide.clock import monotonic_seconds
from twintide.errors import Refused, Retryable

_ANSWER_MS = 3000
_NO_LEADER = -1
_UNKNOWN_EPOCH = -1


@dataclass(frozen=True)
class TopicState:
    """What the cluster says of a topic."""

    id: str | None
    """Made with the topic: one of the same name that is made anew has another. None before 2.8."""

    leaders: Mapping[int, int]
    """Partition -> the broker that leads it; -1 where none does."""

    asked_at: float
    """Monotonic seconds before the question was sent."""

    @property
    def partitions(self) -> int:
        """How many it has; 0 where there is no such topic."""
        return max(self.leaders, default=-1) + 1


@dataclass(frozen=True)
class LogState:
    """What the leader of a partition says of its log."""

    begin: int
    """The oldest offset that it still holds."""

    end: int
    """The offset that the next message will get."""

    stable: int
    """Where the oldest open transaction begins; `end` where none is open."""

    agrees_until: int | None
    """Up to where it holds what a leader of the asked epoch wrote; None where nobody asked."""


@dataclass(frozen=True)
class Said:
    """One partition's answer: its log, or why there is none."""

    partition: int
    at: datetime
    """When it was asked for, as the caller said."""

    log: LogState | None
    why: str = ""


class Asker:
    """Asks on the client's own connections; its I/O thread writes the answers down."""

    def __init__(self, client: Any, topic: str) -> None:
        self._manager = client._manager  # noqa: SLF001  the way to a chosen broker's connection
        self._topic = topic
        self._said: deque[Said] = deque()
        self._confirmed: dict[int, TopicState] = {}
        """Broker -> what it has said itself when it was asked to confirm."""

        self.topic = TopicState(id=None, leaders={}, asked_at=0.0)
        """As of the last answer."""

        self.refusal: Refused | None = None
        """What the cluster said of the topic, where that is for an operator."""

    def ask(self, epochs: Mapping[int, int], *, at: datetime) -> None:
        """Ask for the logs of some partitions: `heard` tells every one's answer, within seconds.

        `epochs`: partition -> the leader epoch of what was read of it, -1 where it is not known.
        """
        self._manager.call_soon(self._ask_all, dict(epochs), at)

    def heard(self) -> Iterator[Said]:
        """Answers that have come since the last call."""
        while self._said:
            yield self._said.popleft()

    def confirm(self, partition: int | None = None, *, since: float | None = None) -> TopicState:
        """What the topic is now, of the partition's leader first: it is the one that sent what was
        read. `since`: an answer that was asked for after that monotonic instant will do.

        Raises Retryable where nobody says, Refused where nobody may.
        """
        leader = self.topic.leaders.get(-1 if partition is None else partition, _NO_LEADER)
        known = self._confirmed.get(leader)
        if known is not None and since is not None and known.asked_at >= since:
            return known
        try:
            found: TopicState = self._manager.run(self._learn_topic, leader)
        except kafka_errors.KafkaError as error:
            raise Retryable(
                f"no broker of {', '.join(self.addresses())} says what topic {self._topic} is: "
                f"{error}",
                hint="are they up, and can they be reached under these names from here "
                "(advertised.listeners)?",
            ) from error
        if self.refusal is not None:
            raise self.refusal
        if leader != _NO_LEADER:
            self._confirmed[leader] = found
        return found

    def addresses(self) -> list[str]:
        """host:port of every broker that the cluster names."""
        return [f"{each.host}:{each.port}" for each in self._manager.cluster.brokers()]

    # On the client's I/O thread.

    async def _ask_all(self, epochs: dict[int, int], at: datetime) -> None:
        try:
            await self._learn_topic(_NO_LEADER)
        except Exception as error:  # noqa: BLE001  whatever it was, every partition has its answer
            self._silent(epochs, at, f"no broker answers: {error}")
            return
        led = defaultdict[int, list[int]](list)
        for partition in epochs:
            leader = self.topic.leaders.get(partition)
            if leader is None:
                self._silent([partition], at, "the topic has no such partition")
            elif leader == _NO_LEADER:
                self._silent([partition], at, "no broker leads it")
            else:
                led[leader].append(partition)
        for leader, partitions in led.items():
            own = {partition: epochs[partition] for partition in partitions}
            self._manager.call_soon(self._ask_leader, leader, own, at)

    async def _learn_topic(self, first: int) -> TopicState:
        """Raises KafkaError where no broker answers."""
        asked_at = monotonic_seconds()
        request = MetadataRequest(
            topics=[MetadataRequest.MetadataRequestTopic(name=self._topic)],
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
        )
        answer = None
        if first != _NO_LEADER:
            with suppress(kafka_errors.KafkaError):
                answer = await self._answer(first, request)
        if answer is None:
            nodes = [broker.node_id for broker in self._manager.cluster.brokers()]
            answer = await self._first_answer(nodes, request)
        return self._note(answer.topics[0], asked_at)

    def _note(self, said: Any, asked_at: float) -> TopicState:
        error = kafka_errors.for_code(said.error_code)
        if error in {kafka_errors.TopicAuthorizationFailedError, kafka_errors.InvalidTopicError}:
            self.refusal = Refused(
                f"Kafka refuses topic {self._topic}: {error.__name__}",
                hint="mend kafka.topic, or let the user of `kafka` describe and read it",
            )
            return self.topic
        self.refusal = None
        self.topic = TopicState(
            id=None if said.topic_id is None else str(said.topic_id),
            leaders={each.partition_index: each.leader_id for each in said.partitions},
            asked_at=asked_at,
        )
        return self.topic

    async def _ask_leader(self, leader: int, epochs: dict[int, int], at: datetime) -> None:
        try:
            said = await self._logs(leader, epochs, at)
        except Exception as error:  # noqa: BLE001  whatever it was, every partition has its answer
            self._silent(epochs, at, f"its leader, broker {leader}, does not answer: {error}")
            return
        self._said.extend(said.values())
        unsaid = epochs.keys() - said.keys()
        self._silent(unsaid, at, f"its leader, broker {leader}, says nothing of it")

    async def _logs(self, leader: int, epochs: Mapping[int, int], at: datetime) -> dict[int, Said]:
        known = {partition: epoch for partition, epoch in epochs.items() if epoch >= 0}
        pending = [
            self._send(leader, self._offsets_request(epochs, spec, isolation))
            for spec, isolation in (
                (OffsetSpec.EARLIEST, IsolationLevel.READ_UNCOMMITTED),
                (OffsetSpec.LATEST, IsolationLevel.READ_UNCOMMITTED),
                (OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED),
            )
        ]
        if known:
            pending.append(self._send(leader, self._epochs_request(known)))
        begins, ends, stables = [_by_partition(await self._within(each)) for each in pending[:3]]
        agreed = {}
        if known:
            agreed = _by_partition(await self._within(pending[3]), key="partition")
        return {
            partition: _one_log(
                partition,
                at,
                begin=begins[partition],
                end=ends[partition],
                stable=stables[partition],
                agreed=agreed.get(partition),
            )
            for partition in begins
            if partition in ends and partition in stables
        }

    def _offsets_request(self, partitions: Iterable[int], spec: int, isolation: int) -> Any:
        of_topic = ListOffsetsRequest.ListOffsetsTopic
        wanted = [
            of_topic.ListOffsetsPartition(
                partition_index=partition, current_leader_epoch=_UNKNOWN_EPOCH, timestamp=spec
            )
            for partition in partitions
        ]
        return ListOffsetsRequest(
            isolation_level=isolation,
            topics=[of_topic(name=self._topic, partitions=wanted)],
            min_version=2,
        )

    def _epochs_request(self, epochs: Mapping[int, int]) -> Any:
        of_topic = OffsetForLeaderEpochRequest.OffsetForLeaderTopic
        wanted = [
            of_topic.OffsetForLeaderPartition(
                partition=partition, current_leader_epoch=_UNKNOWN_EPOCH, leader_epoch=epoch
            )
            for partition, epoch in epochs.items()
        ]
        return OffsetForLeaderEpochRequest(
            replica_id=-1, topics=[of_topic(topic=self._topic, partitions=wanted)]
        )

    def _send(self, node: int, request: Any) -> Any:
        return self._manager.send(request, node_id=node)

    async def _within(self, pending: Any) -> Any:
        return await self._manager.wait_for(pending, _ANSWER_MS)

    async def _answer(self, node: int, request: Any) -> Any:
        return await self._within(self._send(node, request))

    async def _first_answer(self, nodes: list[int], request: Any) -> Any:
        """Of whichever broker answers first: one that is frozen must not hold up the others."""
        first = Future()
        failures: list[Exception] = []

        def answered(response: Any) -> None:
            if not first.is_done:
                first.success(response)

        def failed(error: Exception) -> None:
            failures.append(error)
            if len(failures) == len(nodes) and not first.is_done:
                first.failure(error)

        for node in nodes:
            try:
                pending = self._send(node, request)
            except kafka_errors.KafkaError as error:
                failed(error)
                continue
            pending.add_callback(answered)
            pending.add_errback(failed)
        return await self._within(first)

    def _silent(self, partitions: Iterable[int], at: datetime, why: str) -> None:
        self._said.extend(Said(partition, at, None, why) for partition in partitions)


def _by_partition(response: Any, *, key: str = "partition_index") -> dict[int, Any]:
    return {getattr(each, key): each for topic in response.topics for each in topic.partitions}


def _one_log(
    partition: int, at: datetime, *, begin: Any, end: Any, stable: Any, agreed: Any | None
) -> Said:
    for said in (begin, end, stable, agreed):
        if said is not None and said.error_code:
            error = kafka_errors.for_code(said.error_code)
            return Said(partition, at, None, f"its leader says {error.__name__}")
    agrees_until = None if agreed is None else int(agreed.end_offset)
    log = LogState(begin.offset, end.offset, stable.offset, agrees_until=agrees_until)
    return Said(partition, at, log)

"""What a site sends in a soak: numbered events, and now and then what no site should send."""

import json
import random
import threading
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from tests.soak.fast_clock import FastClock
from twintide.clock import to_unix_ms

EVENTS = {
    "columns": {"id": "int64", "user": "string", "item": "string", "at": "timestamp_ms"},
    "user": "user",
    "item": "item",
    "time": "at",
}
_GARBAGE = (
    b"",
    b"null",
    b"{",
    b'{"id": 1}',
    b'{"id": 1, "user": "x", "item": "y", "at": "soon"}',
    b'{"id": 1, "user": "x", "item": "forged", "at": 1700000000000',
    b'"item": "forged"}',
    b"\xff\xfe",
    b"[" * 3000,
)


class Stream(threading.Thread):
    """Sends until it is stopped; what it is told to get wrong, it gets wrong."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        clock: FastClock,
        *,
        partitions: int,
        per_minute: float,
        seed: int,
    ) -> None:
        super().__init__(name="stream", daemon=True)
        self.topic = topic
        self.partitions = partitions
        self.stamps: dict[int, Any] = {}
        """Partition -> what its producers make of an instant's Unix milliseconds, where wrong."""

        self.sent = 0
        self.failed = 0
        self._servers = bootstrap
        self._clock = clock
        self._per_minute = per_minute
        self._random = random.Random(seed)
        self._stopping = threading.Event()

    def run(self) -> None:
        """A tick is 50 ms of the machine."""
        with _producer(self._servers) as producer:
            before = self._clock.right()
            owed = 0.0
            while not self._stopping.wait(0.05):
                now = self._clock.right()
                owed += self._per_minute * (now - before).total_seconds() / 60
                before = now
                while owed >= 1:
                    owed -= 1
                    self._send(producer, now)
            producer.flush()

    def stop(self) -> None:
        self._stopping.set()
        self.join(60)

    def transaction(self, partition: int, count: int, *, name: str) -> Any:
        """The producer of a transaction that has sent `count` events, and waits for its end."""
        producer = KafkaProducer(
            bootstrap_servers=self._servers, transactional_id=name, max_block_ms=15_000
        )
        try:
            producer.init_transactions()
            producer.begin_transaction()
            for _ in range(count):
                value = self._event(self._clock.right())
                stamp = to_unix_ms(self._clock.right())
                producer.send(self.topic, value, partition=partition, timestamp_ms=stamp)
            producer.flush(timeout=15)
        except KafkaError:
            producer.close(timeout=0)
            raise
        return producer

    def _send(self, producer: Any, now: datetime) -> None:
        partition = self._random.randrange(self.partitions)
        draw = self._random.random()
        value: bytes | None
        if draw < 0.003:
            value = self._random.choice(_GARBAGE)
        elif draw < 0.006:
            value = None
        else:
            value = self._event(now)
        at_ms = to_unix_ms(now)
        wrong = self.stamps.get(partition)
        stamp = wrong(at_ms) if wrong and self._random.random() < 0.3 else at_ms
        producer.send(
            self.topic, value, key=b"k", partition=partition, timestamp_ms=stamp
        ).add_errback(self._count_failure)

    def _event(self, now: datetime) -> bytes:
        late_ms = self._random.randrange(3 * 3_600_000) if self._random.random() < 0.02 else 0
        self.sent += 1
        return json.dumps(
            {
                "id": self.sent,
                "user": f"u{self._random.randrange(200)}",
                "item": f"i{min(int(self._random.paretovariate(0.8)), 120)}",
                "at": to_unix_ms(now) - late_ms,
            }
        ).encode()

    def _count_failure(self, _: BaseException) -> None:
        self.failed += 1


def everything_in(
    bootstrap: str, topic: str, partitions: int
) -> dict[tuple[int, int], bytes | None]:
    """(partition, offset) -> value of every message that a consumer may see: the truth."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False
    )
    found: dict[tuple[int, int], bytes | None] = {}
    try:
        consumer.assign(places)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(places)
        while any(consumer.position(place) < ends[place] for place in places):
            for batch in consumer.poll(timeout_ms=500).values():
                found |= {(each.partition, each.offset): each.value for each in batch}
    finally:
        consumer.close()
    return found


class _producer:  # noqa: N801  reads as a function
    def __init__(self, bootstrap: str) -> None:
        self._client = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20)

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close(timeout=20)

"""One topic with its deployment, as tests of ingest use it: feed it, read its shards."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from kafka import KafkaProducer

from streaming.client import connection, create_topic
from streaming.daemon import IngestSummary, run
from twintide import config
from twintide.clock import Clock, SystemClock
from twintide.config import Deployment
from twintide.shards import Ledger, ShardFooter, read_shard

NOON_MS = 1_700_049_600_000
"""2023-11-15T12:00:00Z."""

MINUTE_MS = 60_000

EVENTS = {
    "columns": {
        "id": "int64",
        "user": "string",
        "item": "string",
        "at": "timestamp_ms",
        "price": "float64",
        "liked": "bool",
        "tags": "list<string>",
        "codes": "list<int64>",
    },
    "user": "user",
    "item": "item",
    "time": "at",
}


def deployment_values(data_dir: Path, **sections: Any) -> dict[str, Any]:
    """A configuration as YAML would give it."""
    model = {
        "query": [{"kind": "sparse", "name": "user", "column": "user", "table": "user"}],
        "candidate": [{"kind": "sparse", "name": "item", "column": "item", "table": "item"}],
    }
    return {"data_dir": str(data_dir), "events": EVENTS, "model": model, **sections}


def event(number: int, at_ms: int) -> bytes:
    fields = {"id": number, "user": f"u{number % 7}", "item": f"i{number % 11}", "at": at_ms}
    return json.dumps({**fields, "price": number / 2}).encode()


def wait_until(holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Return as soon as `holds`; fail when it never does."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        pause.wait(0.02)


@dataclass
class Line:
    """A topic, what was fed into it, and the deployment that ingests it."""

    values: dict[str, Any]
    partitions: int
    fed: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(partition, id) of every good event."""

    @property
    def deployment(self) -> Deployment:
        return config.parse(self.values, name="test")

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.deployment.shards_dir, self.deployment.kafka.topic)

    def with_shards(self, **changes: Any) -> "Line":
        self.values["shards"] = {**self.values.get("shards", {}), **changes}
        return self

    @contextmanager
    def producer(self, **settings: Any) -> Iterator[KafkaProducer]:
        # A flush waits for no linger; what one call feeds is one batch also on a busy machine.
        settings = {"linger_ms": 1000, **settings}
        producer = KafkaProducer(**connection(self.deployment.kafka), **settings)
        try:
            yield producer
            producer.flush()
        finally:
            producer.close(timeout=10)

    def feed(
        self,
        ids: Iterable[int],
        *,
        start_ms: int = NOON_MS,
        step_ms: int = 1000,
        batch_bytes: int = 16_384,
    ) -> None:
        """Good events, round the partitions, one every `step_ms` of broker and event time."""
        with self.producer(batch_size=batch_bytes) as producer:
            for index, number in enumerate(ids):
                at_ms = start_ms + index * step_ms
                partition = index % self.partitions
                self.send(producer, event(number, at_ms), at_ms=at_ms, partition=partition)
                self.fed[partition, number] += 1

    def feed_raw(self, messages: Iterable[bytes | None], *, at_ms: int = NOON_MS) -> None:
        """Whatever bytes, into partition 0; the good ones among them are not counted."""
        with self.producer() as producer:
            for message in messages:
                self.send(producer, message, at_ms=at_ms, partition=0)

    def send(
        self, producer: KafkaProducer, message: bytes | None, *, at_ms: int, partition: int
    ) -> None:
        topic = self.deployment.kafka.topic
        key = b"k" if message is None else None
        producer.send(topic, message, key=key, partition=partition, timestamp_ms=at_ms)

    def catch_up(self, clock: Clock | None = None, **options: Any) -> IngestSummary:
        return run(self.deployment, clock=clock or SystemClock(), until_caught_up=True, **options)

    def run_until_it_ends(self, *, seconds: float = 30.0) -> IngestSummary:
        """The daemon, until it ends by itself."""
        stop = threading.Event()
        alarm = threading.Timer(seconds, stop.set)
        alarm.start()
        try:
            return run(self.deployment, clock=SystemClock(), stop=stop)
        finally:
            alarm.cancel()
            alarm.join()

    @contextmanager
    def running(self, clock: Clock) -> Iterator[None]:
        """The daemon, in a thread, until the block ends."""
        stop = threading.Event()
        failures: list[BaseException] = []

        def target() -> None:
            try:
                run(self.deployment, clock=clock, stop=stop)
            except BaseException as error:
                failures.append(error)
                raise

        thread = threading.Thread(target=target)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=20)
        assert not thread.is_alive()
        assert not failures

    def footers(self, partition: int | None = None) -> list[ShardFooter]:
        """In ledger order."""
        footers = [name.footer() for name in self.ledger.names()]
        return [each for each in footers if partition in (None, each.partition)]

    def rows(self) -> pa.Table:
        tables = [read_shard(name.path) for name in self.ledger.names()]
        return pa.concat_tables([self.deployment.events.shard_schema().empty_table(), *tables])

    def stored(self) -> Counter[tuple[int, int]]:
        """(partition, id) of every row in the shards."""
        rows = self.rows()
        return Counter(
            zip(rows["kafka_partition"].to_pylist(), rows["id"].to_pylist(), strict=True)
        )

    def offsets(self) -> Counter[tuple[int, int]]:
        """(partition, offset) of every row in the shards."""
        rows = self.rows()
        return Counter(
            zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True)
        )

    def holds_every_event_once(self) -> bool:
        once = max(self.offsets().values(), default=1) == 1
        return self.stored() == self.fed and once and self.ledger.check() == []


def new_line(kafka: str, topic: str, data_dir: Path, *, partitions: int = 1) -> Line:
    """A fresh topic; its daemon takes every partition, so that it is back at once."""
    create_topic(kafka, topic, partitions=partitions)
    kafka_section = {"bootstrap_servers": [kafka], "topic": topic, "assignment": "all"}
    return Line(deployment_values(data_dir, kafka=kafka_section), partitions)

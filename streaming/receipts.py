"""What has been replayed into a topic: a receipt for each file, so that none goes in twice unasked.

A receipt is written before the first message and after each run of rows that the broker has. What a
crash leaves between the two is found in the log itself: the messages behind the receipt's offsets
are compared with those that were next.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from streaming.client import connection, opened, translated
from twintide.clock import monotonic_seconds
from twintide.config import KafkaConfig
from twintide.errors import Retryable
from twintide.files import exclusive_lock, publish_file
from twintide.records import Instant, Position, Record

_LOOK_SECONDS = 30.0


class Receipt(Record):
    """How much of a file is in a topic."""

    format: int = 1
    topic: str
    topic_id: str
    """A topic that was made anew under the same name holds nothing of the file."""

    digest: str
    """sha256 of the messages: the same for the same events in any format of file."""

    source: str
    """The file's path, for people."""

    events: int
    sent: int
    """Events from the first on that are in the topic for certain."""

    ends: Position
    """Where each partition's log ended then."""

    at: Instant

    @property
    def is_complete(self) -> bool:
        return self.sent == self.events


class Receipts:
    """The receipts of one topic."""

    def __init__(self, ledger_dir: Path, topic: str) -> None:
        self._folder = ledger_dir / "replays" / topic

    def find(self, digest: str, *, topic_id: str) -> Receipt | None:
        """That of these messages, unless the topic is another one by now."""
        path = self._path(digest)
        if not path.is_file():
            return None
        receipt = Receipt.from_json(path.read_bytes(), name=str(path))
        return receipt if receipt.topic_id == topic_id else None

    def write(self, receipt: Receipt) -> None:
        publish_file(self._path(receipt.digest), receipt.to_json())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises Retryable while another replay into the topic runs."""
        with exclusive_lock(self._folder / ".lock", who="a replay into this topic"):
            yield

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.json"


def digest_of(values: Iterator[bytes]) -> str:
    """sha256 of messages in order."""
    whole = hashlib.sha256()
    for value in values:
        whole.update(value + b"\n")
    return whole.hexdigest()


def count_in_log(
    kafka: KafkaConfig,
    begin: Position,
    end: Position,
    expected: Mapping[int, Sequence[bytes]],
) -> dict[int, int]:
    """How many of the expected messages of each partition are in its log between two offsets.

    They are there in order, perhaps with those of other producers between them.
    """
    wanted = {partition: at for partition, at in begin.items() if end[partition] > at}
    found = dict.fromkeys(begin, 0)
    if not wanted:
        return found
    partitions = [TopicPartition(kafka.topic, partition) for partition in wanted]
    deadline = monotonic_seconds() + _LOOK_SECONDS
    with translated(kafka.bootstrap_servers):
        consumer = opened(KafkaConsumer, kafka, connection(kafka) | {"enable_auto_commit": False})
        try:
            consumer.assign(partitions)
            for each in partitions:
                consumer.seek(each, wanted[each.partition])
            while any(consumer.position(each) < end[each.partition] for each in partitions):
                if monotonic_seconds() > deadline:
                    raise Retryable(f"the messages of {kafka.topic} cannot be read", hint="again")
                for each, messages in consumer.poll(timeout_ms=500).items():
                    own = expected.get(each.partition, ())
                    for message in messages:
                        next_one = found[each.partition]
                        if next_one < len(own) and message.value == own[next_one]:
                            found[each.partition] += 1
        finally:
            consumer.close(autocommit=False)
    return found

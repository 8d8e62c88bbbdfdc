import random
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streaming import blocks
from streaming.client import connection
from streaming.messages import Messages
from streaming.unpack import pieces_of
from tests.streaming.batches import packed
from tests.streaming.line import NOON_MS, Line, wait_until
from twintide.errors import Refused

Row = tuple[int, int, bytes | None]


@pytest.fixture
def mixed(line: Callable[..., Line]) -> Line:
    """Every codec, keys, headers, tombstones, large values, out-of-order times, transactions."""
    made = line()
    random_ = random.Random(1)
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        with made.producer(compression_type=codec, batch_size=20_000) as producer:
            send_some(producer, made, random_, total=400)
    with made.producer(transactional_id=made.deployment.kafka.topic) as producer:
        producer.init_transactions()
        for finish in ("commit", "abort", "commit", "abort"):
            producer.begin_transaction()
            send_some(producer, made, random_, total=40)
            producer.flush()  # an abort would otherwise drop what was not sent yet
            getattr(producer, f"{finish}_transaction")()
    return made


def send_some(producer: KafkaProducer, line: Line, random_: random.Random, *, total: int) -> None:
    topic = line.deployment.kafka.topic
    for number in range(total):
        size = 40_000 if number % 50 == 0 else random_.choice([0, 1, 90, 300])
        is_tombstone = number % 37 == 5
        producer.send(
            topic,
            None if is_tombstone else random_.randbytes(size),
            key=b"key" * random_.randrange(50) if is_tombstone or number % 3 else None,
            headers=[("h", b"x" * random_.randrange(200)), ("\u00e9", b"")] if number % 4 else [],
            partition=0,
            timestamp_ms=NOON_MS + random_.randrange(-(10**9), 10**9),
        )


def plain_rows(batch: list[Any]) -> list[Row]:
    return [(each.offset, each.timestamp, each.value) for each in batch]


def block_rows(batch: list[Any]) -> list[Row]:
    return [
        row
        for block in batch
        for each in block.messages()
        for row in zip(each.offsets.tolist(), each.times_ms.tolist(), each.values, strict=True)
    ]


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("isolation", "count"), [("read_committed", 2080), ("read_uncommitted", 2160)]
)
def test_the_block_path_gives_what_plain_poll_gives(
    mixed: Line, isolation: str, count: int
) -> None:
    """Offsets, times and values of every codec, with and without aborted transactions, from the
    beginning and from the middle of batches.
    """
    kafka = mixed.deployment.kafka
    partition = TopicPartition(kafka.topic, 0)
    settings = {**connection(kafka), "isolation_level": isolation, "auto_offset_reset": "none"}
    readers = [KafkaConsumer(**settings), KafkaConsumer(**settings)]
    blocks.install(readers[1])
    end = readers[0].end_offsets([partition])[partition]
    try:
        for start in (0, 17, 1500, 2041, end - 1):
            expected = drained(readers[0], partition, plain_rows, start=start, end=end)
            assert drained(readers[1], partition, block_rows, start=start, end=end) == expected
            assert start > 0 or len(expected) == count
    finally:
        for reader in readers:
            reader.close()


def one_piece(batch: DefaultRecordBatch) -> Messages:
    (piece,) = pieces_of(batch)
    return piece


def drained(
    reader: KafkaConsumer,
    partition: TopicPartition,
    rows_of: Callable[[list[Any]], list[Row]],
    *,
    start: int,
    end: int,
) -> list[Row]:
    rows: list[Row] = []
    reader.assign([partition])
    reader.seek(partition, start)

    def is_drained() -> bool:
        for batch in reader.poll(timeout_ms=100, max_records=100).values():
            rows.extend(rows_of(batch))
        return bool(reader.position(partition) >= end)

    wait_until(is_drained)
    return rows


def test_a_flipped_bit_in_a_batch_is_refused() -> None:
    """The CRC check of the client stays, and so does that of the framing."""
    sound = packed([b"value"] * 3)
    header = DefaultRecordBatch.HEADER_STRUCT.size
    refused = 0
    for position in range(header, len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0x80
        assert not DefaultRecordBatch(damaged).validate_crc()
        try:
            list(pieces_of(DefaultRecordBatch(damaged)))
        except CorruptRecordError:
            refused += 1
    assert refused > 0


def test_fields_of_every_width_are_read_as_the_client_reads_them() -> None:
    """Lengths, times and offsets just below and just above what one byte more can hold."""
    widths = [2 ** (7 * width - 1) + near for width in range(1, 9) for near in (-1, 0, 1)]
    offset, rows = 0, []
    for number, far in enumerate([0, *widths, 2**62, -(2**62)]):
        offset += min(far, 2**24) if far > 0 else 1
        value = None if number % 5 == 4 else b"v" * min(abs(far), 2**14)
        key = b"k" * min(abs(far), 2**14) if number % 2 else None
        rows.append((offset, NOON_MS + (far if number % 3 else -far), key, value))
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10_000_000,
    )
    for at, time_ms, key, value in rows:
        builder.append(at, timestamp=time_ms, key=key, value=value, headers=[("h", b"x" * 200)])
    sound = bytes(builder.build())

    read = one_piece(DefaultRecordBatch(sound))

    by_client = [(each.offset, each.timestamp, each.value) for each in DefaultRecordBatch(sound)]
    assert by_client == [(at, time_ms, value) for at, time_ms, _, value in rows]
    assert list(zip(read.offsets.tolist(), read.times_ms.tolist(), read.values, strict=True)) == (
        by_client
    )


def test_another_kafka_python_is_refused(
    line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the private seam is not as expected nothing is read: without it one damaged batch would
    stop every partition, and none would be named.
    """
    made = line()
    monkeypatch.setattr(Fetcher.PartitionRecords, "_unpack_records", print)

    with pytest.raises(Refused, match="kafka-python") as refused:
        made.catch_up()
    assert "constraints.txt" in refused.value.hint

"""Offsets that hold no message, and those that nobody may read yet."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streaming import questions, reader
from streaming.client import admin, connection
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, event, wait_until
from twintide.clock import HeldClock, from_unix_ms

NewLine = Callable[..., Line]
Logged = Callable[[str], list[dict[str, Any]]]
LATER = from_unix_ms(NOON_MS + 60 * MINUTE_MS)


@contextmanager
def transaction(line: Line, ids: range, *, ends: str) -> Iterator[KafkaProducer]:
    """Events of partition 0 that are sent, and nobody may read while the block runs."""
    with line.producer(transactional_id=f"{line.deployment.kafka.topic}-{ids.start}") as producer:
        producer.init_transactions()
        producer.begin_transaction()
        for number in ids:
            line.send(producer, event(number, NOON_MS), at_ms=NOON_MS, partition=0)
        producer.flush()
        last = readable_until(line, "read_uncommitted")
        yield producer
        getattr(producer, f"{ends}_transaction")()
    # Kafka answers before its marker stands in the log, and until then nobody may read on.
    wait_until(lambda: readable_until(line, "read_committed") > last)
    if ends == "commit":
        line.fed.update((0, number) for number in ids)


def readable_until(line: Line, isolation: str) -> int:
    """Where partition 0 ends for one who reads with this isolation level."""
    partition = TopicPartition(line.deployment.kafka.topic, 0)
    settings = {**connection(line.deployment.kafka), "isolation_level": isolation}
    with closing(KafkaConsumer(**settings)) as consumer:
        return int(consumer.end_offsets([partition])[partition])


def abort(line: Line, ids: range) -> None:
    with transaction(line, ids, ends="abort"):
        pass


def delete_before(line: Line, offset: int) -> None:
    with admin(line.deployment.kafka) as client:
        client.delete_records({TopicPartition(line.deployment.kafka.topic, 0): offset})


@pytest.mark.promise("S6")
def test_offsets_without_a_message_are_not_lost_data(line: NewLine) -> None:
    """What was aborted behind the last shard is behind us, also when retention has removed it."""
    made = line()
    made.feed(range(10))
    made.catch_up()
    abort(made, range(1000, 1020))
    made.catch_up()
    delete_before(made, 31)
    made.feed(range(10, 15), start_ms=NOON_MS + MINUTE_MS)
    made.catch_up()

    assert [(each.first, each.next, each.rows) for each in made.footers()] == [
        (0, 10, 10),
        (10, 31, 0),
        (31, 36, 5),
    ]
    assert made.holds_every_event_once()


@pytest.mark.promise("S6")
def test_the_daemon_makes_offsets_without_a_message_durable_once_a_minute(
    line: NewLine,
) -> None:
    """One shard without a message at once, and not one for each transaction that follows."""
    made = line()
    made.feed(range(10))
    clock = HeldClock(LATER)
    with made.running(clock):
        wait_until(lambda: made.stored() == made.fed)
        clock.advance(120)
        abort(made, range(1000, 1005))
        wait_until(lambda: made.footers()[-1].next == 16)
        abort(made, range(2000, 2005))
        made.feed(range(10, 15), start_ms=NOON_MS + MINUTE_MS)
        wait_until(lambda: made.stored() == made.fed)

    assert [(each.first, each.next, each.rows) for each in made.footers()] == [
        (0, 10, 10),
        (10, 16, 0),
        (16, 27, 5),
    ]


@pytest.mark.promise("S7")
def test_a_long_transaction_is_no_stall(
    line: NewLine,
    monkeypatch: pytest.MonkeyPatch,
    logged: Logged,
) -> None:
    """While it is open what lies behind it waits, and is said to wait; when it is aborted reading
    goes on where it was.
    """
    monkeypatch.setattr(reader, "STALLED_SECONDS", 1.0)
    monkeypatch.setattr(questions, "_LOOK_SECONDS", 0.2)
    made = line()
    made.feed(range(10))
    clock = HeldClock(LATER)
    with made.running(clock):
        wait_until(lambda: made.stored() == made.fed)
        clock.advance(120)
        with transaction(made, range(1000, 1050), ends="abort"):
            made.feed(range(10, 15), start_ms=NOON_MS + MINUTE_MS)
            wait_until(lambda: len(logged("transaction_open")) > 1)
        wait_until(lambda: made.stored() == made.fed)

    assert logged("transaction_open")[-1]["waiting"] == 55
    assert logged("partition_in_trouble") == logged("partition_dropped") == []
    assert made.holds_every_event_once()


@pytest.mark.promise("S6")
def test_what_waits_for_an_open_transaction_is_not_said_to_be_complete(
    line: NewLine, logged: Logged
) -> None:
    """A run that shall end stores what may be read, and says how much waits; it counts as lag, and
    no watermark is written before it is there.
    """
    made = line()
    made.feed(range(10))
    lags: list[int] = []
    with transaction(made, range(1000, 1020), ends="commit"):
        made.feed(range(10, 15))
        before = made.catch_up(on_progress=lambda progress: lags.append(progress.lag))
        assert made.ledger.watermarks() == {}
    after = made.catch_up()

    assert (before.rows, after.rows) == (10, 25)
    assert [each["waiting"] for each in logged("transaction_open")] == [25]
    assert max(lags) >= 25
    assert made.ledger.watermarks()[0].next == 36
    assert made.holds_every_event_once()

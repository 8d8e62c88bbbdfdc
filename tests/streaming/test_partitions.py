"""What happens to one partition never stops another: on one broker and on three."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import TopicPartition

from streaming import questions, reader
from streaming.client import admin
from streaming.local_kafka import LocalKafka
from streaming.source import Source
from tests.streaming.batches import HEADER_BYTES, with_its_crc
from tests.streaming.line import (
    MINUTE_MS,
    NOON_MS,
    Line,
    deployment_values,
    event,
    new_line,
    wait_until,
)
from tests.streaming.secured import SecuredKafka
from twintide.clock import HeldClock, from_unix_ms
from twintide.errors import Refused, Retryable

Logged = Callable[[str], list[dict[str, Any]]]
LATER = from_unix_ms(NOON_MS + 60 * MINUTE_MS)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """Three brokers, of whom the first is the one that every client is told of."""
    with LocalKafka(tmp_path_factory.mktemp("three"), brokers=3) as brokers:
        yield brokers


def line_with_single_copies(kafka: LocalKafka, data_dir: Path) -> Line:
    """One partition on each broker, without a second copy."""
    topic = f"clicks-{uuid4().hex[:8]}"
    section = {"bootstrap_servers": [kafka.bootstrap], "topic": topic, "assignment": "all"}
    line = Line(deployment_values(data_dir, kafka=section), partitions=3)
    wait_until(lambda: is_made(line), seconds=90)
    return line


def is_made(line: Line) -> bool:
    """Whether each broker leads its partition; one that has just come up may not be let yet."""
    topic = line.deployment.kafka.topic
    with contextlib.suppress(Retryable), admin(line.deployment.kafka) as client:
        if topic not in client.list_topics():
            assignments = {partition: [partition + 1] for partition in range(line.partitions)}
            client.create_topics({topic: {"assignments": assignments}})
        (described,) = client.describe_topics([topic])
        leaders = [each["leader_id"] for each in described["partitions"]]
        return len(leaders) == line.partitions and -1 not in leaders
    return False


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.promise("S7")
def test_a_partition_without_a_leader_stops_no_other(
    three: LocalKafka, tmp_path: Path, logged: Logged
) -> None:
    """What the others get is stored meanwhile; the one is named once, and goes on by itself when
    its broker is back.
    """
    line = line_with_single_copies(three, tmp_path / "data")
    line.feed(range(30))
    clock = HeldClock(LATER)
    with line.running(clock):
        wait_until(lambda: line.stored() == line.fed)
        three.kill(2)
        line.partitions = 1
        line.feed(range(100, 150), start_ms=NOON_MS + 5 * MINUTE_MS)
        clock.advance(120)
        wait_until(lambda: line.stored() == line.fed)
        wait_until(lambda: bool(logged("partition_in_trouble")))
        three.restart()
        line.partitions = 3
        line.feed(range(200, 230), start_ms=NOON_MS + 8 * MINUTE_MS)
        clock.advance(120)
        wait_until(lambda: line.stored() == line.fed, seconds=40)

    assert [each["partition"] for each in logged("partition_in_trouble")] == [1]
    assert [each["partition"] for each in logged("partition_recovered")] == [1]
    assert line.holds_every_event_once()


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_a_run_that_shall_end_names_the_partition_it_could_not_read(
    three: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the others hold is in shards; the next run stores the rest."""
    line = line_with_single_copies(three, tmp_path / "data")
    line.feed(range(30))
    three.kill(2)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(reader, "_UNREADABLE_SECONDS", 3.0)
            with pytest.raises(Refused, match="partition 1 of"):
                line.catch_up()
        assert {partition for partition, _ in line.stored()} == {0, 2}
        assert set(line.ledger.watermarks()) == {0, 2}
    finally:
        three.restart()
    wait_until(lambda: is_made(line), seconds=90)
    line.catch_up()

    assert line.holds_every_event_once()


@contextmanager
def flipped_byte(kafka: LocalKafka, line: Line, partition: int, *, batch: int) -> Iterator[int]:
    """One bit of a batch is wrong on the broker's disk while the block runs; gives its offset."""
    folder = kafka.data_dir / "broker-1" / "data" / f"{line.deployment.kafka.topic}-{partition}"
    log = folder / f"{0:020d}.log"
    data = log.read_bytes()
    at = 0
    for _ in range(batch):
        at += 12 + struct.unpack_from(">i", data, at + 8)[0]
    (offset,) = struct.unpack_from(">q", data, at)
    flip(log, at + 70)
    try:
        yield offset
    finally:
        flip(log, at + 70)


@contextmanager
def rewritten(
    kafka: LocalKafka, line: Line, partition: int, change: Callable[[bytes], bytes]
) -> Iterator[None]:
    """The newest batch is another of the same size on the broker's disk while the block runs."""
    folder = kafka.data_dir / "broker-1" / "data" / f"{line.deployment.kafka.topic}-{partition}"
    log = folder / f"{0:020d}.log"
    sound = log.read_bytes()
    at = begin = 0
    while at < len(sound):
        begin, at = at, at + 12 + struct.unpack_from(">i", sound, at + 8)[0]
    changed = change(sound[begin:])
    assert len(changed) == len(sound) - begin
    write_at(log, begin, changed)
    try:
        yield
    finally:
        write_at(log, begin, sound[begin:])


def write_at(path: Path, position: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)


def packed_otherwise(batch: bytes) -> bytes:
    """Its CRC fits, and its codec finds nothing in it."""
    return with_its_crc(batch[:HEADER_BYTES] + bytes(len(batch) - HEADER_BYTES))


def begun_elsewhere(batch: bytes) -> bytes:
    """No CRC covers the offset at which a batch begins."""
    return struct.pack(">q", 10_000) + batch[8:]


@pytest.mark.promise("S8")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (packed_otherwise, "offset 20 of"),
        (begun_elsewhere, "it says that it ends at 100"),
    ],
)
def test_a_batch_whose_crc_fits_and_that_is_none_stops_its_own_partition_alone(
    own_kafka: SecuredKafka,
    tmp_path: Path,
    logged: Logged,
    change: Callable[[bytes], bytes],
    said: str,
) -> None:
    """It is named and never skipped; what lies before it and all of the others is stored."""
    one = own_kafka.broker
    line = line_on(one, tmp_path / "data", partitions=2)
    line.feed(range(40))
    before = line.fed.copy()
    with line.producer(compression_type="zstd", linger_ms=500) as producer:
        for number in range(40, 60):
            at_ms = NOON_MS + number * 1000
            line.send(producer, event(number, at_ms), at_ms=at_ms, partition=0)
            line.fed[0, number] += 1
    with rewritten(one, line, 0, change), line.running(HeldClock(LATER)):
        wait_until(lambda: line.stored() == before)
        wait_until(lambda: bool(logged("partition_in_trouble")))
    with line.running(HeldClock(LATER)):
        wait_until(lambda: line.stored() == line.fed)

    named = logged("partition_in_trouble")
    assert {each["partition"] for each in named} == {0}
    assert said in named[0]["why"]
    assert line.holds_every_event_once()


def test_every_partition_that_needs_an_operator_ends_the_program_which_says_so(
    own_kafka: SecuredKafka, tmp_path: Path
) -> None:
    """Exit code 2, what is wrong, and what to type; while one partition is sound it goes on."""
    one = own_kafka.broker
    line = line_on(one, tmp_path / "data", partitions=2)
    line.feed(range(40))
    line.catch_up()
    with admin(line.deployment.kafka) as client:
        line.feed(range(40, 80), start_ms=NOON_MS + 2 * MINUTE_MS)
        deleted = {TopicPartition(line.deployment.kafka.topic, each): 30 for each in (0, 1)}
        client.delete_records(deleted)
    config = tmp_path / "deployment.yaml"
    config.write_text(json.dumps(line.values))
    done = subprocess.run(
        [sys.executable, "-m", "streaming", "-c", str(config)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "accept_gap" in done.stderr
    assert "Traceback" not in done.stderr


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 0x10]))


def line_on(kafka: LocalKafka, data_dir: Path, *, partitions: int) -> Line:
    topic = f"clicks-{uuid4().hex[:8]}"
    return new_line(kafka.bootstrap, topic, data_dir, partitions=partitions)


def test_a_damaged_batch_stops_its_own_partition_alone(
    own_kafka: SecuredKafka, tmp_path: Path, logged: Logged
) -> None:
    """What lies before it is stored, what the other partition holds too; it is named with its
    offset and never skipped, and once it is sound again every message comes.
    """
    one = own_kafka.broker
    line = line_on(one, tmp_path / "data", partitions=2)
    for batch in range(3):
        line.feed(range(batch * 20, batch * 20 + 20), start_ms=NOON_MS + batch * MINUTE_MS)
    with flipped_byte(one, line, 0, batch=1) as offset:
        before = Counter({(p, n): 1 for p, n in line.fed if p == 1 or n // 2 < offset})
        with line.running(HeldClock(LATER)):
            wait_until(lambda: line.stored() == before)
            wait_until(lambda: bool(logged("partition_in_trouble")))
    with line.running(HeldClock(LATER)):
        wait_until(lambda: line.stored() == line.fed)

    named = logged("partition_in_trouble")
    assert [each["partition"] for each in named] == [0]
    assert f"at offset {offset} of" in named[0]["why"]
    assert "kafka-delete-records" in named[0]["hint"]
    assert line.holds_every_event_once()


def test_a_batch_that_stays_damaged_ends_a_run_that_shall_end(
    own_kafka: SecuredKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few tries it is for an operator."""
    monkeypatch.setattr(reader, "_LASTING_TRIES", 1)
    one = own_kafka.broker
    line = line_on(one, tmp_path / "data", partitions=2)
    line.feed(range(20))
    with (
        flipped_byte(one, line, 0, batch=0),
        pytest.raises(Refused, match="partition 0") as refused,
    ):
        line.catch_up()

    assert {partition for partition, _ in line.stored()} == {1}
    assert "kafka-delete-records" in refused.value.hint
    line.catch_up()
    assert line.holds_every_event_once()


@pytest.mark.promise("S7")
def test_a_partition_of_which_nothing_comes_is_named_and_asked_for_anew(
    line: Callable[..., Line], logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its leader says that there is more, and the client fetches none of it; after a while it is in
    trouble, which ends when its messages come. The other partition is read all the while.
    """
    monkeypatch.setattr(reader, "STALLED_SECONDS", 0.5)
    monkeypatch.setattr(questions, "_LOOK_SECONDS", 0.2)
    read_from = Source.read_from
    forgotten: list[int] = []

    def forgets(source: Source, partition: int, offset: int) -> None:
        read_from(source, partition, offset)
        if partition == 1 and not forgotten:
            forgotten.append(partition)
            source._consumer.pause(TopicPartition(source._name, partition))

    monkeypatch.setattr(Source, "read_from", forgets)
    made = line(partitions=2)
    made.feed(range(20))
    with made.running(HeldClock(LATER)):
        wait_until(lambda: {partition for partition, _ in made.stored()} == {0})
        wait_until(lambda: made.stored() == made.fed)

    (named,) = logged("partition_in_trouble")
    assert named["partition"] == 1
    assert "has 10 messages to read at offset 0, but none has come for" in named["why"]
    assert [each["partition"] for each in logged("partition_recovered")] == [1]
    assert made.holds_every_event_once()


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.promise("S7")
def test_what_is_ours_is_read_while_the_coordinator_of_the_group_is_away(tmp_path: Path) -> None:
    """It says who owns what; positions are in the shards, and rivals are kept out by claims."""
    single = {"offsets.topic.replication.factor": "1"}
    with LocalKafka(tmp_path / "kafka", brokers=3, properties=single) as kafka:
        line = line_with_single_copies(kafka, tmp_path / "data")
        line.values["kafka"]["bootstrap_servers"] = [f"127.0.0.1:{b.port}" for b in kafka._brokers]
        line.values["kafka"] |= {"assignment": "group", "session_timeout_seconds": 6.0}
        line.feed(range(30))
        clock = HeldClock(LATER)
        with line.running(clock):
            wait_until(lambda: has_stored_by_now(line, clock), seconds=90)
            dead = coordinator_of(line)
            kafka.kill(dead)
            for turn in range(1, 4):
                feed_but(line, dead - 1, range(turn * 100, turn * 100 + 20), minute=5 * turn)
                wait_until(lambda: has_stored_by_now(line, clock), seconds=60)

    assert line.holds_every_event_once()


def has_stored_by_now(line: Line, clock: HeldClock) -> bool:
    """Whatever part of it came first: a minute later the rest may be cut as well."""
    clock.advance(60)
    return line.stored() == line.fed


def coordinator_of(line: Line) -> int:
    """The node that leads the groups' own topic, of one partition here."""
    with admin(line.deployment.kafka) as client:
        (described,) = client.describe_topics(["__consumer_offsets"])
        return int(described["partitions"][0]["leader_id"])


def feed_but(line: Line, without: int, ids: Iterable[int], *, minute: int) -> None:
    """Good events into all partitions but one."""
    with line.producer() as producer:
        others = [each for each in range(line.partitions) if each != without]
        for number in ids:
            at_ms = NOON_MS + minute * MINUTE_MS + number
            partition = others[number % len(others)]
            line.send(producer, event(number, at_ms), at_ms=at_ms, partition=partition)
            line.fed[partition, number] += 1


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.promise("S7")
def test_a_frozen_broker_holds_up_no_other_partition(
    three: LocalKafka, tmp_path: Path, logged: Logged
) -> None:
    """It neither answers nor hangs up; what the others hold is stored meanwhile."""
    line = line_with_single_copies(three, tmp_path / "data")
    line.feed(range(30))
    clock = HeldClock(LATER)
    with line.running(clock):
        wait_until(lambda: line.stored() == line.fed)
        signal_to(three, 3, signal.SIGSTOP)
        try:
            line.partitions = 2
            line.feed(range(100, 150), start_ms=NOON_MS + 5 * MINUTE_MS)
            clock.advance(120)
            wait_until(lambda: line.stored() == line.fed)
        finally:
            signal_to(three, 3, signal.SIGCONT)
        line.partitions = 3
        wait_until(lambda: is_made(line), seconds=60)
        line.feed(range(200, 230), start_ms=NOON_MS + 8 * MINUTE_MS)
        clock.advance(120)
        wait_until(lambda: line.stored() == line.fed, seconds=60)

    assert {each["partition"] for each in logged("partition_in_trouble")} <= {2}
    assert line.holds_every_event_once()


def signal_to(kafka: LocalKafka, node: int, number: int) -> None:
    process = kafka._brokers[node - 1].process
    assert process is not None
    os.killpg(process.pid, number)


@pytest.mark.faults
@pytest.mark.timeout(400)
@pytest.mark.promise("S6")
def test_a_log_cut_short_by_an_unclean_election_is_refused(
    three: LocalKafka, tmp_path: Path
) -> None:
    """Also where it has grown beyond the shards since: the same offsets hold other messages."""
    line = line_with_single_copies(three, tmp_path / "data")
    topic = line.deployment.kafka.topic
    line.values["kafka"]["bootstrap_servers"] = [f"127.0.0.1:{b.port}" for b in three._brokers]
    line.partitions = 1
    with admin(line.deployment.kafka) as client:
        client.delete_topics([topic])
        wait_until(lambda: topic not in client.list_topics())
        configs = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
        wanted = {topic: {"assignments": {0: [1, 2]}, "configs": configs}}
        client.create_topics(wanted, wait_for_metadata=True)
    line.feed(range(20))
    line.catch_up()
    three.kill(2)
    line.feed(range(20, 40), start_ms=NOON_MS + MINUTE_MS)  # the second copy misses these
    line.catch_up()
    assert line.holds_every_event_once()
    three.kill(1)
    three._launch(three._brokers[1])
    wait_until(lambda: leads(line, 2), seconds=60)
    line.feed(range(100, 150), start_ms=NOON_MS + 2 * MINUTE_MS)

    try:
        with pytest.raises(Refused, match="cut short at offset 20"):
            line.catch_up()
        assert line.footers()[-1].next == 40
    finally:
        three.restart()


def leads(line: Line, node: int) -> bool:
    with contextlib.suppress(Retryable, Refused), admin(line.deployment.kafka) as client:
        (described,) = client.describe_topics([line.deployment.kafka.topic])
        return all(each["leader_id"] == node for each in described["partitions"])
    return False

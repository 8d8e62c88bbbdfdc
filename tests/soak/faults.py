"""The faults of a soak: each is done to a running line, and gives what mends it again."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kafka.errors import KafkaError

if TYPE_CHECKING:
    from tests.soak.line import SoakLine

Mend = Callable[[], None]


class NotStruckError(Exception):
    """What a fault was to strike is not there, for another fault holds it."""


def nothing() -> None:
    """Healed by itself."""


def kill_ingest(line: "SoakLine") -> Mend:
    """SIGKILL; its supervisor starts it again."""
    line.ingest.kill()
    return nothing


def kill_learner(line: "SoakLine") -> Mend:
    """SIGKILL, wherever it is: slicing, learning, publishing, cleaning up."""
    line.learner.kill()
    return nothing


def zombie(line: "SoakLine") -> Mend:
    """The daemon freezes, a rival with longer shards takes over, the frozen one wakes."""
    line.ingest.signal(signal.SIGSTOP)
    rival = line.rival()

    def wake() -> None:
        line.ingest.signal(signal.SIGCONT)
        rival.end()

    return wake


def leaderless(line: "SoakLine") -> Mend:
    """A broker dies, and with it the only copy of some partitions."""
    line.kafka.kill(line.random.randrange(1, 4))
    return line.kafka.restart


def corrupt_batch(line: "SoakLine") -> Mend:
    """The last byte of a batch that nobody has read yet is flipped in the broker's log: a checksum
    is of it, as it is not of the offset that the next one begins with.
    """
    partition = line.random.randrange(line.stream.partitions)
    log = line.log_of(partition)
    before = log.stat().st_size
    line.ingest.signal(signal.SIGSTOP)
    if not line.wait_until(lambda: len(_batch_at(log, before)) > 0, seconds=10):
        line.ingest.signal(signal.SIGCONT)
        raise NotStruckError(f"nothing came into partition {partition}")
    sound = _batch_at(log, before)
    damaged = sound[:-1] + bytes([sound[-1] ^ 0x10])
    _replace(log, before, sound, damaged)
    line.ingest.signal(signal.SIGCONT)
    return lambda: _replace(log, before, damaged, sound)


def clock_of_a_producer_ahead(line: "SoakLine") -> Mend:
    """55 minutes, 400 days, or in another unit."""
    wrong = line.random.choice(
        (
            lambda ms: ms + 55 * 60_000,
            lambda ms: ms + 400 * 86_400_000,
            lambda ms: ms * 1000,
            lambda ms: ms // 1000,
            lambda ms: ms * 0,
        )
    )
    partition = line.random.randrange(line.stream.partitions)
    line.stream.stamps[partition] = wrong
    return lambda: line.stream.stamps.pop(partition, None)


def clock_set_back(line: "SoakLine") -> Mend:
    """The clock of the machine that runs everything, six hours."""
    line.clock.set_wrong(-6 * 3600)
    return lambda: line.clock.set_wrong(0)


def clock_set_forward(line: "SoakLine") -> Mend:
    """The same, twenty minutes ahead."""
    line.clock.set_wrong(20 * 60)
    return lambda: line.clock.set_wrong(0)


def full_disk(line: "SoakLine") -> Mend:
    """Not a byte is left where the artifacts lie."""
    ballast = line.root / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65_536)
    return lambda: ballast.unlink(missing_ok=True)


def aborted_transaction(line: "SoakLine") -> Mend:
    """Many messages that nobody must ever see."""
    producer = line.transaction(300)
    with contextlib.suppress(KafkaError):  # then Kafka aborts it, a minute after it began
        producer.abort_transaction()
    producer.close(timeout=10)
    return nothing


def hanging_transaction(line: "SoakLine") -> Mend:
    """Messages that nobody may see yet; in the end they are committed."""
    producer = line.transaction(300)

    def commit() -> None:
        with contextlib.suppress(KafkaError):  # then Kafka aborts it, a minute after it began
            producer.commit_transaction()
        producer.close(timeout=10)

    return commit


def slow_clients(line: "SoakLine") -> Mend:
    """Connections that send half a request, and wait."""
    sockets = []
    for _ in range(300):
        with contextlib.suppress(OSError):
            each = socket.create_connection(("127.0.0.1", line.port), timeout=2)
            sockets.append(each)
            each.sendall(b"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nContent-Le")

    def hang_up() -> None:
        for each in sockets:
            each.close()

    return hang_up


FAULTS: dict[Callable[["SoakLine"], Mend], frozenset[str]] = {
    kill_ingest: frozenset({"ingest"}),
    kill_learner: frozenset({"learner"}),
    zombie: frozenset({"ingest"}),
    leaderless: frozenset({"broker"}),
    corrupt_batch: frozenset({"ingest", "broker"}),
    clock_of_a_producer_ahead: frozenset({"stamps"}),
    clock_set_back: frozenset({"clock"}),
    clock_set_forward: frozenset({"clock"}),
    full_disk: frozenset({"disk"}),
    aborted_transaction: frozenset({"broker"}),
    hanging_transaction: frozenset({"broker"}),
    slow_clients: frozenset({"server"}),
}
"""Fault -> what it takes hold of: two that take hold of the same thing never run at once."""


def _batch_at(log: Path, at: int) -> bytes:
    """A batch: its offset in 8 bytes, the length of what follows in 4, and that. Nothing where it
    is not there whole.
    """
    with log.open("rb") as file:
        file.seek(at)
        head = file.read(12)
        length = int.from_bytes(head[8:], "big")
        rest = file.read(length)
    return head + rest if rest and len(rest) == length else b""


def _replace(log: Path, at: int, before: bytes, after: bytes) -> None:
    """Unless something else is there by now: a broker that starts cuts off what is damaged."""
    descriptor = os.open(log, os.O_RDWR)
    try:
        if os.pread(descriptor, len(before), at) == before:
            os.pwrite(descriptor, after, at)
    finally:
        os.close(descriptor)

"""What ingest takes beside an idle process: `shards.max_bytes`, and a constant in the docs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.streaming import crash_runs
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, event

MIB = 1024 * 1024
BESIDE_BYTES = 96 * MIB
"""As docs/operations.md and the key say."""

NewLine = Callable[..., Line]


def growth(line: Line, folder: Path, *, fsync_seconds: float = 0.0) -> int:
    """Bytes that ingest takes at its peak to catch up."""
    note = folder / "growth"
    arguments = (line.values, str(note), fsync_seconds)
    process = crash_runs.start(crash_runs.catch_up_measured, *arguments)
    process.join(600)
    assert process.exitcode == 0
    found = int(note.read_text())
    bound = line.deployment.shards.max_bytes + BESIDE_BYTES
    print(f"grew by {found / MIB:.0f} MiB of {bound / MIB:.0f} MiB")  # noqa: T201  the figure of S11
    return found


def send_expanding(line: Line, *, batches: int, codec: str) -> None:
    """Batches of kilobytes that expand to 60 MB, a good event in each message."""
    with line.producer(
        compression_type=codec,
        batch_size=60_000_000,
        max_request_size=128 * MIB,
        linger_ms=5000,
    ) as producer:
        for number in range(600 * batches):
            at_ms = NOON_MS + number
            value = event(number, at_ms)[:-1] + b" " * 100_000 + b"}"
            line.send(producer, value, at_ms=at_ms, partition=0)
            line.fed[0, number] += 1
            if number % 600 == 599:
                producer.flush()


@pytest.mark.promise("S11")
@pytest.mark.parametrize("codec", ["zstd", pytest.param("lz4", marks=pytest.mark.faults)])
@pytest.mark.long
def test_batches_that_expand_take_no_more_than_the_bound(
    line: NewLine, tmp_path: Path, codec: str
) -> None:
    """They are unpacked a piece at a time, and shards are cut between two pieces of one batch."""
    made = line().with_shards(max_bytes=16 * MIB)
    send_expanding(made, batches=3, codec=codec)

    assert growth(made, tmp_path) < 16 * MIB + BESIDE_BYTES
    assert made.holds_every_event_once()


@pytest.mark.promise("S8")
@pytest.mark.promise("S11")
@pytest.mark.long
def test_a_message_that_expands_to_more_than_is_held_is_set_aside(
    line: NewLine, tmp_path: Path
) -> None:
    """With its beginning, its size in place of the rest; those around it are stored."""
    made = line().with_shards(max_bytes=16 * MIB)
    made.feed(range(10))
    with made.producer(compression_type="zstd", max_request_size=512 * MIB) as producer:
        at_ms = NOON_MS + 20_000
        bomb = event(10, at_ms)[:-1] + b" " * 200 * MIB + b"}"
        made.send(producer, bomb, at_ms=at_ms, partition=0)
    made.feed(range(20, 30), start_ms=NOON_MS + 30_000)

    assert growth(made, tmp_path) < 16 * MIB + BESIDE_BYTES
    assert made.holds_every_event_once()
    assert sum(footer.rejected for footer in made.footers()) == 1


@pytest.mark.promise("S11")
@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fsync_seconds", [0.0, 0.2], ids=["sound disk", "slow disk"])
@pytest.mark.parametrize("max_bytes", [16 * MIB, 128 * MIB])
def test_a_long_backlog_takes_no_more_than_the_bound(
    line: NewLine, tmp_path: Path, max_bytes: int, fsync_seconds: float
) -> None:
    """However far behind, over four partitions, and however slow the disk is."""
    made = line(partitions=4).with_shards(max_bytes=max_bytes)
    with made.producer(
        compression_type="lz4", batch_size=256 * 1024, max_request_size=8 * MIB
    ) as producer:
        for number in range(500_000):
            at_ms = NOON_MS + number * 10 * MINUTE_MS // 500_000
            value = event(number, at_ms)
            made.send(producer, value, at_ms=at_ms, partition=number // 1000 % 4)

    assert growth(made, tmp_path, fsync_seconds=fsync_seconds) < max_bytes + BESIDE_BYTES
    assert sum(footer.rows for footer in made.footers()) == 500_000

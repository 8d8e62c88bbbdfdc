from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from kafka.partitioner.default import murmur2

from streaming.produce import produce
from streaming.replay import ReplayProgress, replay
from tests.streaming.line import NOON_MS, Line
from twintide.clock import SystemClock, from_unix_ms, monotonic_seconds
from twintide.errors import Refused


def data_file(folder: Path, *, rows: int = 300, step_ms: int = 1000) -> Path:
    """Shuffled rows under other names than the events', with extra columns and null users."""
    order = [(index * 7) % rows for index in range(rows)]
    table = pa.table(
        {
            "number": pa.array(order),
            "ts": pa.array([NOON_MS + index * step_ms for index in order], pa.int64()),
            "who": pa.array([None if index % 10 == 0 else f"u{index % 20}" for index in order]),
            "what": pa.array([f"i{index % 30}" for index in order]),
            "score": pa.array([index / 4 for index in order]),
            "ok": pa.array([index % 2 for index in order], pa.int8()),
            "labels": pa.array([["a", "b"][: index % 3] for index in order]),
            "codes": pa.array([[index] for index in order]),
            "other": pa.array(["x"] * rows),
        }
    )
    path = folder / "data.parquet"
    pq.write_table(table, path)
    return path


COLUMNS = {
    "id": "number",
    "user": "who",
    "item": "what",
    "at": "ts",
    "price": "score",
    "liked": "ok",
    "tags": "labels",
}


@pytest.fixture
def mapped(line: Callable[..., Line]) -> Line:
    made = line(partitions=3)
    made.values["data_file"] = {"columns": COLUMNS}
    return made


def test_a_replay_sends_every_row_in_event_time_order(mapped: Line, tmp_path: Path) -> None:
    """A user's events share a partition, in order; broker time is event time; null users go
    round; every column arrives as it was.
    """
    path = data_file(tmp_path)
    progress: list[ReplayProgress] = []

    summary = replay(
        mapped.deployment, path, speed=None, clock=SystemClock(), on_progress=progress.append
    )
    mapped.catch_up()

    rows = mapped.rows().sort_by([("kafka_partition", "ascending"), ("kafka_offset", "ascending")])
    assert summary.events == len(rows) == progress[-1].sent == 300
    assert rows["at"].equals(rows["broker_at"])
    for partition in range(3):
        own = rows.filter(pc.equal(rows["kafka_partition"], partition))
        assert own["id"].to_pylist() == sorted(own["id"].to_pylist())
        assert len(own) > 0
    owners = set(zip(rows["user"].to_pylist(), rows["kafka_partition"].to_pylist(), strict=True))
    assert len(owners) == 18 + 3
    row = rows.filter(pc.equal(rows["id"], 5)).to_pylist()[0]
    assert row["at"] == datetime.fromtimestamp(NOON_MS / 1000, UTC) + timedelta(seconds=5)
    assert (row["user"], row["item"], row["price"], row["liked"]) == ("u5", "i5", 1.25, True)
    assert (row["tags"], row["codes"]) == (["a", "b"], [5])


def test_users_go_where_other_kafka_clients_send_them(mapped: Line) -> None:
    """Partition = murmur2 of the key, as the Java client's default: known values of its tests."""
    assert murmur2(b"21") & 0xFFFFFFFF == -973932308 & 0xFFFFFFFF
    row = {"id": 1, "user": "21", "item": "i", "at": from_unix_ms(NOON_MS)}
    schema = mapped.deployment.events
    kafka = mapped.deployment.kafka

    sent = produce(
        kafka, kafka.topic, pa.Table.from_pylist([row], schema.arrow_schema()), schema=schema
    )
    mapped.catch_up()

    assert sent == 1
    assert mapped.rows()["kafka_partition"].to_pylist() == [(-973932308 & 0x7FFFFFFF) % 3]


def test_a_replay_can_keep_the_pace_of_the_events(mapped: Line, tmp_path: Path) -> None:
    """Twenty seconds of events at twenty times their speed take about one."""
    path = data_file(tmp_path, rows=22)

    began = monotonic_seconds()
    replay(mapped.deployment, path, speed=20.0, clock=SystemClock())

    assert 1.0 <= monotonic_seconds() - began < 10.0
    assert mapped.catch_up().rows == 22


def test_a_replay_makes_the_topic_that_is_missing(mapped: Line, tmp_path: Path) -> None:
    """With the partitions that are asked for; one that is there stays as it is."""
    mapped.values["kafka"]["topic"] += "-new"
    for _ in range(2):
        replay(
            mapped.deployment,
            data_file(tmp_path, rows=10),
            speed=None,
            clock=SystemClock(),
            partitions=2,
        )
    mapped.catch_up()

    assert {footer.partitions for footer in mapped.footers()} == {2}
    assert len(mapped.rows()) == 20


@pytest.mark.parametrize("speed", [0.0, -1.0])
def test_a_replay_cannot_stand_still(mapped: Line, tmp_path: Path, speed: float) -> None:
    """Nor run backwards."""
    with pytest.raises(Refused, match="speed"):
        replay(mapped.deployment, data_file(tmp_path), speed=speed, clock=SystemClock())

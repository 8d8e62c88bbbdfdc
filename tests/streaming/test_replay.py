import gzip
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.partitioner.default import murmur2

from streaming import replay as replay_module
from streaming.client import admin, partitions_of
from streaming.produce import produce
from streaming.replay import ReplayProgress, ReplaySummary, replay
from tests.streaming.line import NOON_MS, Line, wait_until
from twintide.clock import SystemClock, from_unix_ms, monotonic_seconds
from twintide.datafile import read_data
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
    """A user's events share a partition, in order; broker time is event time; null users are
    spread; every column arrives as it was.
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
            again=True,
        )
    mapped.catch_up()

    assert {footer.partitions for footer in mapped.footers()} == {2}
    assert len(mapped.rows()) == 20


@pytest.mark.parametrize("speed", [0.0, -1.0])
def test_a_replay_cannot_stand_still(mapped: Line, tmp_path: Path, speed: float) -> None:
    """Nor run backwards."""
    with pytest.raises(Refused, match="speed"):
        replay(mapped.deployment, data_file(tmp_path), speed=speed, clock=SystemClock())


def send(line: Line, path: Path, **options: Any) -> ReplaySummary:
    return replay(line.deployment, path, speed=None, clock=SystemClock(), **options)


def test_the_same_file_goes_in_once(mapped: Line, tmp_path: Path) -> None:
    """Also under another name and in another format; --again sends it once more, and a topic that
    was made anew holds nothing of it.
    """
    path = data_file(tmp_path)
    send(mapped, path)
    lines = tmp_path / "other.jsonl.gz"
    rows = pq.read_table(path).to_pylist()
    lines.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))

    for each in (path, lines):
        with pytest.raises(Refused, match=r"holds the 300 events of .* already") as refused:
            send(mapped, each)
        assert "--again" in refused.value.hint
    assert send(mapped, lines, again=True).events == 300
    kafka = mapped.deployment.kafka
    with admin(kafka) as client:
        client.delete_topics([kafka.topic])
    wait_until(lambda: partitions_of(kafka, kafka.topic) == 0)
    assert send(mapped, path).events == 300


@pytest.mark.parametrize("torn", [False, True], ids=["stopped", "killed before the receipt"])
def test_an_interrupted_replay_goes_on_where_it_was(
    mapped: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, torn: bool
) -> None:
    """Whether its last receipt says so, or only the log does: every event is in the topic once."""
    monkeypatch.setattr(replay_module, "ROWS_AT_ONCE", 40)
    path, stop, older = data_file(tmp_path), threading.Event(), tmp_path / "older"
    receipts = mapped.deployment.ledger_dir / "replays"

    def on_progress(so_far: ReplayProgress) -> None:
        if so_far.sent == 80:
            shutil.copytree(receipts, older)
        if so_far.sent == 120:
            stop.set()

    assert send(mapped, path, on_progress=on_progress, stop=stop).events == 120
    if torn:  # what a kill leaves between the broker's answer and the receipt
        shutil.rmtree(receipts)
        shutil.copytree(older, receipts)
    done = send(mapped, path)
    mapped.catch_up()

    assert (done.events, done.of, done.before) == (300, 300, 120)
    assert Counter(mapped.rows()["id"].to_pylist()) == Counter(range(300))
    with pytest.raises(Refused, match="already"):
        send(mapped, path)


@pytest.mark.parametrize("in_log", [0, 1, 7, 39])
def test_what_a_crash_left_in_the_log_is_not_sent_again(
    mapped: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_log: int
) -> None:
    """Some of a run of rows came in, no receipt says so, and another producer wrote between."""
    monkeypatch.setattr(replay_module, "ROWS_AT_ONCE", 40)
    path, stop = data_file(tmp_path), threading.Event()
    stop.set()
    send(mapped, path, stop=stop)  # a receipt of nothing
    deployment = mapped.deployment
    some = read_data(deployment, path).slice(0, in_log)
    mapped.feed([1000])
    produce(deployment.kafka, deployment.kafka.topic, some, schema=deployment.events)

    done = send(mapped, path)
    mapped.catch_up()

    assert (done.events, done.before) == (300, in_log)
    assert Counter(mapped.rows()["id"].to_pylist()) == Counter([1000, *range(300)])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("message.timestamp.type", "LogAppendTime"),
        ("message.timestamp.before.max.ms", "3600000"),
        ("retention.ms", "604800000"),
        ("cleanup.policy", "compact"),
    ],
)
def test_a_topic_that_would_not_keep_the_events_is_refused(
    mapped: Line, tmp_path: Path, setting: str, value: str
) -> None:
    """Before anything is sent: with the setting, and the command that mends it."""
    kafka = mapped.deployment.kafka
    with admin(kafka) as client:
        client.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, kafka.topic, {setting: value})]
        )

    with pytest.raises(Refused, match=kafka.topic) as refused:
        send(mapped, data_file(tmp_path))
    assert f"{setting}=" in refused.value.hint
    assert "kafka-configs.sh" in refused.value.hint
    assert mapped.catch_up().rows == 0


@pytest.mark.parametrize(("years", "reason"), [(-30, "before 2000"), (60, "not come yet")])
def test_times_that_ingest_would_not_believe_are_refused(
    mapped: Line, tmp_path: Path, years: int, reason: str
) -> None:
    """Of 1993, whose stamps count as none, and of 2083, which has not come."""
    table = pq.read_table(data_file(tmp_path, rows=10))
    moved = pc.add(table["ts"], years * 365 * 86_400_000)
    pq.write_table(table.set_column(1, "ts", moved), tmp_path / "moved.parquet")

    with pytest.raises(Refused, match=reason):
        send(mapped, tmp_path / "moved.parquet")


def assert_comes_back(line: Line, path: Path) -> None:
    """What a replay of the file sends, ingest makes shards of: the same rows, none rejected."""
    send(line, path)
    done = line.catch_up()

    expected = read_data(line.deployment, path)
    found = line.rows().sort_by("at").select(expected.column_names)
    assert done.rejected == 0
    assert found.combine_chunks().equals(expected)


@pytest.mark.promise("S14")
@pytest.mark.parametrize("times", [None, "s", "ms", "us", "ns"])
def test_what_a_replay_sends_ingest_reads(mapped: Line, tmp_path: Path, times: str | None) -> None:
    """In whatever unit the deployment's messages write times."""
    mapped.values["events"] = mapped.values["events"] | {"times": times}
    mapped.values["data_file"]["times"] = "ms"
    path = data_file(tmp_path, rows=20, step_ms=777)

    assert_comes_back(mapped, path)


@pytest.mark.promise("S14")
def test_what_a_replay_nests_ingest_finds(mapped: Line, tmp_path: Path) -> None:
    """Messages have the objects, and the lists of objects, in which ingest looks."""
    paths = {"user": "who.id", "price": "what.price", "liked": "what.liked", "item": "what.item"}
    lists = {"tags": "topics[].name", "codes": "topics[].of.code"}
    mapped.values["events"] = mapped.values["events"] | {"paths": paths | lists}
    mapped.values["data_file"]["columns"] = COLUMNS | {"codes": "codes"}
    path = tmp_path / "data.parquet"
    table = pq.read_table(data_file(tmp_path, rows=60))
    codes = pa.array([[7, None, 9][: len(each)] for each in table["labels"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("codes"), "codes", codes), path)

    assert_comes_back(mapped, path)

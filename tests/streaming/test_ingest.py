import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource

from streaming import reader, writer
from streaming.client import admin, create_topic
from streaming.content import QUARANTINE_SCHEMA, Content, content_of, pieces
from streaming.cutter import Cut
from streaming.daemon import IngestProgress, run
from tests.forged import put_shard
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, event, wait_until
from twintide import config, files, telemetry
from twintide.clock import HeldClock, SystemClock, from_unix_ms, to_unix_ms
from twintide.columns import read_events
from twintide.errors import Corrupt, Refused
from twintide.shards import Ledger, ShardFooter, read_shard

NewLine = Callable[..., Line]
Capture = pytest.CaptureFixture[str]
NOON = from_unix_ms(NOON_MS)


@pytest.mark.promise("S1")
def test_every_event_is_in_exactly_one_shard(line: NewLine) -> None:
    """Over several partitions, minutes and runs; a run with nothing new commits nothing."""
    made = line(partitions=3)
    made.feed(range(300), step_ms=1700)
    first = made.catch_up()
    made.feed(range(300, 350), start_ms=NOON_MS + 10 * MINUTE_MS)
    second = made.catch_up()
    third = made.catch_up()

    assert (first.rows, second.rows, third.rows, third.shards) == (300, 50, 0, 0)
    assert made.holds_every_event_once()


def test_a_row_holds_the_message_and_where_it_came_from(line: NewLine) -> None:
    """The columns of the schema, then partition, offset and broker time."""
    made = line()
    made.feed([41, 42], step_ms=1500)
    made.catch_up()

    assert made.rows().schema.equals(made.deployment.events.shard_schema(), check_metadata=False)
    assert made.rows().to_pylist()[1] == {
        "id": 42,
        "user": "u0",
        "item": "i9",
        "at": NOON + timedelta(seconds=1.5),
        "price": 21.0,
        "liked": None,
        "tags": None,
        "codes": None,
        "kafka_partition": 0,
        "kafka_offset": 1,
        "broker_at": NOON + timedelta(seconds=1.5),
    }


def test_other_tools_read_the_shards_as_they_are(line: NewLine) -> None:
    """DuckDB, Polars and Arrow read the whole folder: it holds shards, and nothing else."""
    made = line()
    made.feed(range(100))
    made.feed_raw([b"bad"])
    made.catch_up()
    shards_dir = made.deployment.shards_dir
    glob = str(shards_dir / "**" / "*.parquet")

    ((count, date, total),) = (
        duckdb.read_parquet(glob, hive_partitioning=True)
        .aggregate("count(*), min(date), sum(id)")
        .fetchall()
    )
    assert (count, str(date), total) == (100, "2023-11-15", 4950)
    assert pl.read_parquet(glob)["id"].sum() == 4950
    assert pl.read_parquet(shards_dir)["id"].sum() == 4950
    assert pads.dataset(shards_dir, partitioning="hive").count_rows() == 100
    assert {path.suffix for path in shards_dir.rglob("*") if path.is_file()} == {".parquet"}


@pytest.mark.promise("S4")
def test_an_idle_topic_closes_its_last_shard(line: NewLine) -> None:
    """As soon as its minute and the allowed lateness are over by the wall clock; not before."""
    made = line()
    made.feed(range(5))
    clock = HeldClock(NOON + timedelta(seconds=61))
    with made.running(clock):
        before = made.stored()
        clock.move_to(NOON + timedelta(seconds=62))
        wait_until(lambda: made.stored() == made.fed)
        wait_until(lambda: 0 in made.ledger.watermarks())

    assert not before
    watermark = made.ledger.watermarks()[0]
    assert (watermark.next, watermark.complete_until) == (5, NOON + timedelta(seconds=60))


def test_a_silent_partition_gets_a_watermark_of_its_own(line: NewLine) -> None:
    """A day can be complete although one partition never had a message."""
    made = line(partitions=2)
    made.feed_raw([event(1, NOON_MS)])
    clock = HeldClock(NOON + timedelta(hours=1))
    with made.running(clock):
        wait_until(lambda: set(made.ledger.watermarks()) == {0, 1})

    complete = NOON + timedelta(hours=1, seconds=-2)
    assert {w.next: w.complete_until for w in made.ledger.watermarks().values()} == {
        0: complete,
        1: complete,
    }


def test_late_events_are_in_the_shard_that_is_open_when_they_come(line: NewLine) -> None:
    """Every one is kept, none reopens a minute that is over."""
    made = line()
    times = [0, 30, 65, 59, 10, 119, 121, 61]
    made.feed_raw([])
    with made.producer() as producer:
        for number, seconds in enumerate(times):
            at_ms = NOON_MS + seconds * 1000
            made.send(producer, event(number, at_ms), at_ms=at_ms, partition=0)
            made.fed[0, number] += 1
    made.catch_up()

    assert made.holds_every_event_once()
    shards = [(f"{footer.minute_at:%H:%M}", footer.rows) for footer in made.footers()]
    assert shards == [("12:00", 2), ("12:01", 4), ("12:02", 2)]


@pytest.mark.promise("S8")
def test_consumed_is_rows_and_rejected_and_filtered_in_every_shard(line: NewLine) -> None:
    """Bad messages lie in quarantine with reason, offset and bytes; tombstones are counted."""
    made = line()
    messages: list[bytes | None] = []
    for number in range(200):
        messages += [event(number, NOON_MS)]
        messages += [None] if number % 20 == 3 else []
        messages += [b"null", b'{"item":', b"\xff"][: number % 50 == 7] * 3
    for minute in range(3):
        made.feed_raw(messages, at_ms=NOON_MS + minute * MINUTE_MS)
    summary = made.catch_up()

    assert (summary.rows, summary.rejected, summary.filtered) == (600, 36, 30)
    for footer in made.footers():
        assert footer.next - footer.first == footer.rows + footer.rejected + footer.filtered
        quarantined = read_quarantine(made, footer.quarantine)
        assert len(quarantined) == footer.rejected == 12
        for row in quarantined.to_pylist():
            offset = row["kafka_offset"] - footer.first
            assert row["message"] == messages[offset]
            assert row["reason"]
            assert row["kafka_partition"] == 0


@pytest.mark.promise("S13")
def test_a_producer_ahead_takes_nothing_along(line: NewLine, capsys: Capture) -> None:
    """55 minutes pass a broker's default limit: the click is kept and counted, minutes and the
    watermark stay at our clock, and one line names it.
    """
    telemetry.configure_logging()  # to the stderr that is captured
    made = line()
    now_ms = to_unix_ms(SystemClock().now())
    made.feed(range(3), start_ms=now_ms - 10 * MINUTE_MS, step_ms=MINUTE_MS)
    for number in range(3, 6):
        made.feed([number], start_ms=now_ms + 55 * MINUTE_MS)
    made.feed(range(6, 9), start_ms=now_ms - 5 * MINUTE_MS, step_ms=MINUTE_MS)
    made.catch_up()

    assert made.holds_every_event_once()
    now = SystemClock().now()
    assert all(footer.minute_at < now for footer in made.footers())
    assert made.ledger.watermarks()[0].complete_until < now
    assert pc.max(made.rows()["broker_at"]).as_py() < from_unix_ms(now_ms)
    assert sum(footer.clock_ahead for footer in made.footers()) == 3
    (line_,) = [each for each in logged(capsys) if each["event"] == "stamps_not_believed"]
    assert (line_["partition"], line_["offset"]) == (0, 3)
    assert 54 * 60 < line_["ahead_seconds"] < 56 * 60


def logged(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(each) for each in capsys.readouterr().err.splitlines()]


@pytest.mark.promise("S13")
def test_stamps_in_microseconds_are_no_times(line: NewLine) -> None:
    """Where a broker takes them: no metric, folder or watermark ends in an error over them."""
    made = line()
    let_any_stamp_pass(made)
    now_ms = to_unix_ms(SystemClock().now())
    with made.producer() as producer:
        for number, at_ms in enumerate([now_ms, now_ms * 1000, 2**62, 0]):
            made.send(producer, event(number, now_ms), at_ms=at_ms, partition=0)
            made.fed[0, number] += 1
    with made.running(HeldClock(from_unix_ms(now_ms + 10 * MINUTE_MS))):
        wait_until(lambda: made.stored() == made.fed)

    (footer,) = made.footers()
    assert (footer.clock_ahead, footer.clock_nonsense) == (2, 1)
    assert made.holds_every_event_once()


def let_any_stamp_pass(line: Line) -> None:
    kafka = line.deployment.kafka
    topic = ConfigResource("TOPIC", kafka.topic, {"message.timestamp.after.max.ms": str(2**63 - 1)})
    with admin(kafka) as client:
        client.alter_configs([topic])


@pytest.mark.promise("S8")
def test_tombstones_alone_do_not_stop_what_lies_behind(line: NewLine) -> None:
    """A minute of them is a shard without a row."""
    made = line()
    made.feed_raw([None] * 3)
    made.feed(range(5), start_ms=NOON_MS + MINUTE_MS)
    made.catch_up()

    assert [(footer.rows, footer.filtered) for footer in made.footers()] == [(0, 3), (5, 0)]
    assert made.holds_every_event_once()


def read_quarantine(line: Line, name: str | None) -> pa.Table:
    assert name is not None
    (path,) = line.deployment.ledger_dir.rglob(name)
    with pa.ipc.open_file(path) as file:
        table = file.read_all()
    assert table.schema == QUARANTINE_SCHEMA
    return table


@pytest.mark.promise("S9")
def test_a_flood_of_bad_messages_stops_before_anything_is_committed(line: NewLine) -> None:
    """It says how many, shows one reason, and stops again after a restart."""
    made = line()
    made.feed_raw([b"bad" if number % 2 else event(number, NOON_MS) for number in range(400)])

    for _ in range(2):
        with pytest.raises(Refused, match="200 of 1000 messages") as refused:
            made.catch_up()
        assert "max_rejected_ratio" in refused.value.hint
    assert made.footers() == []

    made.with_shards(max_rejected_ratio=0.9).catch_up()
    assert [(footer.rows, footer.rejected) for footer in made.footers()] == [(200, 200)]


@pytest.mark.promise("S6")
def test_deleted_messages_stop_the_daemon_until_the_gap_is_accepted(line: NewLine) -> None:
    """The gap is then recorded in the footer, and the ledger is sound."""
    made = line()
    made.feed(range(10))
    made.catch_up()
    made.feed(range(10, 30), start_ms=NOON_MS + MINUTE_MS)
    delete_before(made, 25)

    with pytest.raises(Refused, match="offsets 10 to 24"):
        made.catch_up()
    made.with_shards(accept_gap=True).catch_up()

    newest = made.footers()[-1]
    assert (newest.first, newest.next, newest.gap_before, newest.rows) == (25, 30, 15, 5)
    assert made.ledger.check() == []


def test_a_log_that_begins_late_is_read_from_where_it_begins(line: NewLine) -> None:
    """What was deleted before the first run was never ours to keep."""
    made = line()
    made.feed(range(10))
    delete_before(made, 4)
    made.catch_up()

    assert sorted(made.offsets()) == [(0, offset) for offset in range(4, 10)]


def delete_before(line: Line, offset: int) -> None:
    kafka = line.deployment.kafka
    with admin(kafka) as client:
        client.delete_records({TopicPartition(kafka.topic, 0): offset})


@pytest.mark.promise("S6")
def test_another_log_under_the_same_name_is_refused(line: NewLine) -> None:
    """Shards that reach beyond the end of the log were not cut from it."""
    made, fresh = line(), line()
    made.feed(range(10))
    made.catch_up()
    (name,) = made.ledger.names()
    of_another = {"topic": fresh.deployment.kafka.topic, "topic_id": None}
    moved = name.footer().model_copy(update=of_another)
    put_shard(made.ledger.root, moved, read_shard(name.path))

    with pytest.raises(Refused, match="its log ends at 0"):
        fresh.catch_up()
    with pytest.raises(Refused, match="its log ends at 0"):
        run(fresh.deployment, clock=SystemClock())


def test_a_missing_topic_is_named(line: NewLine) -> None:
    """A run that shall end says what is missing and what makes it."""
    made = line()
    made.values["kafka"]["topic"] = "no-such-topic"

    with pytest.raises(Refused, match="no topic no-such-topic"):
        made.catch_up()


def test_a_new_partition_is_read_from_its_beginning(line: NewLine) -> None:
    """Partitions may be added while ingest stands still; footers count them."""
    made = line()
    made.feed(range(10))
    made.catch_up()
    with admin(made.deployment.kafka) as client:
        client.create_partitions({made.deployment.kafka.topic: 3})
    grown = Line(made.values, partitions=3, fed=made.fed)
    grown.feed(range(10, 40), start_ms=NOON_MS + MINUTE_MS)
    grown.catch_up()

    assert grown.holds_every_event_once()
    assert {footer.partitions for footer in grown.footers(2)} == {3}


@pytest.mark.promise("S1")
def test_a_lost_race_drops_the_buffer_and_goes_on_behind_the_winner(
    line: NewLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rival commits between our reading and our publishing: nothing is doubled, nothing lost."""
    made = line()
    made.feed(range(20), step_ms=10_000)
    rival = Line(made.values, 1)
    raced: list[IngestProgress] = []

    def race(progress: IngestProgress) -> None:
        """After our first shard: the rival takes all the rest."""
        if progress.shards and not raced:
            raced.append(progress)
            rival.catch_up()

    summary = run(made.deployment, clock=SystemClock(), until_caught_up=True, on_progress=race)

    assert summary.lost_races == 1
    assert made.holds_every_event_once()


@pytest.mark.promise("S1")
def test_what_was_read_beyond_a_lost_race_is_not_used(
    line: NewLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner's shard is shorter than ours, and more was read by then: all of it is read again
    from where the winner's ends, and none of it is skipped.
    """
    made = line()
    made.feed(range(200), step_ms=3000, batch_bytes=1000)
    cuts: list[Cut] = []

    def publish_after_a_rival(
        ledger: Ledger, cut: Cut, content: Content, **footer: Any
    ) -> ShardFooter:
        cuts.append(cut)
        if len(cuts) == 2:
            (all_of_it,) = pieces(cut.runs)
            head, _ = all_of_it.split(1)
            shorter = replace(cut, next=head.next, runs=(head,))
            theirs = content_of(shorter, made.deployment.events)
            writer.publish(ledger, shorter, theirs, **footer)
        return writer.publish(ledger, cut, content, **footer)

    monkeypatch.setattr(reader, "publish", publish_after_a_rival)
    summary = made.catch_up()

    assert summary.lost_races == 1
    assert [footer.rows for footer in made.footers()][:4] == [20, 1, 19, 20]
    assert made.holds_every_event_once()


@pytest.mark.promise("S11")
def test_what_is_open_stays_below_the_bound(line: NewLine) -> None:
    """Minutes of any length are cut when all open shards together reach max_bytes."""
    made = line(partitions=2)
    made.feed(range(600), step_ms=1, batch_bytes=1000)
    made.with_shards(max_bytes=20_000).catch_up()

    assert made.holds_every_event_once()
    assert 5 < len(made.footers()) < 100


@pytest.mark.promise("S10")
@pytest.mark.parametrize("refused", [1, 2, 3])
def test_a_full_disk_loses_nothing(
    line: NewLine, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """The daemon keeps trying, and goes on by itself when the disk takes files again."""
    made = line()
    made.feed(range(100), step_ms=2000)
    write = files.write_and_fsync
    calls = []

    def full_for_a_while(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == refused:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(files, "write_and_fsync", full_for_a_while)
    with made.running(HeldClock(NOON + timedelta(hours=1))):
        wait_until(lambda: made.stored() == made.fed)

    assert len(calls) > refused
    assert made.holds_every_event_once()


@pytest.mark.promise("S10")
@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        pytest.param(Corrupt("the shard before is another", hint=""), marks=pytest.mark.long),
        pytest.param(ZeroDivisionError("not foreseen"), marks=pytest.mark.long),
    ],
    ids=["full disk", "damage", "not foreseen"],
)
def test_attempts_that_fail_leave_no_quarantine_file(
    line: NewLine, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    """However often a commit is tried: each attempt writes its own, and a disk that is full would
    fill up with them. What commits in the end names the one that is there.
    """
    monkeypatch.setattr("streaming.troubles._LAST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr("streaming.troubles._OPERATOR_RETRY_SECONDS", 0.01)
    made = line(partitions=2)
    made.feed_raw([b"bad"])
    made.feed(range(40), step_ms=100)
    write = files.write_and_fsync
    failed: list[Path] = []

    def refuse(path: Path, data: bytes) -> None:
        is_shard = path.parent.name == "00000" and writer.QUARANTINE_SUFFIX not in path.name
        if is_shard and len(failed) < 4:
            failed.append(path)
            raise failure
        write(path, data)

    monkeypatch.setattr(files, "write_and_fsync", refuse)
    with made.with_shards(max_rejected_ratio=0.9).running(HeldClock(NOON + timedelta(hours=1))):
        wait_until(lambda: made.stored() == made.fed)

    assert len(failed) == 4
    (footer,) = [each for each in made.footers(0) if each.rejected]
    left = [path.name for path in made.ledger.folder.rglob(f"*{writer.QUARANTINE_SUFFIX}")]
    assert left == [footer.quarantine]
    assert made.holds_every_event_once()


@pytest.mark.long
def test_what_nobody_foresaw_is_logged_and_tried_again(
    line: NewLine, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The daemon neither ends with a traceback nor begins anew in a busy loop, and loses nothing;
    the log says once where it was.
    """
    telemetry.configure_logging()  # to the stderr that is captured
    made = line()
    made.feed(range(100), step_ms=2000)
    write = files.write_and_fsync
    calls = []

    def fails_twice(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) <= 2:
            raise ZeroDivisionError("not foreseen")
        write(path, data)

    monkeypatch.setattr(files, "write_and_fsync", fails_twice)
    with made.running(HeldClock(NOON + timedelta(hours=1))):
        wait_until(lambda: made.stored() == made.fed)

    assert made.holds_every_event_once()
    failures = [each for each in logged(capsys) if "failed" in each["event"]]
    assert len(failures) == 1
    assert "ZeroDivisionError: not foreseen" in failures[0]["exception"]


@pytest.mark.long
@pytest.mark.promise("S1")
def test_two_daemons_of_a_group_share_the_partitions_and_take_over(line: NewLine) -> None:
    """One leaves, the other reads on in its place; what was fed meanwhile is stored once."""
    made = line(partitions=4)
    made.values["kafka"]["assignment"] = "group"
    made.values["kafka"]["group"] = made.deployment.kafka.topic
    made.feed(range(80))
    clock = HeldClock(NOON + timedelta(hours=1))
    with made.running(clock):
        with made.running(clock):
            wait_until(lambda: made.stored() == made.fed)
            made.feed(range(80, 160), start_ms=NOON_MS + 2 * MINUTE_MS)
        clock.advance(120)
        wait_until(lambda: made.stored() == made.fed)

    assert made.holds_every_event_once()


@pytest.mark.long
@pytest.mark.promise("S12")
def test_a_stop_begins_no_further_shard(line: NewLine) -> None:
    """A backlog of sparse minutes is thousands of shards in one turn of the loop; the rest is read
    again next time.
    """
    made = line()
    made.feed(range(200), step_ms=MINUTE_MS)
    stop = threading.Event()

    def after_three(progress: IngestProgress) -> None:
        if progress.shards == 3:
            stop.set()

    summary = run(made.deployment, clock=SystemClock(), stop=stop, on_progress=after_three)

    assert summary.shards == 3
    made.catch_up()
    assert made.holds_every_event_once()


def test_a_stop_ends_the_daemon_at_once(line: NewLine) -> None:
    """Whatever it waits for; open shards are dropped and read again next time."""
    made = line()
    made.feed(range(10))
    stop = threading.Event()
    stop.set()

    assert run(made.deployment, clock=SystemClock(), stop=stop).rows == 0
    assert made.catch_up().rows == 10


def test_a_column_may_join_and_none_may_change_its_type(line: NewLine, capsys: Capture) -> None:
    """Another column goes on behind the old shards, and the log says so; another type is refused
    before the first shard of it.
    """
    telemetry.configure_logging()  # to the stderr that is captured
    made = line()
    made.feed(range(10))
    made.catch_up()
    made.feed(range(10, 20), start_ms=NOON_MS + MINUTE_MS)
    events = made.values["events"]
    made.values["events"] = {**events, "columns": {**events["columns"], "liked": "string"}}
    with pytest.raises(Refused, match=r"'liked' as bool, and events: declares it as string"):
        made.catch_up()
    assert len(made.footers()) == 1

    made.values["events"] = {**events, "columns": {**events["columns"], "extra": "string"}}
    made.catch_up()
    (said,) = [each for each in logged(capsys) if each["event"] == "columns_changed"]
    assert (said["added"], said["left_out"]) == (["extra"], [])
    tables = [read_events(name.path, made.deployment.events) for name in made.ledger.names()]
    assert pa.concat_tables(tables)["id"].to_pylist() == list(range(20))


def test_nested_messages_become_flat_shards_and_a_path_that_changed_is_told(
    line: NewLine, capsys: Capture
) -> None:
    """A column is what lies at its path; what lies elsewhere from one shard on goes on under its
    name, and the log says from where to where.
    """
    telemetry.configure_logging()  # to the stderr that is captured
    made = line()
    events = made.values["events"]
    for number, path in enumerate(("topics[].name", "topics[].slug")):
        made.values["events"] = events | {"paths": {"user": "user.id", "tags": path}}
        topics = [{"name": "News", "slug": "n"}, {}]
        nested = {"item": "i", "at": NOON_MS, "user": {"id": "u"}, "topics": topics}
        flat = nested | {"user": "u"}
        at_ms = NOON_MS + number * MINUTE_MS
        made.feed_raw([json.dumps(each).encode() for each in (nested, flat)], at_ms=at_ms)
        assert made.catch_up().rejected == 1

    rows = made.rows().sort_by("kafka_offset")
    assert rows["user"].to_pylist() == ["u", "u"]
    assert rows["tags"].to_pylist() == [["News", None], ["n", None]]
    (said,) = [each for each in logged(capsys) if each["event"] == "columns_changed"]
    assert said["added"] == ["tags (at topics[].slug)"]
    assert said["left_out"] == ["tags (at topics[].name)"]


@pytest.mark.promise("S2")
def test_a_breach_of_the_ledger_stops_the_daemon_and_is_named(line: NewLine) -> None:
    """A shard in the middle is gone: by a run that ends, and by one that does not."""
    made = line()
    made.feed(range(30), step_ms=10_000)
    made.catch_up()
    missing = list(made.ledger.names())[2].path
    missing.unlink()

    with pytest.raises(Corrupt, match="offsets 12 to 17 of partition 0 are in no shard"):
        made.catch_up()
    with pytest.raises(Corrupt, match="offsets 12 to 17 of partition 0 are in no shard"):
        run(made.deployment, clock=SystemClock(), stop=threading.Event())


def test_a_topic_of_any_length_that_is_taken_makes_shards(line: NewLine) -> None:
    """Its name stands in the names of files, which have 255 bytes at most."""
    made = line()
    topic = made.deployment.kafka.topic.ljust(220, "x")
    made.values["kafka"]["topic"] = topic
    create_topic(made.deployment.kafka, topic, partitions=1)
    made.feed(range(3))
    made.feed_raw([b"bad"])
    made.with_shards(max_rejected_ratio=0.9).catch_up()

    assert made.holds_every_event_once()
    with pytest.raises(Refused, match="220 letters"):
        config.parse({**made.values, "kafka": {"topic": topic + "x"}}, name="test")


@pytest.mark.promise("S2")
def test_a_breach_stops_its_own_partition_alone_until_it_is_mended(
    line: NewLine,
    tmp_path: Path,
    logged: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An old shard that is missing is named, with its partition, which is read on when the shard is
    back; what the other partition gets meanwhile is stored.
    """
    monkeypatch.setattr("streaming.patrol._SURE_SECONDS", 0.0)
    monkeypatch.setattr("streaming.patrol._KNOWN_SECONDS", 0.1)
    monkeypatch.setattr("streaming.troubles._OPERATOR_RETRY_SECONDS", 0.2)
    made = line(partitions=2)
    made.feed(range(60), step_ms=6000)
    made.catch_up()
    missing = [name.path for name in made.ledger.names() if name.partition == 1][2]
    missing.rename(tmp_path / "kept")
    before = made.stored()
    clock = HeldClock(NOON + timedelta(hours=1))
    with made.running(clock):
        wait_until(lambda: bool(logged("partition_in_trouble")))
        made.feed(range(60, 80), start_ms=NOON_MS + 8 * MINUTE_MS)
        clock.advance(120)
        wait_until(lambda: len(made.stored()) == len(before) + 10)
        assert {partition for partition, number in made.stored() if number >= 60} == {0}
        (tmp_path / "kept").rename(missing)
        wait_until(lambda: made.stored() == made.fed)

    (named,) = logged("partition_in_trouble")
    assert (named["partition"], named["needs_operator"]) == (1, True)
    assert "in no shard" in named["why"]
    assert "twintide verify" in named["hint"]
    assert [each["partition"] for each in logged("partition_recovered")] == [1]
    assert made.holds_every_event_once()

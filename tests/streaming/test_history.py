"""Months of data files that never were in Kafka, as shards beside those of the topic."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from streaming.history import Taken, take_history
from streaming.offline import Appender, write_shards
from tests.dying import Runner
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, deployment_values
from trainer.hourly import hourly
from trainer.units import sealed_until
from twintide.clock import HeldClock, SystemClock, from_unix_ms
from twintide.datafile import read_data
from twintide.days import complete_until
from twintide.due import nightly_due
from twintide.errors import Corrupt, Refused
from twintide.history import PARTITION

NewLine = Callable[..., Line]

NOON = from_unix_ms(NOON_MS)
CLOCK = HeldClock(NOON + timedelta(days=30))


@pytest.fixture
def offline(tmp_path: Path) -> Line:
    return Line(deployment_values(tmp_path / "data"), partitions=1)


@pytest.fixture
def runner() -> Iterator[Runner]:
    made = Runner(Path(__file__).parent / "history_runner.py")
    yield made
    made.close()


def events(line: Line, times_ms: list[int]) -> pa.Table:
    """One event at each of these times, numbered as they stand."""
    count = len(times_ms)
    columns: dict[str, Any] = {
        "id": np.arange(count),
        "user": [f"u{number % 13}" for number in range(count)],
        "item": [f"i{number % 7}" for number in range(count)],
        "at": pa.array(times_ms, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
        "price": np.arange(count) / 2,
        "liked": pa.nulls(count, pa.bool_()),
        "tags": pa.nulls(count, pa.list_(pa.string())),
        "codes": pa.nulls(count, pa.list_(pa.int64())),
    }
    return pa.table(columns).cast(line.deployment.events.arrow_schema())


def written(line: Line, path: Path, times_ms: list[int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(events(line, times_ms), path)
    return path


def some_times(count: int = 100, *, minutes: int = 30, seed: int = 1) -> list[int]:
    """In no order, some twice."""
    rng = np.random.default_rng(seed)
    return [NOON_MS + int(each) * 100 for each in rng.integers(0, minutes * 600, count)]


def taken(line: Line, files: Path, until: datetime | None = None, **options: Any) -> Taken:
    return take_history(line.deployment, files, until=until, clock=CLOCK, **options)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every visible file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.promise("S1")
@pytest.mark.parametrize("rows_at_once", [1, 17])
def test_every_row_of_the_files_is_in_a_shard_once(
    offline: Line, tmp_path: Path, rows_at_once: int
) -> None:
    """Of Parquet, CSV and JSON lines in no order, with few rows in memory or all: what is read of
    the files, in order of time, under the minutes of their own, offsets as they are numbered.
    """
    folder = tmp_path / "files"
    written(offline, folder / "a.parquet", some_times(80))
    text = events(offline, some_times(50, seed=2)).select(["id", "user", "item", "at"])
    pa_csv.write_csv(text.set_column(3, "at", text["at"].cast(pa.int64())), folder / "b.csv")
    lines = [{"id": 1, "user": "u", "item": "i", "at": each} for each in some_times(20, seed=3)]
    (folder / "c.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))

    made = taken(offline, folder, rows_at_once=rows_at_once)

    rows, expected = offline.rows(), read_data(offline.deployment, folder)
    assert rows.select(expected.column_names).combine_chunks().equals(expected)
    assert rows["kafka_offset"].to_pylist() == list(range(150))
    assert rows["at"].equals(rows["broker_at"])
    assert {each.partition for each in offline.footers()} == {PARTITION}
    assert (made.history.rows, made.history.beyond, made.before) == (150, 0, 0)
    assert made.history.is_whole
    assert offline.ledger.check() == []
    for name in offline.ledger.names():
        at = pq.read_table(name.path)["at"].to_pylist()
        assert all(
            timedelta(0) <= each - name.footer().minute_at < timedelta(minutes=1) for each in at
        )


def test_files_in_order_give_the_same_shards_as_files_in_none(tmp_path: Path) -> None:
    """To the byte: what is in order is not spread over scratch files, and nobody can tell."""
    times = sorted(some_times())
    own = []
    for name in ("sorted", "mixed"):
        line = Line(deployment_values(tmp_path / name), partitions=1)
        table = events(line, times)
        if name == "mixed":
            minute = np.array(times) // MINUTE_MS
            table = table.take(np.argsort(-(minute % 2), kind="stable"))  # odd minutes first
        pq.write_table(table, tmp_path / f"{name}.parquet")
        taken(line, tmp_path / f"{name}.parquet", rows_at_once=10)
        own.append(bytes_of(line.deployment.shards_dir))

    assert own[0] == own[1]


def test_the_same_history_twice_is_taken_once(offline: Line, tmp_path: Path) -> None:
    """The second call changes no file, and says that all of it was there."""
    files = written(offline, tmp_path / "events.parquet", some_times())
    taken(offline, files)
    before = bytes_of(offline.deployment.data_dir)

    again = taken(offline, files)

    assert again.before == again.history.rows == 100
    assert bytes_of(offline.deployment.data_dir) == before


@pytest.mark.promise("S1")
@pytest.mark.promise("S3")
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param([1, 4, 9, 17, 30], marks=pytest.mark.long),
        pytest.param(range(1, 120), marks=pytest.mark.faults),
    ],
    ids=["some", "every"],
)
@pytest.mark.parametrize("is_sorted", [True, False], ids=["in order", "in none"])
def test_a_history_killed_anywhere_goes_on_to_the_same_bytes(
    tmp_path: Path, runner: Runner, kills: list[int], *, is_sorted: bool
) -> None:
    """SIGKILL before a step that touches the disk, then before another one of the call that goes
    on, and so on: in the end the shards and the record are those of a call that nobody disturbed.
    """
    times = some_times(60, minutes=6)
    whole = Line(deployment_values(tmp_path / "whole"), partitions=1)
    files = written(whole, tmp_path / "events.parquet", sorted(times) if is_sorted else times)
    steps = runner(values=whole.values, files=str(files))["steps"]
    record = whole.ledger.history_path().read_bytes()
    for kill_at in kills:
        line = Line(deployment_values(tmp_path / f"killed-{kill_at}"), partitions=1)
        died = runner(values=line.values, files=str(files), die_before=kill_at)
        assert died["killed"] == (kill_at <= len(steps))
        runner(values=line.values, files=str(files), die_before=max(1, kill_at // 2))
        assert runner(values=line.values, files=str(files))["code"] == 0

        assert bytes_of(line.deployment.shards_dir) == bytes_of(whole.deployment.shards_dir)
        assert line.ledger.history_path().read_bytes() == record
        assert line.ledger.check() == []


def test_what_happened_later_is_left_out_and_counted(offline: Line, tmp_path: Path) -> None:
    """Rows in shards and rows behind the end together are the rows of the files."""
    times = some_times()
    until = NOON + timedelta(minutes=10)

    made = taken(offline, written(offline, tmp_path / "events.parquet", times), until)

    own = [each for each in times if each < NOON_MS + 10 * MINUTE_MS]
    assert (made.history.rows, made.history.beyond) == (len(own), 100 - len(own))
    assert offline.rows()["at"].cast(pa.int64()).to_pylist() == sorted(own)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder, line: written(line, folder / "a.parquet", some_times(90)), "has changed"),
        (lambda folder, line: written(line, folder / "c.parquet", some_times(9)), "one too many"),
        (lambda folder, _: (folder / "b.parquet").unlink(), "is missing"),
    ],
    ids=["changed", "more", "fewer"],
)
def test_other_files_are_refused(
    offline: Line, tmp_path: Path, change: Callable[[Path, Line], object], said: str
) -> None:
    """A history is of the files that it was begun with: by name which one is not."""
    folder = tmp_path / "files"
    written(offline, folder / "a.parquet", some_times(20))
    written(offline, folder / "b.parquet", some_times(20, seed=2))
    taken(offline, folder)
    before = bytes_of(offline.deployment.data_dir)
    change(folder, offline)

    with pytest.raises(Refused, match=said):
        taken(offline, folder)
    assert bytes_of(offline.deployment.data_dir) == before


def test_another_end_is_refused(offline: Line, tmp_path: Path) -> None:
    """So is a history that is begun with --to, and goes on with another."""
    files = written(offline, tmp_path / "events.parquet", some_times())
    taken(offline, files, NOON + timedelta(minutes=10))

    with pytest.raises(Refused, match="12:10:00Z, and now it shall be before the end of the files"):
        taken(offline, files)


def test_a_file_that_is_there_twice_is_refused(offline: Line, tmp_path: Path) -> None:
    """Under whatever name: its events would count twice. Parts without a row are often the same."""
    folder = tmp_path / "files"
    for name in ("empty.parquet", "empty-too.parquet"):
        written(offline, folder / name, [])
    twin = folder / "later" / "twin.parquet"
    twin.parent.mkdir()
    twin.write_bytes(written(offline, folder / "a.parquet", some_times()).read_bytes())

    with pytest.raises(Refused, match=r"later/twin.parquet is a.parquet once more"):
        taken(offline, folder)
    assert not list(offline.deployment.data_dir.rglob("*.parquet"))

    twin.unlink()
    assert taken(offline, folder).history.rows == len(some_times())


@pytest.mark.parametrize("below", [".", "shards", "shards/files", "checkpoints"])
def test_what_twintide_writes_is_no_history(offline: Line, below: str) -> None:
    """Its shards would be taken once more: the files lie in a folder of their own."""
    folder = offline.deployment.data_dir / below
    written(offline, folder / "events.parquet", some_times())

    with pytest.raises(Refused, match="no folder of data files alone"):
        taken(offline, folder)
    assert len(list(offline.deployment.data_dir.rglob("*"))) <= 3


def test_a_later_end_says_that_more_days_are_over(offline: Line, tmp_path: Path) -> None:
    """Begun without one, the last day of the files waits for what may come, until an end is given.
    An earlier end, or none, changes nothing.
    """
    files = written(offline, tmp_path / "events.parquet", some_times())
    end = NOON.replace(hour=0) + timedelta(days=1)
    taken(offline, files)
    assert nightly_due(offline.deployment, clock=CLOCK).day is None

    for until in (end, None, NOON + timedelta(hours=1)):
        taken(offline, files, until)
        assert complete_until(offline.ledger, clock=CLOCK) == end
    assert nightly_due(offline.deployment, clock=CLOCK).day == NOON.date()


def test_a_history_without_its_newest_shard_has_it_made_anew(offline: Line, tmp_path: Path) -> None:
    """By the same command, which `verify` names."""
    files = written(offline, tmp_path / "events.parquet", some_times())
    taken(offline, files)
    before = bytes_of(offline.deployment.shards_dir)
    newest = max(offline.deployment.shards_dir.rglob(f"*-{PARTITION}-*"))
    newest.unlink()

    assert any("train backfill --files" in each for each in offline.ledger.check())
    taken(offline, files)

    assert bytes_of(offline.deployment.shards_dir) == before
    assert offline.ledger.check() == []


def test_a_history_without_its_record_is_wrong(offline: Line, tmp_path: Path) -> None:
    """So is one whose record is damaged, and nothing is taken until it is as it was."""
    files = written(offline, tmp_path / "events.parquet", some_times())
    taken(offline, files)
    record = offline.ledger.history_path()
    said = record.read_bytes()

    record.write_bytes(said[:-9])
    assert any("history" in each for each in offline.ledger.check())
    record.unlink()
    assert any("was removed" in each for each in offline.ledger.check())
    with pytest.raises(Corrupt, match="and no record"):
        taken(offline, files)

    record.write_bytes(said)
    assert offline.ledger.check() == []


@pytest.mark.parametrize("leads_to", ["a folder", "what is not there"])
def test_a_link_to_what_would_be_left_out_is_refused(
    offline: Line, tmp_path: Path, leads_to: str
) -> None:
    """Rows behind it would be missing in silence."""
    folder = tmp_path / "parts"
    written(offline, folder / "a.parquet", some_times())
    written(offline, tmp_path / "a folder" / "b.parquet", some_times())
    (folder / "c").symlink_to(tmp_path / leads_to)

    with pytest.raises(Refused, match=f"c is a link to {leads_to}"):
        taken(offline, folder)


def test_a_file_whose_name_is_no_text_is_refused(offline: Line, tmp_path: Path) -> None:
    """By that name, as well as it can be written."""
    named = tmp_path / "parts" / os.fsdecode(b"b\xe9.parquet")
    named.parent.mkdir()
    named.write_bytes(written(offline, tmp_path / "a.parquet", some_times()).read_bytes())

    with pytest.raises(Refused, match=r"b\\udce9.parquet' is no UTF-8"):
        taken(offline, named.parent)


def test_an_end_behind_the_last_row_is_the_end_of_the_files(offline: Line, tmp_path: Path) -> None:
    """However it is said, now and when it was begun."""
    files = written(offline, tmp_path / "events.parquet", some_times())
    first = taken(offline, files, NOON + timedelta(days=30))

    assert taken(offline, files).history == first.history
    assert taken(offline, files, NOON + timedelta(days=31)).before == first.history.rows


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([NOON_MS, 0], "begins at 1970"),
        ([NOON_MS, NOON_MS + 4000 * 24 * 60 * MINUTE_MS], "has not come yet"),
        ([], "holds no event"),
    ],
    ids=["before 2000", "to come", "none"],
)
def test_times_that_cannot_be_are_refused(
    offline: Line, tmp_path: Path, times: list[int], said: str
) -> None:
    """Before anything is written."""
    with pytest.raises(Refused, match=said):
        taken(offline, written(offline, tmp_path / "events.parquet", times))
    assert offline.footers() == []
    assert offline.ledger.history() is None


def test_a_row_that_cannot_be_read_is_refused_before_anything_is_written(
    offline: Line, tmp_path: Path
) -> None:
    """By file, row and column, wherever it stands."""
    files = tmp_path / "events.jsonl"
    good = {"id": 1, "user": "u", "item": "i", "at": NOON_MS}
    files.write_text("".join(json.dumps(each) + "\n" for each in [good, good | {"id": "x"}]))

    with pytest.raises(Refused, match=r"events\.jsonl, line 2"):
        taken(offline, files)
    assert offline.footers() == []
    assert offline.ledger.history() is None


@pytest.mark.promise("S1")
def test_nothing_is_in_the_history_and_in_the_topic(offline: Line, tmp_path: Path) -> None:
    """Files that reach into what came from Kafka are refused, with where that begins; up to there
    they are taken. And a topic that begins before the end of the history is not ingested.
    """
    files = written(offline, tmp_path / "events.parquet", sorted(some_times()))
    live = events(offline, [NOON_MS + 20 * MINUTE_MS + 5])
    write_shards(offline.deployment, live)

    with pytest.raises(Refused, match="begin at 2023-11-15T12:20:00Z"):
        taken(offline, files)
    assert offline.ledger.history() is None
    made = taken(offline, files, NOON + timedelta(minutes=20))
    second = Appender(offline.deployment, offline.ledger, partition=1, partitions=2)
    second.add(events(offline, [made.history.last_ms]))
    with pytest.raises(Refused, match="partition 1, begins at 2023-11-15T12:19:00Z"):
        second.finish()

    assert len(offline.rows()) == made.history.rows + 1
    assert offline.ledger.check() == []


def test_a_history_behind_what_is_sliced_is_refused(offline: Line, tmp_path: Path) -> None:
    """Clicks are told of those before them: what comes before must be there first."""
    files = written(offline, tmp_path / "events.parquet", some_times())
    (offline.deployment.checkpoints_dir / "hourly-000001").mkdir(parents=True)

    with pytest.raises(Refused, match="sliced or learnt already"):
        taken(offline, files)
    assert offline.footers() == []


def test_training_waits_until_a_history_is_whole(offline: Line, tmp_path: Path) -> None:
    """No day is complete and no minute sealed while it is made, whatever came from Kafka; then its
    days are complete up to its end, or, where there is a topic as well, as far as that has come.
    """
    files = written(offline, tmp_path / "events.parquet", some_times())
    end = NOON.replace(hour=0) + timedelta(days=1)
    whole = taken(offline, files, end).history
    ledger = offline.ledger

    ledger.publish_history(whole.model_copy(update={"is_whole": False}))
    sealed = sealed_until(ledger, now=CLOCK.now(), clock=CLOCK)
    assert (complete_until(ledger, clock=CLOCK), sealed.year) == (None, 2000)
    assert nightly_due(offline.deployment, clock=CLOCK).day is None
    with pytest.raises(Refused, match="is not whole"):
        hourly(offline.deployment, clock=CLOCK)

    ledger.publish_history(whole)
    assert complete_until(ledger, clock=CLOCK) == end
    assert nightly_due(offline.deployment, clock=CLOCK).day == NOON.date()
    later = events(offline, [NOON_MS + 60 * MINUTE_MS])
    write_shards(offline.deployment, later, complete_until=NOON + timedelta(hours=2))
    assert complete_until(ledger, clock=CLOCK) == NOON + timedelta(hours=2)


@pytest.mark.long
@pytest.mark.promise("S1")
def test_ingest_goes_on_beside_and_after_a_history(line: NewLine, tmp_path: Path) -> None:
    """A topic that is being read, then its history, then more of the topic: every message and every
    row of the files once, each with offsets of its own.
    """
    made = line(partitions=2)
    made.feed(range(20), start_ms=NOON_MS + 60 * MINUTE_MS)
    made.catch_up()
    files = written(made, tmp_path / "events.parquet", some_times())
    with made.running(SystemClock()):
        history = taken(made, files).history
    made.feed(range(20, 40), start_ms=NOON_MS + 90 * MINUTE_MS)
    made.catch_up()

    stored = made.stored()
    own = {number for partition, number in stored if partition == PARTITION}
    assert {key: count for key, count in stored.items() if key[0] != PARTITION} == made.fed
    assert own == set(range(100)) == set(range(history.rows))
    assert max(stored.values()) == max(made.offsets().values()) == 1
    assert made.ledger.check() == []


def test_a_fresh_topic_that_begins_too_early_stops_ingest(line: NewLine, tmp_path: Path) -> None:
    """It says from when to when, instead of counting events twice."""
    made = line()
    taken(made, written(made, tmp_path / "events.parquet", some_times()))
    made.feed(range(5), start_ms=NOON_MS + MINUTE_MS)

    with pytest.raises(Refused, match="would count twice"):
        made.catch_up()
    assert {each.partition for each in made.footers()} == {PARTITION}

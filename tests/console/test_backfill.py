from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from streaming.offline import write_shards
from tests.console.conftest import Twintide, hour, stream, write_config
from tests.trainer.conftest import deployment_in
from twintide.config import fill_in, load


@pytest.mark.promise("S14")
@pytest.mark.long
def test_days_of_history_become_nights(twintide: Twintide, kafka: str, tmp_path: Path) -> None:
    """The recipe of docs/operations.md on three days: replay, ingest, nights; not twice."""
    own = {"kafka": {"bootstrap_servers": [kafka], "topic": f"backfill-{uuid4().hex[:8]}"}}
    deployment = fill_in(deployment_in(tmp_path / "data"), own)
    write_config(deployment, tmp_path)
    events = stream(deployment, hours=72)
    half = len(events) // 2
    parts = tmp_path / "history"
    parts.mkdir()
    pq.write_table(events.slice(half), parts / "b.parquet")
    pq.write_table(events.slice(0, half), parts / "a.parquet")

    replayed = twintide("replay", "history", "--json")
    ingested = twintide("ingest", "--until-caught-up", "--json")
    again = twintide("replay", "history")
    trained = twintide("train", "nightly", "--json")

    assert replayed.json["events"] == replayed.json["of"] == len(events)
    assert ingested.json["rows"] == len(events)
    assert (again.code, "--again" in again.err) == (2, True)
    assert trained.code == 0, trained.err
    assert len(list((tmp_path / "data" / "checkpoints").glob("nightly-*"))) == 3


def test_a_history_up_to_a_day_that_is_not_over_is_refused(twintide: Twintide, bare: Path) -> None:
    """Before anything of it is taken: its end could not be changed any more."""
    pq.write_table(stream(load(bare), hours=2), "history.parquet")
    options = ("--from", "2026-03-01", "--to", "2026-03-02", "--now", "2026-03-02T13:00Z")

    refused = twintide("train", "backfill", *options, "--files", "history.parquet")

    assert (refused.code, "day 2026-03-02 is not over" in refused.err) == (2, True), refused
    assert not list(load(bare).data_dir.rglob("*.parquet"))


@pytest.mark.promise("T4")
@pytest.mark.long
def test_a_history_may_end_before_the_day_that_is_given(twintide: Twintide, bare: Path) -> None:
    """That day is a bound: what there is before it is learnt, and the command may be repeated."""
    pq.write_table(stream(load(bare), hours=26), "history.parquet")
    options = ("--from", "2026-03-01", "--to", "2026-03-04", "--now", "2026-03-07T13:00Z", "--json")

    made = twintide("train", "backfill", *options, "--files", "history.parquet")
    again = twintide("train", "backfill", *options, "--files", "history.parquet")

    assert (made.code, again.code) == (0, 0), (made, again)
    learnt = [each["checkpoint"]["day"] for each in made.json["nights"]]
    assert learnt == ["2026-03-01", "2026-03-02"]


@pytest.mark.promise("T1")
@pytest.mark.promise("T4")
@pytest.mark.long
def test_files_that_never_were_in_kafka_become_nights(twintide: Twintide, tmp_path: Path) -> None:
    """One command: two days of a file, each click of theirs learnt once; what the topic brings
    afterwards is the next hourly run's. Begun again, it takes and learns nothing twice.
    """
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    events = stream(deployment, hours=60)
    history, live = between(events, 0, 49), between(events, 49, 60)
    in_no_order = np.random.default_rng(1).permutation(len(history))
    pq.write_table(history.take(in_no_order), tmp_path / "history.parquet")
    days = ("--from", f"{hour(0):%Y-%m-%d}", "--to", f"{hour(24):%Y-%m-%d}")

    made = twintide("train", "backfill", *days, "--files", "history.parquet", "--json")
    again = twintide("train", "backfill", *days, "--files", "history.parquet")
    write_shards(deployment, live, complete_until=hour(60))
    came = twintide("train", "hourly", "--now", f"{hour(60):%Y-%m-%dT%H:%MZ}", "--json")

    assert made.code == 0, made.err
    assert came.code == 0, came.err
    status = twintide("status", "--now", f"{hour(60):%Y-%m-%dT%H:%MZ}")
    assert f"history of files: {len(between(events, 0, 48)):,} events of history.p" in status.out
    taken = made.json["history"]["history"]
    nights = [each["checkpoint"]["rows"] for each in made.json["nights"]]
    assert taken["rows"] == len(between(events, 0, 48))
    assert taken["rows"] + taken["beyond"] == len(history)
    assert nights == [clicks(between(events, day, day + 24)) for day in (0, 24)]
    assert (again.code, "learnt already" in again.err) == (2, True)
    held_back = hour(60) - timedelta(minutes=20)
    assert came.json[0]["checkpoint"]["rows"] == clicks(
        live.filter(pc.less(live["event_at"], pa.scalar(held_back, live["event_at"].type)))
    )


def between(events: pa.Table, first: int, end: int) -> pa.Table:
    """Those of some hours of the stream."""
    at = events["event_at"]
    first_at, end_at = (pa.scalar(hour(each), at.type) for each in (first, end))
    return events.filter(pc.and_(pc.greater_equal(at, first_at), pc.less(at, end_at)))


def clicks(events: pa.Table) -> int:
    """How many of the events are clicks."""
    return int(pc.sum(events["clicked"]).as_py())

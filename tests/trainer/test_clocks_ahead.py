"""Shards that a producer's clock, or our own, has put into a future that has not come."""

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.behind import newest_minute, shards_behind
from twintide.clock import HeldClock, SystemClock, floor_to_minutes, iso, to_unix_ms
from twintide.config import Deployment
from twintide.days import complete_until
from twintide.due import nightly_due
from twintide.shards import Ledger, Watermark
from twintide.slices import chain_dir, read_chain

TOPIC = "clicks"
MINUTE = timedelta(minutes=1)
NOW = floor_to_minutes(SystemClock().now(), 1)
FUTURE = NOW + timedelta(days=400)


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    sparse = {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"}
    model: dict[str, Any] = {
        "embedding_width": 8,
        "tower": {"kind": "dnn", "hidden": [16]},
        "output_width": 8,
        "query": [sparse, {"kind": "history", "name": "h", "table": "item", "length": 5}],
        "candidate": [{"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}],
    }
    values = {
        "data_dir": str(tmp_path),
        "kafka": {"topic": TOPIC},
        "events": {
            "columns": {"user_id": "string", "item_id": "string", "event_at": "timestamp_ms"},
            "user": "user_id",
            "item": "item_id",
            "time": "event_at",
        },
        "model": model,
        "training": {"threads": 1},
    }
    return config.parse(values, name="test")


def old_shard(
    deployment: Deployment,
    minute_at: datetime,
    stored_at: Sequence[datetime],
    *,
    first: int,
    happened_at: Sequence[datetime] | None = None,
) -> int:
    """A shard of format 1 as its program wrote it, byte for byte in what it says; its next."""
    count = len(stored_at)
    times = [to_unix_ms(at) for at in happened_at or stored_at]
    schema = deployment.events.shard_schema()
    columns = [
        [f"u{number % 20}" for number in range(first, first + count)],
        [f"i{number % 30}" for number in range(first, first + count)],
        pa.array(times).cast(pa.timestamp("ms", tz="UTC")),
        [0] * count,
        list(range(first, first + count)),
        pa.array([to_unix_ms(at) for at in stored_at]).cast(pa.timestamp("ms", tz="UTC")),
    ]
    footer = {
        "format": 1,
        "topic": TOPIC,
        "partition": 0,
        "first": first,
        "next": first + count,
        "minute_at": iso(minute_at),
        "rows": count,
        "rejected": 0,
        "filtered": 0,
        "quarantine": None,
        "gap_before": 0,
        "partitions": 1,
        "code_version": "0.1.0",
        "fingerprint": deployment.events.fingerprint(),
    }
    table = pa.table(columns, schema=schema)
    folder = deployment.shards_dir / f"date={minute_at:%Y-%m-%d}" / f"hour={minute_at:%H}"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata({b"twintide.shard": json.dumps(footer)}),
        folder / f"{TOPIC}-00000-{first:020d}.parquet",
        write_page_checksum=True,
    )
    return first + count


def ledger_of(deployment: Deployment) -> Ledger:
    return Ledger(deployment.shards_dir, TOPIC)


def stands_at(deployment: Deployment, next_offset: int, complete_until: datetime) -> None:
    ledger_of(deployment).publish_watermark(
        Watermark(
            topic=TOPIC,
            partition=0,
            next=next_offset,
            complete_until=complete_until,
            partitions=1,
        )
    )


def minutes_of(deployment: Deployment, until: datetime = NOW) -> list[tuple[int, str]]:
    """(first, how long before NOW) of each shard that may be learnt."""
    found = shards_behind(
        ledger_of(deployment), {}, {}, since=None, until=until, clock=SystemClock()
    )
    return [(each.footer.first, str(NOW - each.minute_at)) for each in found]


@pytest.mark.promise("S13")
def test_a_log_that_a_producer_ahead_has_poisoned_is_learnt_whole(deployment: Deployment) -> None:
    """40 hours of clicks, one from a clock 400 days ahead, nine hours more: the old program put all
    behind it into that future.
    """
    start = NOW - timedelta(hours=50)
    following = 0
    for minute in range(0, 40 * 60, 40):
        at = start + minute * MINUTE
        following = old_shard(deployment, at, [at], first=following)
    behind = [start + minute * MINUTE for minute in range(41 * 60, 50 * 60, 4)]
    following = old_shard(deployment, FUTURE, [FUTURE, *behind], first=following)
    stands_at(deployment, following, SystemClock().now())

    assert nightly_due(deployment, clock=SystemClock()).day is not None
    nights = nightly(deployment, clock=SystemClock())
    hour = hourly(deployment, clock=SystemClock())

    checkpoints = [each.checkpoint for each in [*nights, hour] if each.checkpoint]
    assert sum(each.rows for each in checkpoints) == 60 + 1 + 135
    assert all(each.day is None or each.day < NOW.date() for each in checkpoints)
    newest = [
        each.footer.newest_event_at
        for each in read_chain(
            chain_dir(deployment.slices_dir, deployment.events, deployment.model)
        )
    ]
    assert max(each for each in newest if each) < NOW
    assert nightly_due(deployment, clock=SystemClock()).day is None


@pytest.mark.promise("S13")
def test_a_first_shard_in_the_future_belongs_to_its_earliest_row(deployment: Deployment) -> None:
    """Or, where no row has come either, to what follows, or to now."""
    stored = NOW - timedelta(hours=3)
    old_shard(deployment, FUTURE, [FUTURE, stored, stored + MINUTE], first=0)
    old_shard(deployment, FUTURE, [FUTURE], first=3)

    assert minutes_of(deployment) == [(0, "3:00:00"), (3, "3:00:00")]


@pytest.mark.promise("S13")
def test_shards_of_the_future_alone_are_learnt_now(deployment: Deployment) -> None:
    """Nothing waits for an instant that only a wrong clock has named."""
    old_shard(deployment, FUTURE, [FUTURE], first=0)

    assert minutes_of(deployment) == [(0, "0:01:00")]


@pytest.mark.promise("S13")
def test_minutes_that_came_back_give_no_gap(deployment: Deployment) -> None:
    """Our own clock was five hours ahead for one shard, and that instant has passed by now: the
    shards are taken in the order of offsets, and the wrong one with the one before it.
    """
    for first, hours in enumerate([8, 7, 2, 6, 5]):
        at = NOW - timedelta(hours=hours)
        old_shard(deployment, at, [at], first=first)

    expected = [(0, "8:00:00"), (1, "7:00:00"), (2, "7:00:00"), (3, "6:00:00"), (4, "5:00:00")]
    assert minutes_of(deployment) == expected
    assert minutes_of(deployment, until=NOW - timedelta(hours=4)) == expected


@pytest.mark.promise("S13")
def test_what_is_said_to_be_complete_in_the_future_says_nothing(deployment: Deployment) -> None:
    """Neither a shard nor a watermark of an instant that has not come makes a day complete."""
    following = old_shard(deployment, FUTURE, [FUTURE], first=0)
    ledger, clock = ledger_of(deployment), SystemClock()
    stands_at(deployment, following, FUTURE)
    assert complete_until(ledger, clock=clock) is None

    stands_at(deployment, following, NOW)
    assert complete_until(ledger, clock=clock) == NOW
    newest = newest_minute(ledger, 0, clock=clock)
    assert newest is not None
    assert newest <= clock.now()


def test_a_replay_does_not_take_its_own_future_for_a_wrong_clocks(deployment: Deployment) -> None:
    """Shards between the instant that is held and the machine's clock are only not yet due."""
    for first, hours in enumerate([4, 3, 2]):
        at = NOW - timedelta(hours=hours)
        old_shard(deployment, at, [at], first=first)
    held = HeldClock(NOW - timedelta(hours=3, minutes=30))
    found = shards_behind(ledger_of(deployment), {}, {}, since=None, until=held.now(), clock=held)

    assert [each.footer.first for each in found] == [0]
    assert date.min < found[0].minute_at.date()

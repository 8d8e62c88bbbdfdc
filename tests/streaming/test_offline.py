from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from streaming.offline import write_shards
from tests.streaming.line import NOON_MS, Line, deployment_values
from twintide.clock import from_unix_ms
from twintide.errors import Refused

NOON = from_unix_ms(NOON_MS)


def events(line: Line, seconds: list[int]) -> pa.Table:
    """One event at each of these seconds after noon."""
    count = len(seconds)
    return pa.table(
        {
            "id": pa.array(seconds, pa.int64()),
            "user": [None if second % 5 == 0 else f"u{second % 13}" for second in seconds],
            "item": ["i"] * count,
            "at": pa.array([NOON_MS + second * 1000 for second in seconds]).cast(
                pa.timestamp("ms", tz="UTC")
            ),
            "price": pa.nulls(count, pa.float64()),
            "liked": pa.nulls(count, pa.bool_()),
            "tags": pa.nulls(count, pa.list_(pa.string())),
            "codes": pa.nulls(count, pa.list_(pa.int64())),
        }
    ).cast(line.deployment.events.arrow_schema())


@pytest.fixture
def offline(tmp_path: Path) -> Line:
    return Line(deployment_values(tmp_path / "data"), partitions=2)


def test_shards_are_written_as_ingest_would(offline: Line) -> None:
    """Minutes by event time, offsets from zero, broker time is event time, ledger sound."""
    write_shards(offline.deployment, events(offline, [0, 59, 60, 185]))

    shards = [
        (footer.first, footer.next, f"{footer.minute_at:%H:%M}", footer.rows, footer.partitions)
        for footer in offline.footers()
    ]
    assert shards == [(0, 2, "12:00", 2, 1), (2, 3, "12:01", 1, 1), (3, 4, "12:03", 1, 1)]
    assert offline.rows()["at"].equals(offline.rows()["broker_at"])
    assert offline.ledger.check() == []


def test_a_stream_may_be_written_hour_by_hour(offline: Line) -> None:
    """Each call goes on where the last one ended, in every partition; users stay in theirs."""
    seconds = list(range(0, 3 * 3600, 101))
    for hour in range(3):
        own = [second for second in seconds if second // 3600 == hour]
        write_shards(
            offline.deployment,
            events(offline, own),
            partitions=2,
            complete_until=NOON + timedelta(hours=hour + 1),
        )

    rows = offline.rows()
    assert sorted(rows["id"].to_pylist()) == seconds
    assert offline.ledger.check() == []
    owners = set(zip(rows["user"].to_pylist(), rows["kafka_partition"].to_pylist(), strict=True))
    assert len(owners) == len({user for user, _ in owners})
    watermarks = offline.ledger.watermarks()
    assert {each.complete_until for each in watermarks.values()} == {NOON + timedelta(hours=3)}
    assert sum(each.next for each in watermarks.values()) == len(seconds)


def test_everything_is_complete_up_to_the_last_event(offline: Line) -> None:
    """Unless the caller knows better; a partition without an event as well."""
    write_shards(offline.deployment, events(offline, [10, 20]), partitions=3)

    complete = {each.complete_until for each in offline.ledger.watermarks().values()}
    assert complete == {NOON + timedelta(seconds=20)}
    assert len(offline.ledger.watermarks()) == 3


def test_events_out_of_order_are_refused(offline: Line) -> None:
    """The caller sorts; nothing is guessed."""
    with pytest.raises(Refused, match="sorted by time"):
        write_shards(offline.deployment, events(offline, [20, 10]))
    assert offline.footers() == []


def test_no_events_are_no_shards(offline: Line) -> None:
    """An hour in which nothing happened."""
    write_shards(offline.deployment, events(offline, []))

    assert offline.footers() == []
    assert offline.ledger.watermarks() == {}

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.content import Content, content_of, pieces
from streaming.cutter import Cut
from streaming.messages import Messages, messages_of
from tests.streaming.line import NOON_MS, deployment_values, event
from twintide import config
from twintide.events import EventSchema

NOON = datetime(2023, 11, 15, 12, tzinfo=UTC)


@pytest.fixture
def schema(tmp_path: Path) -> EventSchema:
    return config.parse(deployment_values(tmp_path), name="test").events


def cut_of(values: Sequence[Any]) -> Cut:
    """A cut of these messages at offsets from 0 on; of none, over ten offsets."""
    count = len(values)
    times_ms = np.full(count, NOON_MS, np.int64)
    run = Messages(np.arange(count), count, times_ms, values, bytes=0)
    return Cut(
        partition=0,
        first=0,
        next=count or 10,
        minute_at=NOON,
        after=None,
        runs=(run,) if values else (),
    )


def rows_of(content: Content) -> pa.Table:
    with pq.ParquetFile(pa.BufferReader(content.rows.sealed({}))) as file:
        return file.read()


@pytest.mark.promise("S8")
def test_a_cut_of_tombstones_alone_is_filtered(schema: EventSchema) -> None:
    """It has no row and no rejected message, and what lies behind it is read."""
    content = content_of(cut_of([None] * 3), schema)

    assert (content.rows.count, content.rejected_count, content.filtered) == (0, 0, 3)
    assert content.is_bad.tolist() == [False] * 3


def test_a_cut_may_hold_no_message(schema: EventSchema) -> None:
    """Offsets that hold none (markers, aborted, compacted) are a position to keep all the same."""
    content = content_of(cut_of([]), schema)

    assert (content.rows.count, content.rejected_count, content.filtered) == (0, 0, 0)
    assert rows_of(content).schema.equals(schema.shard_schema())


@pytest.mark.promise("S8")
def test_what_cannot_be_typed_is_set_aside_alone(schema: EventSchema) -> None:
    """An error that nobody foresaw names itself in quarantine, and takes no other message along:
    consumed = rows + rejected + filtered.
    """
    unforeseen = memoryview(event(1, NOON_MS))[::2]  # nothing that a broker sends
    values = [event(number, NOON_MS) for number in range(100)]
    content = content_of(cut_of([*values[:60], None, unforeseen, *values[60:]]), schema)

    assert (content.rows.count, content.rejected_count, content.filtered) == (100, 1, 1)
    assert np.flatnonzero(content.is_bad).tolist() == [61]
    assert content.reason.startswith("not typed: ")
    rows = rows_of(content)
    assert rows["id"].to_pylist() == list(range(100))
    assert rows["kafka_offset"].to_pylist() == [*range(60), *range(62, 102)]


def test_a_cut_that_fails_everywhere_is_set_aside_whole(schema: EventSchema) -> None:
    """And soon: nobody searches for each of its messages."""
    unforeseen = [memoryview(event(1, NOON_MS))[::2]] * 5000
    content = content_of(cut_of([None, *unforeseen]), schema)

    assert (content.rows.count, content.rejected_count, content.filtered) == (0, 5000, 1)


@pytest.mark.promise("S11")
def test_a_cut_is_typed_in_pieces(schema: EventSchema) -> None:
    """Whatever sizes its batches have; each piece is a row group, and what is held of it."""
    sizes = [1, 1, 300, 5, 40, 1000, 2]
    runs, first = [], 0
    for size in sizes:
        offsets = np.arange(first, first + size)
        values = [event(int(offset), NOON_MS) for offset in offsets]
        times_ms = np.full(size, NOON_MS, np.int64)
        runs.append(messages_of(offsets, first + size, times_ms, values))
        first += size
    bound = 20_000
    found = list(pieces(tuple(runs), piece_bytes=bound))

    assert [int(offset) for each in found for offset in each.offsets] == list(range(first))
    assert max(each.bytes for each in found) <= bound
    assert len(found) < 2 * sum(each.bytes for each in found) / bound

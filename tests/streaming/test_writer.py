from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streaming.cutter import Cut
from streaming.messages import Messages
from streaming.writer import content_of
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


@pytest.mark.promise("S8")
def test_a_cut_of_tombstones_alone_is_filtered(schema: EventSchema) -> None:
    """It has no row and no rejected message, and what lies behind it is read."""
    content = content_of(cut_of([None] * 3), schema)

    assert (len(content.events), len(content.rejected), content.filtered) == (0, 0, 3)
    assert content.is_bad.tolist() == [False] * 3


def test_a_cut_may_hold_no_message(schema: EventSchema) -> None:
    """Offsets that hold none (markers, aborted, compacted) are a position to keep all the same."""
    content = content_of(cut_of([]), schema)

    assert (len(content.events), len(content.rejected), content.filtered) == (0, 0, 0)
    assert content.events.schema == schema.shard_schema()


@pytest.mark.promise("S8")
def test_what_cannot_be_typed_is_set_aside_whole(schema: EventSchema) -> None:
    """An error that nobody foresaw names itself in quarantine: consumed = rows + rejected +
    filtered.
    """
    unforeseen = memoryview(event(1, NOON_MS))[::2]  # nothing that a broker sends
    content = content_of(cut_of([event(0, NOON_MS), None, unforeseen]), schema)

    assert (len(content.events), len(content.rejected), content.filtered) == (0, 2, 1)
    assert content.is_bad.tolist() == [True, False, True]
    assert content.rejected["reason"][0].as_py().startswith("not typed: ")

from typing import Any

import pytest

from streaming.resume import Stand, resume_point
from tests.streaming.test_cutter import NOON, footer
from twintide.errors import Refused
from twintide.shards import Watermark

LOG: dict[str, Any] = {"begin": 0, "end": 20, "topic_id": None, "agrees_until": None}


def point(stand: Stand | None, *, accept_gap: bool = False, **log: Any) -> int:
    return resume_point("t", 0, stand, accept_gap=accept_gap, **{**LOG, **log})


def stand(newest_next: int | None, watched_next: int | None = None, **newest: Any) -> Stand | None:
    before = None if newest_next is None else footer(next_offset=newest_next, minute_at=NOON)
    if before is not None:
        before = before.model_copy(update=newest)
    watched = None if watched_next is None else mark(watched_next)
    return Stand.of(before, watched)


def mark(next_offset: int) -> Watermark:
    return Watermark(
        topic="t", partition=0, next=next_offset, complete_until=NOON, partitions=1, topic_id="a"
    )


@pytest.mark.promise("S6")
@pytest.mark.parametrize(
    ("newest", "watched", "begin", "end", "expected"),
    [
        (None, None, 0, 0, 0),
        (None, None, 5, 9, 5),
        (None, 0, 0, 9, 0),
        (None, 4, 2, 9, 4),
        (7, None, 0, 7, 7),
        (7, 7, 7, 9, 7),
        (7, None, 0, 9, 7),
        (7, 9, 9, 12, 9),
        (7, 9, 3, 12, 7),
    ],
)
def test_reading_goes_on_where_the_partition_stands(
    newest: int | None, watched: int | None, begin: int, end: int, expected: int
) -> None:
    """Where its newest shard ends; without one, where it was watched; else where the log begins.
    Offsets that held no message are not missed.
    """
    assert point(stand(newest, watched), begin=begin, end=end) == expected


@pytest.mark.promise("S6")
@pytest.mark.parametrize(
    ("newest", "watched"), [(7, None), (7, 7), (None, 7)], ids=["shard", "both", "watched"]
)
def test_deleted_offsets_are_refused_unless_accepted(
    newest: int | None, watched: int | None
) -> None:
    """The message names the missing offsets, the hint the key that goes on without them."""
    with pytest.raises(Refused, match="offsets 7 to 8 of t, partition 0") as refused:
        point(stand(newest, watched), begin=9)
    assert "accept_gap" in refused.value.hint
    assert point(stand(newest, watched), begin=9, accept_gap=True) == 9


ANOTHER_LOG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "it ends earlier": ({}, {"end": 3}, "its log ends at 3"),
    "it ends before what was watched": ({"watched_next": 12}, {"end": 9}, "its log ends at 9"),
    "made anew": ({"topic_id": "a"}, {"topic_id": "b"}, "id a, and it is b now"),
    "cut short and filled again": (
        {"leader_epoch": 2},
        {"agrees_until": 5},
        "cut short at offset 5 .*: offsets 5 to 6 ",
    ),
}


@pytest.mark.promise("S6")
@pytest.mark.parametrize(("ours", "log", "says"), ANOTHER_LOG.values(), ids=ANOTHER_LOG.keys())
@pytest.mark.parametrize("accept_gap", [True, False])
def test_a_log_that_is_not_the_one_that_was_read_is_refused(
    ours: dict[str, Any], log: dict[str, Any], says: str, *, accept_gap: bool
) -> None:
    """Going on would put other messages under the same offsets, or skip some without a word."""
    with pytest.raises(Refused, match=says) as refused:
        point(stand(7, **ours), accept_gap=accept_gap, **log)
    assert "data_dir" in refused.value.hint


@pytest.mark.parametrize(
    ("ours", "log"),
    [
        ({"topic_id": "a"}, {"topic_id": "a"}),
        ({"topic_id": None}, {"topic_id": "b"}),
        ({"topic_id": "a"}, {"topic_id": None}),
        ({"leader_epoch": 2}, {"agrees_until": 7}),
        ({"leader_epoch": 2}, {"agrees_until": -1}),
        ({"leader_epoch": 2}, {"agrees_until": 15, "begin": 7}),
    ],
)
def test_the_same_log_is_read_on(ours: dict[str, Any], log: dict[str, Any]) -> None:
    """Also where an older shard or an older broker does not say which it is."""
    assert point(stand(7, **ours), **log) == 7

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streaming.cutter import Cut, PartitionCutter, overfull
from streaming.messages import Messages
from twintide.clock import from_unix_ms
from twintide.config import ShardsConfig
from twintide.shards import ShardFooter

NOON = datetime(2023, 11, 15, 12, tzinfo=UTC)


def at(clock: str) -> datetime:
    """12:00:59 or 12:00:59.5 of the day."""
    return datetime.fromisoformat(f"2023-11-15T{clock}+00:00")


def run_of(clocks: Sequence[str | int], *, first: int = 0, size: int = 0) -> Messages:
    """Messages at these broker times (an int is Unix ms as it is), at offsets from `first` on."""
    times = [round(at(c).timestamp() * 1000) if isinstance(c, str) else c for c in clocks]
    end = first + len(times)
    return Messages(
        np.arange(first, end), end, np.array(times, np.int64), [b"x"] * len(times), bytes=size
    )


def cutter(first: int = 0, before: ShardFooter | None = None, **config: object) -> PartitionCutter:
    return PartitionCutter(0, ShardsConfig.model_validate(config), first=first, before=before)


def footer(*, next_offset: int, minute_at: datetime) -> ShardFooter:
    return ShardFooter(
        topic="clicks",
        partition=0,
        first=0,
        next=next_offset,
        minute_at=minute_at,
        rows=next_offset,
        partitions=1,
        fingerprint="0" * 16,
    )


def shown(cuts: Sequence[Cut | None]) -> list[tuple[int, int, str]]:
    """[first, next) and minute of each cut."""
    return [(cut.first, cut.next, f"{cut.minute_at:%H:%M}") for cut in cuts if cut is not None]


CASES = {
    "one minute": (["12:00:00", "12:00:59.999"], [(0, 2, "12:00")]),
    "two minutes": (["12:00:00", "12:01:00"], [(0, 1, "12:00"), (1, 2, "12:01")]),
    "a silent hour between": (["12:00:00", "13:07:00"], [(0, 1, "12:00"), (1, 2, "13:07")]),
    "late, while its successor is open": (
        ["12:00:30", "12:01:05", "12:00:59", "12:01:10"],
        [(0, 1, "12:00"), (1, 4, "12:01")],
    ),
    "late, just after a cut": (
        ["12:01:59", "12:02:00", "12:00:10"],
        [(0, 1, "12:01"), (1, 3, "12:02")],
    ),
    "nonsense times take that of the one before": (
        ["12:00:30", -1, 2**62, "12:01:00"],
        [(0, 3, "12:00"), (3, 4, "12:01")],
    ),
}


@pytest.mark.parametrize(("clocks", "expected"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("at_once", [True, False])
def test_a_shard_ends_when_broker_time_passes_its_minute(
    clocks: list[str | int], expected: list[tuple[int, int, str]], *, at_once: bool
) -> None:
    """Wherever the messages come in one run or one by one."""
    cutting = cutter()
    cuts: list[Cut | None] = []
    if at_once:
        cuts += cutting.add(run_of(clocks), NOON)
    else:
        for index, clock in enumerate(clocks):
            cuts += cutting.add(run_of([clock], first=index), NOON)
    cuts.append(cutting.flush())

    assert shown(cuts) == expected
    assert cutting.is_empty


def test_minutes_never_run_backwards_along_a_partition() -> None:
    """Late events that open a shard belong to the minute of the shard before it."""
    before = footer(next_offset=7, minute_at=at("12:05:00"))
    cutting = cutter(7, before)

    cuts = [*cutting.add(run_of(["12:01:00", "12:05:59", "12:06:00"], first=7), NOON)]

    assert shown(cuts) == [(7, 9, "12:05")]


def test_a_first_message_without_a_time_stays_in_the_minute_before() -> None:
    """So that rivals, whichever way they came to it, reach for the same folder."""
    before = footer(next_offset=7, minute_at=at("12:05:00"))
    cutting = cutter(7, before)

    cuts = [*cutting.add(run_of([-1], first=7), NOON), cutting.flush()]

    assert shown(cuts) == [(7, 8, "12:05")]


def test_a_full_shard_is_cut_early() -> None:
    """At exactly max_rows, within a run and across runs."""
    cutting = cutter(max_rows=3)
    cuts = [*cutting.add(run_of(["12:00:00"] * 7), NOON)]
    cuts += cutting.add(run_of(["12:00:01"] * 2, first=7), NOON)

    assert shown(cuts) == [(0, 3, "12:00"), (3, 6, "12:00"), (6, 9, "12:00")]
    assert cutting.is_empty


def test_the_largest_open_shard_is_cut_when_all_together_hold_too_much() -> None:
    """Memory is bounded over the partitions, not per partition."""
    small, large = cutter(), cutter()
    list(small.add(run_of(["12:00:00"], size=40), NOON))
    list(large.add(run_of(["12:00:00"], size=60), NOON))

    assert overfull([small, large], 101) is None
    assert overfull([small, large], 100) is large


@pytest.mark.promise("S4")
@pytest.mark.parametrize(
    ("now", "idle", "is_cut"),
    [
        ("12:00:59", True, False),
        ("12:01:01.9", True, False),
        ("12:01:02", True, True),
        ("12:01:02", False, False),
        ("12:01:35", False, True),
    ],
)
def test_an_idle_partition_closes_its_shard_after_its_minute(
    now: str, *, idle: bool, is_cut: bool
) -> None:
    """Minute over by the wall clock plus allowed lateness (2 s); a busy one only by age."""
    cutting = cutter()
    list(cutting.add(run_of(["12:00:30"]), at("12:00:32")))

    assert (cutting.due(at(now), idle=idle) is not None) == is_cut


def test_late_events_on_an_idle_partition_make_no_storm_of_shards() -> None:
    """After one idle cut the next waits a minute, and takes along what came meanwhile."""
    cutting = cutter()
    cuts: list[Cut | None] = []
    now = at("13:00:00")
    for offset in range(100):  # one a second, each an hour late
        cuts += cutting.add(run_of(["12:00:00"], first=offset), now)
        cuts.append(cutting.due(now, idle=True))
        now += timedelta(seconds=1)

    assert shown(cuts) == [(0, 1, "12:00"), (1, 61, "12:00")]


def test_a_minute_in_the_future_ends_by_age() -> None:
    """A producer whose clock is an hour ahead does not keep its events from the shards."""
    cutting = cutter()
    list(cutting.add(run_of(["13:00:00"]), at("12:00:00")))

    assert cutting.due(at("12:01:01"), idle=True) is None
    assert shown([cutting.due(at("12:01:02"), idle=True)]) == [(0, 1, "13:00")]


def test_offsets_without_messages_belong_to_the_shard_before() -> None:
    """Holes (transactions, compaction) leave no gap in the ledger."""
    times_ms = run_of(["12:00:00", "12:00:01", "12:01:00"]).times_ms
    cutting = cutter(10)
    holes = Messages(np.array([12, 15, 20]), 25, times_ms, [b""] * 3, 0)

    cuts = [*cutting.add(holes, NOON), cutting.flush(27)]

    assert shown(cuts) == [(10, 20, "12:00"), (20, 27, "12:01")]


def test_a_message_taken_twice_is_an_error() -> None:
    """Rather a crash and a new start from the shards than a doubled row."""
    cutting = cutter()
    list(cutting.add(run_of(["12:00:00"] * 3), NOON))

    with pytest.raises(ValueError, match="was taken before"):
        list(cutting.add(run_of(["12:00:00"], first=2), NOON))


def test_cuts_cover_every_message_once_whatever_the_times() -> None:
    """Random times and runs: contiguous ranges, minutes that grow, each message in its range."""
    random = np.random.default_rng(1)
    cutting = cutter(max_rows=50)
    cuts: list[Cut] = []
    offset = 0
    for _ in range(200):
        count = int(random.integers(1, 30))
        times_ms = np.cumsum(random.integers(-3000, 4000, count)) + 1_700_049_600_000 + offset * 9
        run = Messages(
            np.arange(offset, offset + count), offset + count, times_ms, [b""] * count, 0
        )
        cuts += cutting.add(run, from_unix_ms(0))
        offset += count
    last = cutting.flush()
    cuts += [last] if last else []

    assert [cut.first for cut in cuts[1:]] == [cut.next for cut in cuts[:-1]]
    assert (cuts[0].first, cuts[-1].next) == (0, offset)
    offsets = [int(each) for cut in cuts for run in cut.runs for each in run.offsets]
    assert offsets == list(range(offset))
    minutes = [cut.minute_at for cut in cuts]
    assert minutes == sorted(minutes)
    assert all(1 <= len(cut) <= 50 for cut in cuts)

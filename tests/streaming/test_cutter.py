from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streaming.cutter import Cut, OddStamp, PartitionCutter, overfull
from streaming.messages import Messages
from twintide.clock import from_unix_ms
from twintide.config import ShardsConfig
from twintide.events import LATEST_MS
from twintide.shards import ShardFooter

NOON = datetime(2023, 11, 15, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=3)


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
        cuts += cutting.add(run_of(clocks), LATER)
    else:
        for index, clock in enumerate(clocks):
            cuts += cutting.add(run_of([clock], first=index), LATER)
    cuts.append(cutting.flush())

    assert shown(cuts) == expected
    assert cutting.is_empty


def test_minutes_never_run_backwards_along_a_partition() -> None:
    """Late events that open a shard belong to the minute of the shard before it."""
    before = footer(next_offset=7, minute_at=at("12:05:00"))
    cutting = cutter(7, before)

    cuts = [*cutting.add(run_of(["12:01:00", "12:05:59", "12:06:00"], first=7), LATER)]

    assert shown(cuts) == [(7, 9, "12:05")]


def test_a_message_without_a_time_was_stored_when_it_was_read() -> None:
    """Or before the next one that has a time, since a log is in the order of storing."""
    before = footer(next_offset=7, minute_at=at("12:05:00"))
    alone, followed = cutter(7, before), cutter(7, before)

    list(alone.add(run_of([-1], first=7), LATER))
    cut = alone.flush()
    assert shown([cut]) == [(7, 8, "15:00")]
    assert times_of(cut) == ["15:00:00"]

    cuts: list[Cut | None] = [*followed.add(run_of([-1, "12:06:10", -1, 2**62], first=7), LATER)]
    cuts += [*followed.add(run_of(["12:06:20", -1, "12:07:00"], first=11), LATER)]
    assert shown(cuts) == [(7, 13, "12:06")]
    assert times_of(cuts[0]) == ["12:06:10", "12:06:10", *["12:06:20"] * 3, "12:07:00"]


def times_of(cut: Cut | None) -> list[str]:
    assert cut is not None
    return [f"{from_unix_ms(int(ms)):%H:%M:%S}" for run in cut.runs for ms in run.times_ms]


AHEAD = {"a minute": 1, "55 minutes": 55, "an hour": 60, "400 days": 400 * 24 * 60}


@pytest.mark.promise("S13")
@pytest.mark.parametrize("minutes", AHEAD.values(), ids=AHEAD.keys())
def test_a_stamp_ahead_of_our_clock_moves_nothing(minutes: int) -> None:
    """Not the minute of its shard, nor of those behind it; it is counted, and the first named."""
    ahead = round((NOON + timedelta(minutes=minutes)).timestamp() * 1000)
    cutting = cutter()
    cuts: list[Cut | None] = [
        *cutting.add(run_of(["11:58:00", "11:58:10", ahead, "11:58:20"]), NOON)
    ]
    cuts += cutting.add(run_of([ahead, "11:59:00", ahead], first=4), NOON)
    cuts.append(cutting.flush())

    assert shown(cuts) == [(0, 5, "11:58"), (5, 7, "11:59")]
    first, second = cuts
    assert first is not None
    assert second is not None
    assert (first.clock_ahead, second.clock_ahead) == (2, 1)
    assert first.odd == OddStamp(2, ahead, NOON)
    assert second.odd == OddStamp(6, ahead, NOON)
    assert times_of(first)[2:] == ["11:58:20", "11:58:20", "11:59:00"]
    assert times_of(second) == ["11:59:00", "12:00:00"]


@pytest.mark.promise("S13")
@pytest.mark.parametrize("stamp", [-1, 0, 1_700_049_600, 946_684_799_999])
def test_a_stream_without_sound_stamps_is_cut_by_our_clock(stamp: int) -> None:
    """None, seconds for milliseconds, the last century: every minute that we read is a shard."""
    cutting = cutter()
    cuts: list[Cut | None] = []
    for second in range(150):
        now = NOON + timedelta(seconds=second)
        cuts += cutting.add(run_of([stamp], first=second), now)
        cuts.append(cutting.due(now, idle=False))
    cuts = [cut for cut in [*cuts, cutting.flush()] if cut is not None]

    assert shown(cuts) == [(0, 63, "12:00"), (63, 123, "12:01"), (123, 150, "12:02")]
    assert [cut.clock_nonsense for cut in cuts if cut] == [63, 60, 27]
    assert [cut.clock_ahead for cut in cuts if cut] == [0, 0, 0]


@pytest.mark.promise("S13")
def test_minutes_come_back_from_a_future_that_a_wrong_clock_made() -> None:
    """A shard of an older program, or one that was cut while our own clock was wrong."""
    before = footer(next_offset=7, minute_at=NOON + timedelta(days=400))
    cutting = cutter(7, before)
    cuts = [*cutting.add(run_of(["11:58:00", "11:59:00"], first=7), NOON), cutting.flush()]

    assert shown(cuts) == [(7, 8, "11:58"), (8, 9, "11:59")]


@pytest.mark.promise("S13")
def test_a_wall_clock_set_back_keeps_no_shard_open() -> None:
    """An idle shard whose minute lies in the future by then ends by elapsed time."""
    elapsed = [100.0]
    cutting = PartitionCutter(0, ShardsConfig(), first=0, elapsed=lambda: elapsed[0])
    list(cutting.add(run_of(["12:00:00"]), NOON))
    six_hours_ago = NOON - timedelta(hours=6)

    elapsed[0] += 61.9
    assert cutting.due(six_hours_ago, idle=True) is None
    elapsed[0] += 0.1
    assert shown([cutting.due(six_hours_ago, idle=True)]) == [(0, 1, "12:00")]


def test_a_full_shard_is_cut_early() -> None:
    """At exactly max_rows, within a run and across runs."""
    cutting = cutter(max_rows=3)
    cuts = [*cutting.add(run_of(["12:00:00"] * 7), LATER)]
    cuts += cutting.add(run_of(["12:00:01"] * 2, first=7), LATER)

    assert shown(cuts) == [(0, 3, "12:00"), (3, 6, "12:00"), (6, 9, "12:00")]
    assert cutting.is_empty


def test_the_largest_open_shard_is_cut_when_all_together_hold_too_much() -> None:
    """Memory is bounded over the partitions, not per partition."""
    small, large = cutter(), cutter()
    list(small.add(run_of(["12:00:00"], size=40), LATER))
    list(large.add(run_of(["12:00:00"], size=60), LATER))

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
    elapsed = [0.0]
    cutting = PartitionCutter(0, ShardsConfig(), first=0, elapsed=lambda: elapsed[0])
    list(cutting.add(run_of(["12:00:30"]), at("12:00:32")))
    elapsed[0] = (at(now) - at("12:00:32")).total_seconds()

    assert (cutting.due(at(now), idle=idle) is not None) == is_cut


@pytest.mark.promise("S4")
@pytest.mark.parametrize("every_seconds", [7, 17, 43, 59, 61, 97, 3607])
def test_the_minutes_of_a_slow_partition_are_never_late(every_seconds: int) -> None:
    """However the cuts before fell: each message is cut at the end of its minute and the allowed
    lateness, or at once where it was later than that.
    """
    cutting = cutter()
    waited: list[float] = []
    for second in range(0, 200 * every_seconds, every_seconds):
        stored_at = NOON + timedelta(seconds=second)
        cuts = [
            *cutting.add(run_of([round(stored_at.timestamp() * 1000)], first=second), stored_at)
        ]
        for look in range(every_seconds):
            now = stored_at + timedelta(seconds=look)
            if (cut := cutting.due(now, idle=True)) is not None:
                cuts.append(cut)
                waited.append((now - cut.minute_at).total_seconds() - 62)
    assert len(waited) > 10
    assert max(waited) <= 1


def test_late_events_on_an_idle_partition_make_no_storm_of_shards() -> None:
    """One in a minute of the wall clock (and its lateness) takes along what came meanwhile."""
    cutting = cutter()
    cuts: list[Cut | None] = []
    now = at("13:00:00")
    for offset in range(100):  # one a second, each an hour late
        cuts += cutting.add(run_of(["12:00:00"], first=offset), now)
        cuts.append(cutting.due(now, idle=True))
        now += timedelta(seconds=1)

    assert shown(cuts) == [(0, 1, "12:00"), (1, 3, "12:00"), (3, 63, "12:00")]


def test_offsets_without_messages_belong_to_the_shard_before() -> None:
    """Holes (transactions, compaction) leave no gap in the ledger."""
    times_ms = run_of(["12:00:00", "12:00:01", "12:01:00"]).times_ms
    cutting = cutter(10)
    holes = Messages(np.array([12, 15, 20]), 25, times_ms, [b""] * 3, 0)

    cuts = [*cutting.add(holes, LATER), cutting.flush(27)]

    assert shown(cuts) == [(10, 20, "12:00"), (20, 27, "12:01")]


def test_a_message_taken_twice_is_an_error() -> None:
    """Rather a crash and a new start from the shards than a doubled row."""
    cutting = cutter()
    list(cutting.add(run_of(["12:00:00"] * 3), LATER))

    with pytest.raises(ValueError, match="was taken before"):
        list(cutting.add(run_of(["12:00:00"], first=2), LATER))


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
        cuts += cutting.add(run, from_unix_ms(LATEST_MS))
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

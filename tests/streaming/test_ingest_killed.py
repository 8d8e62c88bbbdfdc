import random
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.streaming import crash_runs
from tests.streaming.line import MINUTE_MS, NOON_MS, Line, wait_until
from twintide.clock import monotonic_seconds

NewLine = Callable[..., Line]


@pytest.mark.long
@pytest.mark.promise("S1")
@pytest.mark.promise("S3")
def test_kill_at_every_step_of_a_commit_neither_loses_nor_repeats_an_event(
    line: NewLine, tmp_path: Path
) -> None:
    """SIGKILL before the 1st, 2nd, ... 26th step that touches the disk, each time a new daemon on
    what the last one left; bad messages among the good, so quarantine files are steps too.
    """
    made = line(partitions=2)
    for minute in range(36):
        start_ms = NOON_MS + minute * MINUTE_MS
        made.feed(range(minute * 10, minute * 10 + 10), start_ms=start_ms)
        made.feed_raw([b"bad"], at_ms=start_ms + 9_000)
    died_before: list[str] = []
    for kill_at in range(1, 27):
        process = crash_runs.start(crash_runs.catch_up_until_killed, made.values, kill_at)
        process.join(30)
        assert process.exitcode == -9
        died_before.append((tmp_path / "died_before").read_text())
        others_read_the_folder(made)
    made.catch_up()

    assert {"fsync", "link", "unlink"} <= set(died_before)
    assert made.holds_every_event_once()
    assert sum(footer.rejected for footer in made.footers()) == 36


@pytest.mark.promise("S5")
def test_a_killed_daemon_is_back_at_work_at_once(line: NewLine) -> None:
    """The newest shard says where to read on, and no group waits for the dead member: what came
    meanwhile is stored by the first turns of the next daemon. Three seconds are promised; a busy
    machine is given ten.
    """
    made = line(partitions=2)
    made.feed(range(200), step_ms=3000)
    dead = crash_runs.start(crash_runs.read_on, made.values)
    wait_until(lambda: len(made.stored()) > 100)
    dead.kill()
    dead.join(10)
    before = made.stored().total()
    made.feed(range(200, 400), start_ms=NOON_MS + 20 * MINUTE_MS, step_ms=3000)
    began = monotonic_seconds()
    back = crash_runs.start(crash_runs.read_on, made.values)
    wait_until(lambda: made.stored().total() > before)
    seconds = monotonic_seconds() - began
    back.kill()
    back.join(10)
    made.catch_up()

    print(f"the first new row was stored after {seconds:.2f} s")  # noqa: T201  the figure of S5
    assert seconds < 10
    assert made.holds_every_event_once()


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(2, 30))]
)
@pytest.mark.long
def test_kill_of_rival_daemons_at_random_moments_neither_loses_nor_repeats_an_event(
    line: NewLine, seed: int
) -> None:
    """Two daemons that both take every partition race through a backlog; now one dies, now both,
    while more comes in.
    """
    made = line(partitions=2)
    random_ = random.Random(seed)
    pause = threading.Event()
    for turn in range(6):
        made.feed(
            range(turn * 400, turn * 400 + 400),
            start_ms=NOON_MS + turn * 20 * MINUTE_MS,
            step_ms=3000,
        )
        rivals = [crash_runs.start(crash_runs.read_on, made.values) for _ in range(2)]
        held = len(list(made.ledger.names()))
        wait_until(lambda held=held: len(list(made.ledger.names())) > held)  # type: ignore[misc]
        for process in rivals:
            pause.wait(random_.random() * 0.2)
            process.kill()
            process.join(10)
    made.catch_up()

    assert made.holds_every_event_once()


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("target", "is_sound"),
    [(crash_runs.catch_up_stalled, True), (crash_runs.catch_up_overwriting, False)],
    ids=["as it is", "control: overwriting"],
)
def test_a_rival_that_wakes_up_late_does_no_harm(
    line: NewLine, tmp_path: Path, target: Callable[..., None], *, is_sound: bool
) -> None:
    """It stalls right before it commits; meanwhile another reads further and commits. Then the
    late one finds its claim taken. This test can turn red: a claim that overwrites loses events.
    """
    made = line()
    made.feed([100], start_ms=NOON_MS - MINUTE_MS)
    made.catch_up()
    made.feed(range(10))
    late = crash_runs.start(target, made.values, 1)
    wait_until((tmp_path / "stalled").exists)
    made.feed(range(10, 20), start_ms=NOON_MS + 10_000)
    made.feed(range(20, 30), start_ms=NOON_MS + MINUTE_MS)
    made.catch_up()
    (tmp_path / "go").touch()
    late.join(30)

    assert late.exitcode == 0
    assert made.holds_every_event_once() == is_sound
    if not is_sound:
        assert made.fed - made.stored() == {(0, number): 1 for number in range(10, 20)}


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("stall_at", "step"),
    [
        (1, "link"),
        (3, "listdir"),
        (4, "fsync"),
        (5, "mkdir"),
        *(
            pytest.param(stall_at, None, marks=pytest.mark.faults)
            for stall_at in (2, *range(6, 15))
        ),
    ],
)
@pytest.mark.parametrize("minutes", [1, pytest.param(4, marks=pytest.mark.faults)])
def test_a_zombie_does_no_harm_wherever_it_slept(
    line: NewLine, tmp_path: Path, stall_at: int, step: str | None, minutes: int
) -> None:
    """It sleeps between two steps of its commit, its rival, with another `shards.minutes`, goes on
    by one shard or by so many that the claim which the sleeper was about to make, or has made, was
    pruned. Then it wakes up.
    """
    made = line()
    made.feed([100], start_ms=NOON_MS - MINUTE_MS)
    made.feed_raw([b"bad"], at_ms=NOON_MS - MINUTE_MS)
    made.catch_up()
    made.feed(range(10))
    late = crash_runs.start(crash_runs.catch_up_stalled, made.values, stall_at)
    wait_until((tmp_path / "stalled").exists)
    made.feed(range(10, 20), start_ms=NOON_MS + 10_000)
    for minute in range(1, minutes + 1):
        ids = range(minute * 10 + 10, minute * 10 + 20)
        made.feed(ids, start_ms=NOON_MS + minute * 2 * MINUTE_MS)
    Line({**made.values, "shards": {"minutes": 2}}, 1).catch_up()
    (tmp_path / "go").touch()
    late.join(30)

    assert step in {None, (tmp_path / "stalled").read_text()}
    assert late.exitcode == 0
    assert made.holds_every_event_once()


def others_read_the_folder(line: Line) -> None:
    """Whole, as it is, and never half a shard."""
    shards_dir = line.deployment.shards_dir
    files = [path for path in shards_dir.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".parquet"}
    if files:
        assert len(pl.read_parquet(shards_dir)) == len(line.rows())

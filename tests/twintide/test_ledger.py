import os
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.twintide.ledger_world import NOON, World
from twintide import files
from twintide.errors import Corrupt, Refused
from twintide.layout import make_ready
from twintide.rowgroups import RowGroups
from twintide.shards import Ledger, PartitionTrouble, Watermark

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shards")


@pytest.fixture
def touched(tmp_path: Path) -> Iterator[list[tuple[str, str]]]:
    """What was opened and which folders were listed below the test's folder, as Python audits it.
    No hook can be taken away again: this one falls silent.
    """
    seen: list[tuple[str, str]] = []
    is_over = threading.Event()

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if event in {"open", "os.scandir"} and not is_over.is_set():
            path = str(args[0])
            if path.startswith(str(tmp_path)):
                seen.append((event, path))

    sys.addaudithook(hear)
    yield seen
    is_over.set()


RIVALS = {
    "another shards.minutes": {"minute": 60},
    "more was read": {"count": 25},
    "the log begins later by now": {"first": 7},
    "compaction removed the first message": {"minute": 3, "rows": 4},
}


@pytest.mark.promise("S1")
@pytest.mark.parametrize("more", RIVALS.values(), ids=RIVALS.keys())
@pytest.mark.parametrize("after", [None, 10], ids=["first shard", "behind a shard"])
def test_rivals_reach_for_the_same_claim(
    world: World, after: int | None, more: dict[str, int]
) -> None:
    """Whatever their configuration and whatever each could still read: one wins, the other learns
    that nothing of its own counts.
    """
    if after:
        world.commit(after)
    first = (after or 0) + more.get("first", 0)
    gap_before = more.get("first", 0) if after else 0
    ours = world.footer(after or 0, 10, minute=0)
    theirs = world.footer(
        first, more.get("count", 10), minute=more.get("minute", 0), gap_before=gap_before
    )
    Ledger(world.root, world.topic).commit(theirs, RowGroups.of(world.rows_of(theirs)), after=after)

    with pytest.raises(FileExistsError):
        world.ledger.commit(ours, RowGroups.of(world.rows_of(ours)), after=after)
    assert [name.footer().next for name in world.ledger.names()][-1] == theirs.next
    assert len(world.paths()) == (2 if after else 1)
    assert world.ledger.check() == []


@pytest.mark.promise("S1")
def test_a_claim_that_a_crash_left_without_its_shard_is_rolled_forward(world: World) -> None:
    """The same mends a newest shard that somebody has removed."""
    world.commit()
    newest = world.commit(minute=1)
    before = newest.read_bytes()
    newest.unlink()

    assert world.ledger.newest(0) == Ledger(world.root, "clicks").newest(0)
    footer = Ledger(world.root, "clicks").take_up(0)

    assert footer is not None
    assert footer.next == 20
    assert newest.read_bytes() == before
    assert world.ledger.newest(0) == footer


@pytest.mark.promise("S2")
def test_a_newest_shard_that_was_edited_is_refused_until_one_of_both_is_deleted(
    world: World,
) -> None:
    """Nobody but the operator can know which is right; following the hint, either way, heals it."""
    for damaged in (0, 1):
        visible = world.commit(minute=damaged)
        right = visible.read_bytes()
        visible.unlink()
        visible.write_bytes(right[:-200] + b"x" * 200)

        with pytest.raises(Corrupt, match="was changed") as refused:
            Ledger(world.root, "clicks").take_up(0)
        assert str(visible) in refused.value.message
        visible.unlink()
        assert Ledger(world.root, "clicks").take_up(0) is not None
        assert visible.read_bytes() == right
    claim = max((world.ledger.folder / "claims" / "clicks" / "00000").iterdir())
    claim.unlink()
    assert Ledger(world.root, "clicks").take_up(0) == world.ledger.newest(0)
    assert claim.samefile(visible)


@pytest.mark.promise("S2")
@pytest.mark.parametrize("how", ["edited", "removed"])
def test_each_commit_looks_whether_the_shard_before_is_as_it_was_committed(
    world: World, how: str
) -> None:
    """An edited one stops the daemon, a removed one comes back out of its claim."""
    shard = world.commit()
    if how == "removed":
        shard.unlink()
        world.commit(minute=1)
        assert len(world.paths()) == 2
        return
    with shard.open("r+b") as file:
        file.seek(30)
        file.write(b"xxxx")
    with pytest.raises(Corrupt, match=shard.name):
        world.commit(minute=1)
    assert len(world.paths()) == 1


def test_each_shard_names_the_file_before_it(world: World) -> None:
    """By size and sha256; the first has none, one behind a shard of format 1 as well has one."""
    first = world.put_format_1(0, 10, minute=0)
    make_ready(world.root)
    assert world.ledger.take_up(0) is not None
    second = world.commit(minute=1)

    footers = [name.footer() for name in world.ledger.names()]
    assert footers[0].before is None
    assert footers[1].before is not None
    assert footers[1].before.size == first.stat().st_size
    assert second.parent == first.parent


@pytest.mark.promise("S1")
def test_a_folder_that_was_copied_without_its_ledger_goes_on_where_it_ended(world: World) -> None:
    """The newest shard itself says where ingest stands, and gets its claim back."""
    for minute in range(5):
        world.commit(minute=minute)
    world.ledger.folder.rename(world.root.with_name("gone"))
    again = World(world.root, stands=world.stands)
    assert again.ledger.newest(0) == world.ledger.take_up(0)
    again.commit(minute=9)

    assert len(again.paths()) == 6
    assert again.ledger.check() == []


def test_a_topic_whose_name_begins_like_another_has_its_own_watermarks(tmp_path: Path) -> None:
    """`clicks`, `clicks-00001`, `clicks-eu`: in one folder, none takes what is another's."""
    topics = ("clicks", "clicks-00001", "clicks-eu", "clicks-00001-00002")
    root = tmp_path / "shards"
    worlds = [World(root, topic) for topic in topics]
    for number, world in enumerate(worlds):
        world.commit(number + 1)
        world.ledger.publish_watermark(mark(world.topic, next=number + 1))

    for number, world in enumerate(worlds):
        assert {each.next for each in world.ledger.watermarks().values()} == {number + 1}
        newest = Ledger(root, world.topic).take_up(0)
        assert newest is not None
        assert newest.next == number + 1
        assert len(world.paths()) == 1


def mark(topic: str, **more: Any) -> Watermark:
    known: dict[str, Any] = {"partition": 0, "next": 5, "partitions": 2}
    return Watermark(topic=topic, complete_until=NOON, **{**known, **more})


def test_what_format_1_kept_among_the_shards_is_read_there_and_moved(world: World) -> None:
    """Watermarks and quarantine files; afterwards the folder holds shards, and nothing else."""
    name = f"_clicks-00000-{0:020d}-{uuid4().hex[:12]}.quarantine.arrow"
    shard = world.put_format_1(0, 10, minute=0, rejected=0, quarantine=name)
    (shard.parent / name).write_bytes(b"rejected")
    for topic in ("clicks", "clicks-eu"):
        old = world.root / "_watermarks" / f"{topic}-00000.json"
        files.publish_file(old, mark(topic).to_json())
    (world.root / "_locks").mkdir()
    (world.root / ".left.1.tmp").write_bytes(b"")
    seen = world.ledger.watermarks()
    quarantine = world.ledger.quarantine_path(name, NOON)
    for _ in range(2):
        make_ready(world.root)

    assert seen == world.ledger.watermarks() == {0: mark("clicks")}
    assert Ledger(world.root, "clicks-eu").watermarks() == {0: mark("clicks-eu")}
    assert quarantine.parent == shard.parent
    assert world.ledger.quarantine_path(name, NOON).read_bytes() == b"rejected"
    assert [path for path in world.root.rglob("*") if path.is_file()] == [shard]


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="needs a second file system")
def test_a_ledger_on_another_file_system_is_refused_before_anything_is_read(
    world: World, tmp_path: Path
) -> None:
    """No hard link leads there, and the hint says what to mount."""
    if SHARED_MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    elsewhere = SHARED_MEMORY / f"twintide-{uuid4().hex}"
    elsewhere.mkdir()
    try:
        world.ledger.folder.symlink_to(elsewhere)
        with pytest.raises(Refused, match="different file systems") as refused:
            make_ready(world.root)
    finally:
        elsewhere.rmdir()
    assert str(tmp_path) in refused.value.hint


def test_a_start_does_not_look_through_the_days_so_far(
    world: World, touched: list[tuple[str, str]]
) -> None:
    """It sweeps where files are begun; quarantine files lie in a folder for each hour."""
    read = []
    for day in range(3):
        for hour in range(10):
            footer = world.footer(0, 10, minute=(day * 24 + hour) * 60, quarantine="00000-q.arrow")
            world.ledger.set_aside(footer, b"rejected")
        touched.clear()
        make_ready(world.root)
        read.append([what for what, _ in touched].count("os.scandir"))

    assert len(list(world.ledger.folder.rglob("00000-q.arrow"))) == 30
    assert read[2] == read[1] > 0


def test_what_a_crash_left_of_a_quarantine_file_is_swept(
    world: World, touched: list[tuple[str, str]]
) -> None:
    """Once it is too old to be of a writer at work."""
    footer = world.footer(0, 10, minute=0, quarantine="00000-q.arrow")
    world.ledger.set_aside(footer, b"rejected")
    left = next(Path(path) for what, path in touched if what == "open" and path.endswith(".tmp"))
    left.write_bytes(b"reje")
    make_ready(world.root)
    assert left.exists()
    os.utime(left, (0, 0))
    make_ready(world.root)

    assert not left.exists()
    assert world.ledger.quarantine_path("00000-q.arrow", NOON).read_bytes() == b"rejected"


def test_what_a_crash_left_anywhere_in_the_ledger_is_swept(
    world: World, touched: list[tuple[str, str]]
) -> None:
    """Wherever a file of it is begun, claims, watermarks and troubles alike."""
    said = PartitionTrouble(
        topic="clicks",
        partition=0,
        what="it is gone",
        hint="look",
        needs_operator=True,
        since=NOON,
        told_at=NOON,
    )
    world.commit()
    world.ledger.publish_trouble(said)
    begun = {Path(path) for what, path in touched if what == "open" and path.endswith(".tmp")}
    for left in begun:
        left.write_bytes(b"half")
        os.utime(left, (0, 0))

    assert {left.relative_to(world.ledger.folder).parts[0] for left in begun} >= {
        "claims",
        "troubles",
    }
    assert make_ready(world.root) == len(begun)
    assert not any(left.exists() for left in begun)


def test_a_shard_may_hold_no_message(world: World) -> None:
    """It makes the position last over offsets that hold none."""
    world.commit()
    footer = world.footer(10, 5, minute=0, rows=0)
    world.ledger.commit(footer, RowGroups.of(world.rows_of(footer)), after=10)

    newest = Ledger(world.root, "clicks").take_up(0)
    assert newest is not None
    assert (newest.next, newest.consumed) == (15, 0)
    assert world.ledger.check() == []


def test_what_is_committed_goes_to_the_folder_of_its_minute(world: World) -> None:
    """Whatever the folder of the shard before."""
    late = world.commit(minute=24 * 60)
    early = world.commit(minute=0)

    assert late.parent.parent.name == f"date={NOON + timedelta(days=1):%Y-%m-%d}"
    assert early.parent.name == f"hour={NOON:%H}"

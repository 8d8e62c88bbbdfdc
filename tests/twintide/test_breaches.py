import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streaming.patrol import Patrol
from tests.twintide.ledger_world import World, rows
from twintide.clock import SystemClock
from twintide.errors import Corrupt
from twintide.files import publish_file_once
from twintide.shardfile import Stamp, encoded, read_footer
from twintide.shards import Ledger

SHARDS = 7
MIDDLE = 3
QUARANTINED = b"what was rejected"


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Shards of two partitions over some hours; one of each names a quarantine file."""
    made = World(tmp_path_factory.mktemp("committed") / "shards")
    for partition in (0, 1):
        for number in range(SHARDS):
            more: dict[str, Any] = {}
            if number == MIDDLE:
                name = f"clicks-{partition:05d}.quarantine.arrow"
                minute_at = made.footer(0, 1, minute=number * 13).minute_at
                path = made.ledger.quarantine_path(name, minute_at)
                publish_file_once(path, QUARANTINED)
                more = {"quarantine": name, "quarantine_stamp": Stamp.of(QUARANTINED)}
            made.commit(10, minute=number * 13, partition=partition, **more)
    return made


@pytest.fixture
def world(committed: World, tmp_path: Path) -> World:
    """A copy, as from a backup."""
    shutil.copytree(committed.root.parent, tmp_path, dirs_exist_ok=True)
    return World(tmp_path / "shards", stands=dict(committed.stands))


def delete(shard: Path) -> None:
    shard.unlink()


def copy_to_another_hour(shard: Path) -> None:
    elsewhere = shard.parent.with_name("hour=23")
    elsewhere.mkdir()
    shutil.copy(shard, elsewhere)


def move_to_another_hour(shard: Path) -> None:
    elsewhere = shard.parent.with_name("hour=01")
    elsewhere.mkdir()
    shard.rename(elsewhere / shard.name)


def copy_under_another_name(shard: Path) -> None:
    shutil.copy(shard, shard.with_name(shard.name.replace("0.parquet", "4.parquet")))


def rename(shard: Path) -> None:
    shard.rename(shard.with_name(shard.name.replace("0.parquet", "4.parquet")))


def truncate(shard: Path) -> None:
    whole = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(whole[: len(whole) // 2])


def empty(shard: Path) -> None:
    shard.unlink()
    shard.touch()


def flip_a_byte_in_place(shard: Path) -> None:
    with shard.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 255]))


def edit_a_value(shard: Path) -> None:
    """Sound in itself: only the shard behind it knows what it was."""
    footer = read_footer(shard)
    table = rows(footer.first, footer.rows, partition=footer.partition, at=footer.minute_at)
    edited = table.set_column(1, table.schema.field(1), pa.array([7] * len(table)))
    shard.unlink()
    shard.write_bytes(encoded(footer, edited))


def drop_rows(shard: Path) -> None:
    footer = read_footer(shard)
    table = rows(footer.first, 4, partition=footer.partition, at=footer.minute_at)
    shard.unlink()
    shard.write_bytes(encoded(footer.model_copy(update={"rows": 4}), table))


def delete_quarantine(shard: Path) -> None:
    footer = read_footer(shard)
    ledger = Ledger(shard.parents[2], footer.topic)
    ledger.quarantine_path(footer.quarantine or "", footer.minute_at).unlink()


def edit_quarantine(shard: Path) -> None:
    footer = read_footer(shard)
    ledger = Ledger(shard.parents[2], footer.topic)
    ledger.quarantine_path(footer.quarantine or "", footer.minute_at).write_bytes(b"other")


BREACHES = [
    delete,
    copy_to_another_hour,
    move_to_another_hour,
    copy_under_another_name,
    rename,
    truncate,
    empty,
    flip_a_byte_in_place,
    edit_a_value,
    drop_rows,
    delete_quarantine,
    edit_quarantine,
]


def patrolled(world: World) -> None:
    Patrol(Ledger(world.root, world.topic), SystemClock()).finish()


@pytest.mark.promise("S2")
@pytest.mark.parametrize("breach", BREACHES, ids=lambda breach: breach.__name__)
def test_every_breach_is_named_by_verify_and_by_the_daemon(
    world: World, breach: Callable[[Path], None]
) -> None:
    """Whatever was done to a shard in the middle; the other partition is not accused."""
    shard = world.paths(1)[MIDDLE]
    breach(shard)

    named = world.ledger.check()
    assert named
    assert "clicks-00001-" in named[0]
    assert not any("clicks-00000-" in each for each in named)
    with pytest.raises(Corrupt, match="clicks-00001-") as found:
        patrolled(world)
    assert "twintide verify" in found.value.hint


@pytest.mark.promise("S2")
@pytest.mark.parametrize("breach", [delete, edit_a_value, truncate])
def test_a_breach_that_cannot_be_mended_ends_with_the_days_before_it(
    world: World, breach: Callable[[Path], None]
) -> None:
    """As the hint says: what lies before it is deleted, and the daemon goes on."""
    breach(world.paths(1)[MIDDLE])
    for shard in world.paths(1)[: MIDDLE + 1]:
        if shard.stem[-20:] >= "00000000000000000030" and breach is delete:
            break
        shard.unlink()

    assert world.ledger.check() == []
    patrolled(world)
    world.commit(10, minute=200, partition=1)


@pytest.mark.promise("S2")
def test_what_an_operator_may_do_is_no_breach(world: World) -> None:
    """Old shards are deleted, to the middle of an hour; a gap was accepted; a quarantine file that
    nobody names is left; the newest shard comes back by itself.
    """
    for shard in world.paths(0)[:MIDDLE]:
        shard.unlink()
    world.commit(10, minute=100, skip=7)
    (world.ledger.folder / "quarantine" / "clicks" / "orphan.arrow").write_bytes(b"")
    assert world.ledger.check() == []
    patrolled(world)

    newest = world.paths(0)[-1]
    newest.unlink()
    (named,) = world.ledger.check()
    assert str(newest) in named
    Ledger(world.root, "clicks").take_up(0)
    assert world.ledger.check() == []


@pytest.mark.promise("S2")
def test_shards_of_format_1_may_lie_before_and_in_the_future(tmp_path: Path) -> None:
    """A producer's clock had put some of them there; what came later lies in folders before them,
    and what is deleted around them is not missed.
    """
    a_century = 100 * 365 * 24 * 60
    world = World(tmp_path / "shards")
    world.put_format_1(0, 10, minute=0)
    world.put_format_1(10, 10, minute=a_century)
    world.put_format_1(20, 10, minute=a_century)
    assert world.ledger.check() == []
    world.commit(10, minute=5)
    world.commit(10, minute=6)
    assert world.ledger.check() == []
    patrolled(world)
    copied = World(tmp_path / "copy" / "shards")
    shutil.copytree(world.root, copied.root)
    newest = copied.ledger.take_up(0)
    assert newest is not None
    assert newest.next == 50

    for shard in (world.paths()[0], world.paths()[3]):
        shard.unlink()
    assert world.ledger.check() == []
    patrolled(world)


def test_a_breach_of_yesterday_is_found_between_the_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at twice, however old: shards of two days are what a start looks at. The other
    partition is sound, and once it is mended this one is as well.
    """
    monkeypatch.setattr("streaming.patrol._SURE_SECONDS", 0.0)
    monkeypatch.setattr("streaming.patrol._KNOWN_SECONDS", 0.0)
    monkeypatch.setattr("streaming.patrol._STEP_SECONDS", 60.0)
    world = World(tmp_path / "shards")
    for partition in (0, 1):
        for number in range(4):
            world.commit(10, minute=number * 600, partition=partition)
    shard = world.paths(1)[1]
    shard.rename(tmp_path / "kept")
    patrol = Patrol(Ledger(world.root, world.topic), SystemClock())
    for _ in range(3):
        patrol.step()

    assert patrol.breached == {1}
    patrol.check(0)
    with pytest.raises(Corrupt, match="in no shard"):
        patrol.check(1)

    (tmp_path / "kept").rename(shard)
    for _ in range(2):
        patrol.step()
    assert patrol.breached == frozenset()


def test_a_round_goes_step_by_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long ledger does not hold up a start; what is wrong is found all the same, and twice."""
    monkeypatch.setattr("streaming.patrol._START_SECONDS", 0.0)
    monkeypatch.setattr("streaming.patrol._STEP_SECONDS", 1e-9)
    monkeypatch.setattr("streaming.patrol._SURE_SECONDS", 0.0)
    world.paths(0)[MIDDLE].unlink()
    patrol = Patrol(Ledger(world.root, world.topic), SystemClock())
    for _ in range(2 * SHARDS):
        patrol.step()

    with pytest.raises(Corrupt, match="in no shard"):
        patrol.finish()


@pytest.mark.promise("S2")
def test_no_damage_hides_another(world: World) -> None:
    """A damaged watermark, a damaged claim and a missing shard are named together."""
    mark = world.ledger.watermark_path(0)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_bytes(b"{")
    claim = world.ledger._claims(1).newest_first()[0]
    claim.unlink()
    claim.write_bytes(b"PAR1")
    gone = world.paths(0)[MIDDLE]
    gone.unlink()

    named = " ".join(world.ledger.check())

    for each in (str(mark), str(claim), "offsets 30 to 39 of partition 0 are in no shard"):
        assert each in named

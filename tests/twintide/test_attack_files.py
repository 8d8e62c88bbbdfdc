"""Footers, watermarks and claims as somebody who means harm, or a bad disk, would write them."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.mutations import changed, damaged
from tests.twintide.ledger_world import NOON, SCHEMA, World
from twintide import shardfile
from twintide.clock import HeldClock
from twintide.columns import read_events
from twintide.days import complete_until
from twintide.errors import Corrupt
from twintide.rowgroups import RowGroups
from twintide.shardfile import FOOTER_KEY, SEAL_KEY, encoded, read_footer, read_shard
from twintide.shards import Ledger, ShardFooter, Watermark

LONG = [pytest.mark.faults, pytest.mark.timeout(7200)]
PLACES = ("../../x", "..", ".", "/etc/passwd", "a/b", "a\0b", "")
FOOTER = World(Path("shards")).footer(0, 10, minute=0).model_dump(mode="json")
WATERMARK = Watermark(
    topic="clicks", partition=0, next=5, complete_until=NOON, partitions=1
).model_dump(mode="json")
INSTANTS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-01T23:59:59.9Z")
STAMP = {"size": 1, "sha256": "0" * 64}
NAMES = {
    "quarantine": [*PLACES, "q.jsonl", "q" * 300],
    "topic": [*PLACES, "click", "clicks-00000", "clicks\n"],
    "minute_at": INSTANTS,
    "complete_until": INSTANTS,
    "before": [STAMP, {}],
    "quarantine_stamp": [STAMP],
    "format": [1, 3],
    "partition": [1, 99_999],
    "next": [11, 10, 2**62],
    "partitions": [2**62],
}
"""What is likelier to be taken at its word than any value."""


def attack_on(sound: dict[str, Any], rng: random.Random) -> bytes:
    """A sound record with some values exchanged, of which one may be well chosen; at times cut or
    damaged, and now and then nothing but bytes.
    """
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(200))
    made = dict(sound) if rng.random() < 0.6 else changed(sound, rng, keys=[*sound, "extra"])
    for key in rng.sample(sorted(NAMES.keys() & sound.keys()), k=rng.randrange(3)):
        made[key] = rng.choice(NAMES[key])
    data = json.dumps(made).encode()
    return damaged(data, rng) if rng.random() < 0.2 else data


def sealed(table: pa.Table, footer: bytes, rng: random.Random) -> bytes:
    """A shard that says `footer`. Its seal fits, as an attacker's would, or else it has none."""
    rows = RowGroups.of(table)
    seal = {SEAL_KEY: shardfile._seal(footer, rows.columns)} if rng.random() < 0.8 else {}
    return bytes(rows.sealed({FOOTER_KEY: footer} | seal))


@pytest.mark.promise("X6")
@pytest.mark.parametrize("count", [2_000, pytest.param(300_000, marks=LONG)])
def test_a_record_is_sound_or_corrupt(count: int) -> None:
    """And nothing else: no traceback, no name that leaves its folder."""
    rng = random.Random(count)
    found: Counter[bool] = Counter()
    for _ in range(count // 2):
        for kind, sound in ((ShardFooter, FOOTER), (Watermark, WATERMARK)):
            data = attack_on(sound, rng)
            try:
                made = kind.from_json(data, name="it")
            except Corrupt:
                found[False] += 1
                continue
            found[True] += 1
            for name in (made.topic, getattr(made, "quarantine", None) or "q"):
                assert Path(name).name == name, data
                assert name not in {".", ".."}, data

    assert min(found[True], found[False]) > count / 10


@pytest.mark.promise("S3")
@pytest.mark.parametrize(
    "count", [60, pytest.param(500, marks=pytest.mark.long), pytest.param(5_000, marks=LONG)]
)
def test_a_shard_or_claim_with_any_footer_is_read_or_corrupt(tmp_path: Path, count: int) -> None:
    """By whoever reads it: ingest that resumes, the trainer, `verify`. Nothing comes to be outside
    of the two folders.
    """
    rng = random.Random(count)
    root = tmp_path / "line" / "shards"
    path = World(root).commit(10)
    table = pq.read_table(path).replace_schema_metadata()
    found: Counter[bool] = Counter()
    for number in range(count):
        shutil.rmtree(tmp_path / "line")
        ledger = Ledger(root, "clicks")
        attacked = rng.choice(["shard", "claim", "watermark", "shard claim", "claim watermark"])
        shard, claim, watermark = (
            attack_on(sound, rng) if name in attacked else json.dumps(sound).encode()
            for name, sound in (("shard", FOOTER), ("claim", FOOTER), ("watermark", WATERMARK))
        )
        for where, data in (
            (path, sealed(table, shard, rng)),
            (ledger._claims(0).path(None), sealed(table, claim, rng)),
            (ledger.watermark_path(0), watermark),
        ):
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(data)
        if number % 3 == 0:  # the claim is the shard: the same file, as a rule
            path.unlink()
            path.hardlink_to(ledger._claims(0).path(None))
        found += Counter(is_read_or_corrupt(look) for look in looks(ledger, path))
        ledger.check()  # which names what is damaged, and is never stopped by it
        assert names_in(tmp_path) == ["line"]
        assert names_in(tmp_path / "line") == ["shards", "shards.ledger"]

    assert min(found[True], found[False]) > count


@pytest.mark.promise("X6")
@pytest.mark.parametrize(
    "said", [{"topic": ".."}, {"topic": "."}, {"quarantine": ".."}, {"quarantine": "q" * 256}]
)
def test_a_footer_names_nothing_that_no_file_is_called(said: dict[str, str]) -> None:
    """Places, and what is too long for a file: `verify` ended in an OSError at that."""
    with pytest.raises(Corrupt, match=f"at {next(iter(said))}"):
        ShardFooter.from_json(json.dumps(FOOTER | said), name="it")


def looks(ledger: Ledger, shard: Path) -> list[Callable[[], object]]:
    """All that anybody does with a ledger that is there; the last ones after `take_up`, which may
    have shown what a claim holds.
    """
    return [
        lambda: read_footer(shard),
        lambda: read_events(shard, SCHEMA),
        lambda: ledger.newest(0),
        lambda: ledger.watched(0),
        lambda: complete_until(ledger, clock=HeldClock(NOON)),
        ledger.check,
        lambda: ledger.take_up(0),
        lambda: ledger.newest(0),
        ledger.check,
    ]


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def is_read_or_corrupt(look: Callable[[], object]) -> bool:
    try:
        look()
    except Corrupt:
        return False
    return True


@pytest.mark.promise("S3")
@pytest.mark.parametrize("step", [131, pytest.param(1, marks=LONG)])
def test_no_flipped_bit_of_a_shard_changes_what_is_read(tmp_path: Path, step: int) -> None:
    """Wherever it lies: in the pages, in the name of a column, in the footer."""
    world = World(tmp_path / "shards")
    footer = world.footer(0, 10, minute=0)
    rows = world.rows_of(footer)
    sound = encoded(footer, rows).to_pybytes()
    path = tmp_path / f"clicks-00000-{0:020d}.parquet"
    refused = 0
    for bit in range(0, len(sound) * 8, step):
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert read_footer(path) == footer, bit
            assert read_events(path, SCHEMA).equals(rows), bit
            read_shard(path)
        except Corrupt:
            refused += 1
    assert refused > len(sound) * 8 / step / 2


def test_the_seal_says_whether_the_elements_of_a_list_may_be_null(tmp_path: Path) -> None:
    """One flipped bit says that they may not: that is damage, and nothing to declare otherwise."""
    world = World(tmp_path / "shards")
    path = world.commit(10)
    sound, metadata = pq.read_table(path), pq.read_metadata(path).metadata
    kept = {key: metadata[key] for key in (FOOTER_KEY, SEAL_KEY)}
    never_null = pa.list_(pa.field("element", pa.string(), nullable=False))
    flipped = sound.set_column(
        3, sound.schema.field(3).with_type(never_null), sound["tags"].cast(never_null)
    )
    path.unlink()
    pq.write_table(flipped.replace_schema_metadata(kept), path)

    with pytest.raises(Corrupt, match="seal does not fit"):
        read_events(path, SCHEMA)


def test_a_shard_that_is_not_sealed_is_none_of_format_2(tmp_path: Path) -> None:
    """Format 1 had no seal."""
    world = World(tmp_path / "shards")
    old = world.put_format_1(0, 10, minute=0)
    assert isinstance(read_events(old, SCHEMA), pa.Table)

    footer = world.footer(0, 10, minute=0)
    unsealed = world.rows_of(footer).replace_schema_metadata(
        {FOOTER_KEY: footer.model_dump_json().encode()}
    )
    old.unlink()
    pq.write_table(unsealed, old)
    with pytest.raises(Corrupt, match="seal does not fit"):
        read_footer(old)

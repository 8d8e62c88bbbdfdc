"""Footers, watermarks and claims as somebody who means harm, or a bad disk, would write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.twintide.ledger_world import SCHEMA, World
from twintide.columns import read_events
from twintide.errors import Corrupt
from twintide.files import publish_file
from twintide.shardfile import FOOTER_KEY, encoded, read_footer, read_shard
from twintide.shards import Ledger, ShardFooter, Watermark

SIZES = [150, pytest.param(200_000, marks=[pytest.mark.faults, pytest.mark.timeout(7200)])]
HUGE = st.sampled_from([-1, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -(10**400)])
ODD = (
    st.none()
    | st.booleans()
    | HUGE
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../../x", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "NaN"])
    | st.lists(st.none(), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)


def records(sound: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Random bytes, broken JSON, and a sound record with some values that do not fit."""
    changes = st.dictionaries(st.sampled_from([*sound, "extra"]), ODD, min_size=1, max_size=3)
    changed = changes.map(lambda odd: json.dumps(sound | odd).encode())
    cut = st.tuples(changed, st.integers(0, 300)).map(lambda pair: pair[0][: pair[1]])
    return st.binary(max_size=200) | changed | cut


FOOTER = World(Path("shards")).footer(0, 10, minute=0)
FOOTERS = records(FOOTER.model_dump(mode="json"))
WATERMARKS = records(
    Watermark(
        topic="clicks", partition=0, next=5, complete_until=FOOTER.minute_at, partitions=1
    ).model_dump(mode="json")
)


@pytest.mark.promise("X6")
@pytest.mark.parametrize("examples", SIZES)
def test_a_record_is_sound_or_corrupt(examples: int) -> None:
    """And nothing else: no traceback, no name that leaves its folder."""

    @settings(max_examples=examples)
    @given(footer=FOOTERS, watermark=WATERMARKS)
    def attack(footer: bytes, watermark: bytes) -> None:
        for kind, data in ((ShardFooter, footer), (Watermark, watermark)):
            try:
                made = kind.from_json(data, name="it")
            except Corrupt:
                continue
            assert "/" not in json.loads(made.model_dump_json())["topic"]

    attack()


@pytest.mark.promise("S3")
@pytest.mark.parametrize("examples", [40, *SIZES[1:]])
def test_a_shard_or_claim_with_any_footer_is_read_or_corrupt(
    tmp_path_factory: pytest.TempPathFactory, examples: int
) -> None:
    """By whoever reads it: ingest that resumes, the trainer, `verify`."""
    root = tmp_path_factory.mktemp("attack") / "shards"
    shard = World(root).commit(10)
    table = pq.read_table(shard)
    (claim,) = (root.with_name("shards.ledger") / "claims" / "clicks" / "00000").iterdir()

    @settings(max_examples=examples)
    @given(footer=FOOTERS, watermark=WATERMARKS)
    def attack(footer: bytes, watermark: bytes) -> None:
        for path in (shard, claim):
            path.unlink()
            pq.write_table(table.replace_schema_metadata({FOOTER_KEY: footer}), path)
        ledger = Ledger(root, "clicks")
        publish_file(ledger.watermark_path(0), watermark)
        for look in (
            lambda: read_footer(shard),
            lambda: read_events(shard, SCHEMA),
            lambda: ledger.newest(0),
            lambda: ledger.take_up(0),
            lambda: ledger.watched(0),
            ledger.watermarks,
        ):
            is_read_or_corrupt(look)

    attack()


def is_read_or_corrupt(look: Callable[[], object]) -> bool:
    try:
        look()
    except Corrupt:
        return False
    return True


@pytest.mark.promise("S3")
@pytest.mark.parametrize("step", [131, pytest.param(1, marks=pytest.mark.faults)])
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

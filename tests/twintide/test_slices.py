"""Slices on the disk: any bytes are read as they were written, or Corrupt."""

import contextlib
import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.mutations import changed, damaged
from tests.publisher import checkpoint_fixture as made
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.slices import FOOTER_KEY, SliceFooter, chain_dirs, fingerprint_of, read_chain
from twintide.towers import Dnn


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return made.deployment_at(tmp_path_factory.mktemp("slices") / "data")


@pytest.fixture(scope="module")
def path(deployment: Deployment) -> Path:
    clicks = pa.table({"item": pa.array(np.arange(40, dtype=np.uint64))})
    return made.add_slice(deployment, 1, clicks, first=0).path


@pytest.fixture(scope="module")
def good(path: Path) -> bytes:
    return path.read_bytes()


def look(root: Path) -> None:
    """Everything that readers do with a chain."""
    for each in read_chain(root):
        assert each.footer.until - timedelta(days=400) < each.footer.until + timedelta(hours=1)
        assert each.footer.day + timedelta(days=1) > each.footer.day
        each.is_covered_by({0: 20})
        each.read(after={0: 20})


COUNTS = [200, pytest.param(5_000, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])]


@pytest.mark.parametrize("count", COUNTS)
def test_a_slice_with_any_bytes_changed_is_read_or_corrupt(
    path: Path, good: bytes, count: int
) -> None:
    """Rows, page headers, footer: whatever is hit."""
    rng = random.Random(count)
    for _ in range(count):
        at = rng.randrange(len(good))
        few = good[
            at : at + 12
        ]  # of which some are changed, so that the rest is still in its place
        path.write_bytes(good[:at] + damaged(few, rng) + good[at + len(few) :])
        with contextlib.suppress(Corrupt):
            look(path.parents[1])


ODD_DAYS = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31", "0001-01-01")


@pytest.mark.parametrize("count", COUNTS)
def test_a_footer_that_says_anything_is_read_or_corrupt(
    path: Path, good: bytes, count: int
) -> None:
    """Each key, any JSON: instants of the year 1, offsets beyond 64 bits, another shape."""
    rng = random.Random(count)
    path.write_bytes(good)
    rows = pq.ParquetFile(path).read()
    sound = json.loads(rows.schema.metadata[FOOTER_KEY])
    for _ in range(count):
        said = changed(sound, rng, keys=[*SliceFooter.model_fields, "0", "-1"])
        if rng.random() < 0.2:
            said[rng.choice(["day", "hour_at", "until"])] = rng.choice(ODD_DAYS)
        footer = {FOOTER_KEY: json.dumps(said).encode()}
        pq.write_table(rows.replace_schema_metadata(footer), path)
        with contextlib.suppress(Corrupt):
            look(path.parents[1])


def test_only_what_rows_depend_on_is_in_the_fingerprint(tmp_path: Path) -> None:
    """A column that nothing reads is not; a role, a feature, a type of what is read are."""
    plain = made.deployment_at(tmp_path)
    usual = fingerprint_of(plain.events, plain.model)

    def with_events(**changes: Any) -> str:
        events = plain.events.model_copy(update=changes)
        return fingerprint_of(events, plain.model)

    columns = plain.events.columns
    assert with_events(columns=columns | {"more": "string"}) == usual
    assert with_events(columns=dict(reversed(columns.items()))) == usual
    assert with_events(columns=columns | {"region": "int64"}) != usual
    assert with_events(user="item_id") != usual
    wider = plain.model.model_copy(update={"embedding_width": 4, "tower": Dnn(hidden=(32,))})
    assert fingerprint_of(plain.events, wider) == usual
    shorter = plain.model.model_copy(update={"query": plain.model.query[:-1]})
    assert fingerprint_of(plain.events, shorter) != usual


def test_nothing_else_below_slices_is_taken_for_a_chain(tmp_path: Path) -> None:
    """What older programs left there, locks, and a person's notes."""
    for name in ("day=2026-03-01", ".lock", "0123456789abcdef", "notes"):
        (tmp_path / name).mkdir()
    assert [each.name for each in chain_dirs(tmp_path)] == ["0123456789abcdef"]
    assert read_chain(tmp_path / "0123456789abcdef") == []

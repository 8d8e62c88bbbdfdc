"""Slices on the disk: any bytes are read as they were written, or Corrupt."""

import contextlib
import json
import random
from datetime import UTC, date, datetime, timedelta
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
from twintide.slices import (
    FOOTER_KEY,
    Ends,
    Slice,
    SliceFooter,
    chain_dirs,
    fingerprint_of,
    publish_slice,
    read_chain,
    read_tail,
)
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


HOUR = datetime(2026, 3, 1, tzinfo=UTC)


def make_chain(root: Path, count: int, *, says_ends_from: int = 1) -> list[Slice]:
    """Slices of three partitions, of which each has some and the last is silent after the first."""
    rng, ends = np.random.default_rng(1), Ends()
    rows = pa.table({"item": pa.array([1], pa.uint64())})
    made_ = []
    for number in range(1, count + 1):
        unit = HOUR + timedelta(hours=number)
        read = {int(each) for each in rng.choice(2, rng.integers(1, 3), replace=False)}
        read |= {2} if number == 1 else set()
        starts = {each: ends[each][0] if each in ends else 0 for each in read}
        ranges = {each: (at, at + int(rng.integers(1, 9))) for each, at in starts.items()}
        ends |= {each: (next_, unit) for each, (_, next_) in ranges.items()}
        footer = SliceFooter(
            sequence=number,
            day=date(2026, 3, 1) + timedelta(days=number // 24),
            hour_at=unit,
            until=unit + timedelta(hours=1),
            ranges=ranges,
            units=dict.fromkeys(ranges, unit),
            ends=dict(ends) if number >= says_ends_from else None,
            events=1,
            rows=1,
            newest_event_at=None,
            fingerprint=root.name,
        )
        made_.append(publish_slice(root, footer, rows))
    return made_


@pytest.mark.parametrize("says_ends_from", [1, 30, 100], ids=["now", "partly", "older"])
def test_the_tail_of_a_chain_is_what_a_position_has_not_covered(
    tmp_path: Path, says_ends_from: int
) -> None:
    """As a reader of the whole chain finds it, from any position; where the chain stands too."""
    chain = make_chain(tmp_path, 60, says_ends_from=says_ends_from)
    ends = Ends()
    for at in range(61):
        position = {each: next_ for each, (next_, _) in ends.items()}
        for behind in (position, {0: position.get(0, 0)}, {}):
            tail = read_tail(tmp_path, behind)

            unlearnt = [each.name for each in chain if not each.is_covered_by(behind)]
            assert set(unlearnt) <= {each.name for each in tail.slices}
            assert [each.name for each in tail.slices] == [
                each.name for each in chain[tail.before :]
            ]
            assert tail.ends == {p: end for each in chain for p, end in each.came_to.items()}
        ends |= chain[at].came_to if at < len(chain) else {}
    tail = read_tail(tmp_path, {each: next_ for each, (next_, _) in ends.items()})
    assert len(tail.slices) == (60 if says_ends_from > len(chain) else 0)


def test_slices_that_nobody_needs_may_be_gone(tmp_path: Path) -> None:
    """From a position behind them all is as before; before it, it is said that they are needed."""
    chain = make_chain(tmp_path, 60)
    known = read_tail(tmp_path, {})
    for each in chain[:40]:
        each.path.unlink()
    position = {p: next_ for p, (next_, _) in (chain[45].footer.ends or {}).items()}

    assert read_tail(tmp_path, position).ends == known.ends
    assert [each.name for each in read_chain(tmp_path)] == [each.name for each in chain[40:]]
    with pytest.raises(Corrupt, match="begin with 00000041") as lacking:
        _ = read_tail(tmp_path, {0: 5}).ends
    assert "remove that folder" in lacking.value.hint
    chain[50].path.unlink()
    with pytest.raises(Corrupt, match="without a gap"):
        read_tail(tmp_path, position)

"""The chain of slices costs what is new on it: what is behind a line goes, by gc, and partitions
that are silent are not looked for.
"""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from publisher import gc
from tests.trainer.conftest import DAYS, Line, MakeLine, at, deployment_in
from trainer.rebuild import rebuild
from trainer.rewind import rewind
from twintide.behind import unsliced_since
from twintide.checkpoints import list_checkpoints
from twintide.config import fill_in
from twintide.errors import Corrupt
from twintide.shards import Ledger, Watermark
from twintide.slices import Ends, all_paths, chain_dir


@pytest.mark.long
@pytest.mark.promise("T11")
def test_a_line_goes_on_without_the_slices_that_it_has_learnt(make_line: MakeLine) -> None:
    """Both lines learn the same as one whose chain is whole; going back behind it is refused."""
    whole, cut = make_line(), make_line()
    for line in (whole, cut):
        line.night(0)
        line.hour(1, 2)
    learnt = cut.load("nightly-000001").manifest.position
    covered = [each for each in cut.slices().values() if each.is_covered_by(learnt)]
    gone = covered[:-1]  # that one says where the chain stood
    for each in gone:
        each.path.unlink()

    for line in (whole, cut):
        line.hour(1, 5)
        line.night(1)

    assert len(gone) == 23
    for name in ("hourly-000003", "nightly-000004"):
        assert cut.load(name).manifest.files == whole.load(name).manifest.files
    shutil.rmtree(cut.deployment.checkpoints_dir)
    with pytest.raises(Corrupt, match="begin with"):
        cut.night(0)


KEEPS_LITTLE = {"training": {"keep_hourly": 1, "keep_nightly": 1}}
MONDAY_OF_LONG_AGO = 1_000_000_000
OTHER = {"model": {"reward": {"column": "watch_seconds"}}}
"""Slices of their own; all weights go on."""


@pytest.mark.long
@pytest.mark.promise("T10")
@pytest.mark.promise("T11")
def test_slices_go_with_the_checkpoints_that_need_them(make_line: MakeLine, tmp_path: Path) -> None:
    """By gc, and no other: the lines learn what they learn without it, what stays with its parent
    can be rebuilt and gone back to, and a second gc finds nothing.
    """
    whole, pruned = make_line(KEEPS_LITTLE), make_line(KEEPS_LITTLE)
    own, gone = pruned.deployment, set[str]()
    for day in (0, 1):
        for line in (whole, pruned):
            line.night(day)
            line.hour(day + 1, 2)
        before = set(pruned.slices())
        assert len(gc.run(own, dry_run=True).slices) == len(gc.run(own).slices)
        gone |= before - set(pruned.slices())
        assert gc.run(own) == gc.Plan((), ())

    assert gone == {f"{each:08d}" for each in range(1, len(gone) + 1)}
    assert len(gone) > 20
    for line in (whole, pruned):
        line.night(2)
    gone |= {Path(name).stem for name in gc.run(own).slices}
    kept = {each.name for each in list_checkpoints(own.checkpoints_dir)}
    assert kept == {"nightly-000003", "hourly-000004", "nightly-000005"}
    for name in ("hourly-000004", "nightly-000005"):
        assert pruned.load(name).manifest.files == whole.load(name).manifest.files
        assert rebuild(own, name, into=tmp_path / name) == pruned.load(name).manifest
    for line in (whole, pruned):
        rewind(line.deployment, "nightly-000003")
    assert pruned.hour(2, 4).manifest.files == whole.hour(2, 4).manifest.files


@pytest.mark.long
@pytest.mark.promise("T5")
def test_the_first_night_learns_what_hours_had_learnt_before_it(make_line: MakeLine) -> None:
    """Hourly passes learn everything until then, and gc takes away what they went on from."""
    first_day = {"training": {**KEEPS_LITTLE["training"], "hourly": {"learns": "everything"}}}
    whole, pruned = make_line(first_day), make_line(first_day)
    for hour in (6, 8, 10, 12):
        for line in (whole, pruned):
            line.hour(0, hour)

    assert gc.run(pruned.deployment).checkpoints
    assert pruned.night(0).manifest.files == whole.night(0).manifest.files


@pytest.mark.long
@pytest.mark.promise("T11")
def test_the_chain_of_another_declaration_goes_with_its_last_checkpoint(
    make_line: MakeLine,
) -> None:
    """Not before, nor while a run may be at work on it. Whoever comes back to a declaration whose
    chain was cut has it made anew, with the same rows.
    """
    line, undisturbed = make_line(KEEPS_LITTLE), make_line(KEEPS_LITTLE)
    for each in (line, undisturbed):
        each.night(0)
    other = Line(fill_in(line.deployment, OTHER))
    old, new = (chain_of(each) for each in (line, other))
    other.hour(1, 2)
    assert gc.run(other.deployment).slices == ()  # the nightly one is of the old declaration

    other.night(1)
    other.hour(2, 1)
    assert old.name not in gc.run(other.deployment, dry_run=True).slices
    os.utime(old, (MONDAY_OF_LONG_AGO, MONDAY_OF_LONG_AGO))
    assert gc.run(other.deployment).slices[-1] == old.name
    assert not old.exists()
    assert all_paths(new)[0].stem != "00000001"

    line.hour(2, 3)  # the old one, from its first slice on
    other.hour(2, 5)  # and the other, of which the first slices were gone
    undisturbed_other = Line(fill_in(undisturbed.deployment, OTHER))
    undisturbed.hour(2, 3)
    undisturbed_other.hour(2, 5)
    for one, expected in ((line, undisturbed), (other, undisturbed_other)):
        assert rows_in(one).equals(rows_in(expected))


@pytest.mark.long
@pytest.mark.promise("T11")
def test_of_slices_that_others_may_learn_from_nothing_goes(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """As lines do that `evaluate` compares: each knows its own checkpoints only."""
    shared = {"folders": {"slices": str(tmp_path / "shared")}}
    line = Line(fill_in(make_line(KEEPS_LITTLE).deployment, shared))
    for day in (0, 1):
        line.night(day)
        line.hour(day + 1, 2)
    before = line.slices()

    gone = gc.run(line.deployment)
    assert gone.checkpoints
    assert not gone.slices
    assert line.slices() == before


def chain_of(line: Line) -> Path:
    own = line.deployment
    return chain_dir(own.slices_dir, own.events, own.model)


def rows_in(line: Line) -> pa.Table:
    """Of all its slices."""
    return pa.concat_tables(each.read() for _, each in sorted(line.slices().items()))


def test_silent_partitions_do_not_let_a_run_look_through_all_that_there_ever_was(
    tmp_path: Path, shards: Path
) -> None:
    """Neither one that never had a shard, nor one that is sliced to its end; one with shards of
    which nobody has sliced any does.
    """
    own = deployment_in(tmp_path)
    shutil.copytree(shards, own.shards_dir)
    shutil.copytree(Ledger(shards, own.kafka.topic).folder, Ledger(own.shards_dir, "").folder)
    ledger = Ledger(own.shards_dir, own.kafka.topic)
    newest = {each: ledger.newest(each) for each in (0, 1)}
    ends: Ends = {each: (own.next, own.minute_at) for each, own in newest.items() if own}
    behind = ends[0][1] - timedelta(days=1)
    ledger.publish_watermark(
        Watermark(topic=own.kafka.topic, partition=2, next=0, complete_until=at(DAYS), partitions=3)
    )

    assert len(ends) == len(newest)
    assert unsliced_since(ledger, ends) == max(unit for _, unit in ends.values())
    assert unsliced_since(ledger, ends | {0: (ends[0][0] - 9, behind)}) == behind
    assert unsliced_since(ledger, ends | {1: (ends[1][0], at(0))}) == ends[0][1]
    assert unsliced_since(ledger, {0: ends[0]}) is None
    assert unsliced_since(ledger, {}) is None

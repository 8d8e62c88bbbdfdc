"""The chain of slices costs what is new on it: what is behind a line may be gone, and partitions
that are silent are not looked for.
"""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.trainer.conftest import DAYS, MakeLine, at, deployment_in
from trainer.chains import unsliced_since
from twintide.errors import Corrupt
from twintide.shards import Ledger, Watermark
from twintide.slices import Ends


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

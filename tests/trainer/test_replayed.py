"""Rows of the last hours that an hourly pass learns again: which they are, and what they change."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher import gc
from tests.dying import Runner
from tests.trainer.conftest import Line, MakeLine, at, deployment_in
from tests.trainer.test_training_killed import everything
from trainer.epoch import Rows, beside
from trainer.frequency import FrequencyEstimator, log_inclusion
from trainer.rebuild import rebuild
from trainer.replayed import Replayed
from trainer.slicing import Slicer
from twintide.arrays import Arrays
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock
from twintide.config import ReplayConfig
from twintide.derived.state import DerivedState
from twintide.errors import Refused
from twintide.recentslices import slices_of_hours
from twintide.slices import OFFSET, PARTITION, chain_dir

REPLAY: dict[str, Any] = {"training": {"hourly": {"replay": {"share": 0.25, "hours": 5}}}}
KEEPS_LITTLE = {"training": {"keep_hourly": 2, "keep_nightly": 1}}
RUNNER = Path(__file__).with_name("training_runner.py")


@pytest.fixture
def train() -> Iterator[Runner]:
    runner = Runner(RUNNER)
    yield runner
    runner.close()


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Line:
    """Nine hours in slices, to look at."""
    folder = tmp_path_factory.mktemp("sliced")
    line = Line(deployment_in(folder, {"folders": {"shards": str(shards)}}))
    own = line.deployment
    Slicer(own, DerivedState.empty(own), {}, clock=HeldClock(at(0, 9))).extend(at(0, 9))
    return line


def root_of(line: Line) -> Path:
    own = line.deployment
    return chain_dir(own.slices_dir, own.events, own.model)


def places(table: pa.Table) -> list[tuple[int, int]]:
    return list(zip(table[PARTITION].to_pylist(), table[OFFSET].to_pylist(), strict=True))


def replayed(line: Line, *, seed: int = 1, since: int | None = None, **says: Any) -> Replayed:
    declared = ReplayConfig(**{"share": 0.25, "hours": 5, **says})
    return Replayed(root_of(line), declared, seed=seed, since=since, to_teach=lambda table: table)


def counted(arrays: Arrays) -> dict[str, Any]:
    """All that counts clicks, and nothing that is learnt: estimator, vocabularies, state. Where a
    batch ended, which the estimator's gaps depend on, is left out.
    """
    sightings = zip(arrays["estimator.keys"], arrays["estimator.sightings"], strict=True)
    return {
        "clicks": arrays["estimator.clicks"].tolist(),
        "sightings": sorted((int(key), int(seen)) for key, seen in sightings),
        **{
            name: array.tobytes()
            for name, array in arrays.items()
            if name.startswith(("state.", "table.")) and not name.endswith((".weights", ".sums"))
        },
    }


@pytest.mark.long
def test_rows_are_drawn_from_the_hours_before_each_once(sliced: Line) -> None:
    """So many that they have their share of a batch; none twice, none of the slice itself, none
    that is older; over many seeds each as often as the others.
    """
    slices = list(sliced.slices().values())
    new = next(each for each in slices if each.footer.hour_at == at(0, 7))
    recent = [each for each in slices if at(0, 3) <= each.footer.hour_at <= at(0, 6)]
    own = [place for each in recent for place in places(each.read())]
    counts = dict.fromkeys(own, 0)

    for seed in range(200):
        table = replayed(sliced, seed=seed, hours=4).beside(new, 90)
        assert table is not None
        drawn = places(table)
        assert len(drawn) == len(set(drawn)) == 30
        for place in drawn:
            counts[place] += 1

    expected = 200 * 30 / len(own)
    assert sum(counts.values()) == 200 * 30
    assert np.std(list(counts.values())) < 1.5 * np.sqrt(expected)
    twice = [replayed(sliced, hours=4).beside(new, 90) for _ in range(2)]
    assert twice[0] == twice[1]


def test_where_there_are_fewer_rows_than_wanted_all_are_learnt_again(sliced: Line) -> None:
    """And behind the first slice of all there are none."""
    first, second, *_ = sliced.slices().values()

    again = replayed(sliced).beside(second, 9_000)

    assert again is not None
    assert sorted(places(again)) == sorted(places(first.read()))
    assert replayed(sliced).beside(first, 90) is None


def test_every_new_row_is_in_one_batch_and_the_others_have_their_share() -> None:
    """In order, and what is learnt again is spread evenly."""
    is_again = np.arange(1000) >= 750

    batches = list(beside(is_again, batch_rows=100, share=0.25))

    new = [batch[~is_again[batch]] for batch in batches]
    assert np.concatenate(new).tolist() == list(range(750))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert {(len(own), len(batch)) for own, batch in zip(new, batches, strict=True)} == {(75, 100)}


def test_a_row_that_is_learnt_again_counts_for_no_column() -> None:
    """It has its column, and is told apart; copies of one row are one click, new or not."""
    rows = Rows(
        name="test",
        at_ms=np.zeros(6, np.int64),
        unit_ms=np.zeros(6, np.int64),
        item_keys=np.array([5, 5, 7, 7, 7, 9], np.uint64),
        query={},
        candidate={},
        events=np.array([1, 1, 2, 3, 3, 4], np.uint64),
        replayed=np.array([False, False, False, True, True, True]),
    )

    own = rows.distinct(np.arange(6))

    assert own.item_keys.tolist() == [5, 7, 9]
    assert (own.clicks.tolist(), own.replayed) == ([1, 1, 0], 2)
    assert rows.new().item_keys.tolist() == [5, 5, 7]


def test_the_estimator_counts_new_clicks_and_q_is_that_of_the_whole_batch() -> None:
    """It stands as if nothing had been learnt again; the columns are as probable as in a batch of
    all its rows.
    """
    keys, clicks = np.array([1, 2, 3], np.uint64), np.array([6, 3, 1])
    plain, beside_others = FrequencyEstimator.fresh(), FrequencyEstimator.fresh()
    for _ in range(50):
        plain.observe(keys, clicks)
        beside_others.observe(keys, clicks, of=25)

    whole = [each.parts().whole() for each in (plain, beside_others)]
    assert {name: array.tobytes() for name, array in whole[0].items()} == {
        name: array.tobytes() for name, array in whole[1].items()
    }
    assert beside_others.observe(keys, clicks, of=25) == pytest.approx(
        log_inclusion(clicks / 10, 25), rel=1e-5
    )


@pytest.mark.promise("T1")
@pytest.mark.promise("T3")
@pytest.mark.long
def test_what_is_learnt_again_counts_as_nothing_new(make_line: MakeLine) -> None:
    """Rows, position, estimator, vocabularies, catalogue, statistics and histories are those of a
    line that learns each row once; dense weights keep every bit; the tables differ.
    """
    lines = [make_line(), make_line(REPLAY)]
    for each in lines:
        each.night(0)
    nights = [each.load("nightly-000001") for each in lines]
    plain, again = (each.hour(1, 7) for each in lines)

    manifests = [each.manifest for each in (plain, again)]
    assert manifests[0].rows == manifests[1].rows
    assert manifests[0].position == manifests[1].position
    assert manifests[0].slices == manifests[1].slices
    assert manifests[0].newest_event_at == manifests[1].newest_event_at
    assert (manifests[0].replayed_from, manifests[1].replayed_from) == (None, 20)
    assert counted(plain.arrays) == counted(again.arrays)
    weights = next(name for name in plain.arrays if name == "table.item.weights")
    assert plain.arrays[weights].tobytes() != again.arrays[weights].tobytes()
    for name, array in nights[1].arrays.items():
        if name.startswith(("dense.", "optimizer.adam.")):
            assert again.arrays[name].tobytes() == array.tobytes()


@pytest.mark.promise("T10")
@pytest.mark.long
def test_an_hour_that_learns_rows_again_is_made_again_from_its_lineage(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """After many more hours, to the byte; with a source of negatives that remembers clicks. Where
    slices that it drew from are gone it is refused.
    """
    pool = {"negatives": [{"kind": "in_batch"}, {"kind": "pool", "clicks": 500, "count": 20}]}
    line = make_line({**REPLAY, "model": pool})
    line.night(0)
    line.hour(1, 3)
    made = line.hour(1, 7).manifest
    line.hour(1, 9)

    assert rebuild(line.deployment, made.name, into=tmp_path / "again") == made
    assert made.replayed_from is not None
    line.slices()[f"{made.replayed_from:08d}"].path.unlink()
    with pytest.raises(Refused, match="to be learnt again"):
        rebuild(line.deployment, made.name, into=tmp_path / "gone")


@pytest.mark.promise("T2")
@pytest.mark.long
def test_an_hour_that_learns_rows_again_may_be_killed_anywhere(
    make_line: MakeLine, shards: Path, train: Runner, tmp_path: Path
) -> None:
    """Slices and checkpoint are the same to the byte."""
    line = make_line(REPLAY)
    line.night(0)
    before, expected = line.deployment.data_dir, tmp_path / "expected"
    shutil.copytree(before, expected)
    request = {
        "line": "hourly",
        "shards": str(shards),
        "now": at(1, 7).isoformat(),
        "changes": REPLAY,
    }
    steps = train(data_dir=str(expected), **request)["steps"]
    for kill_at in range(1, len(steps) + 1, len(steps) // 3):
        folder = tmp_path / f"killed-{kill_at}"
        shutil.copytree(before, folder)
        assert train(data_dir=str(folder), **request, die_before=kill_at)["killed"]
        assert train(data_dir=str(folder), **request)["code"] == 0
        assert everything(folder) == everything(expected)


@pytest.mark.promise("T11")
@pytest.mark.long
def test_slices_that_may_be_learnt_again_stay(make_line: MakeLine, tmp_path: Path) -> None:
    """By gc after each run the lines learn what they learn without it, and what stays with its
    parent can be made again.
    """
    says = {"training": {**REPLAY["training"], **KEEPS_LITTLE["training"]}}
    whole, pruned = make_line(says), make_line(says)
    for day, hours in ((0, (2, 4)), (1, (1, 3))):
        for line in (whole, pruned):
            line.night(day)
            for hour in hours:
                line.hour(day + 1, hour)
                if line is pruned:
                    gc.run(line.deployment)
    names = {each.name for each in list_checkpoints(pruned.deployment.checkpoints_dir)}

    assert len(pruned.slices()) < len(whole.slices())
    for name in names:
        assert pruned.load(name).manifest.files == whole.load(name).manifest.files
    newest = max(names, key=lambda name: name.rpartition("-")[2])
    assert rebuild(pruned.deployment, newest, into=tmp_path) == pruned.load(newest).manifest


def test_hours_go_back_along_the_chain(sliced: Line, tmp_path: Path) -> None:
    """To the first slice that is so many hours older than the newest before; where slices are gone,
    no further than to there.
    """
    root = shutil.copytree(root_of(sliced), tmp_path / "slices")
    slices = list(sliced.slices().values())

    def names(before: int, hours: int) -> list[str]:
        return [each.name for each in slices_of_hours(root, before=before, hours=hours)]

    def in_hours(first: int, end: int) -> list[str]:
        return [each.name for each in slices if at(0, first) <= each.footer.hour_at < at(0, end)]

    assert names(9, 4) == in_hours(4, 8)
    assert names(9, 100) == in_hours(0, 8)
    assert names(1, 4) == []
    next(root.glob(f"*/{slices[5].path.name}")).unlink()
    assert names(9, 4) == in_hours(6, 8)

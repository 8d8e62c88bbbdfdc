"""A day that does not fit into memory: every row once, in an order that is drawn over all of it."""

from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.trainer.conftest import MakeLine, at
from tests.trainer.test_negatives import EVERY_SOURCE
from trainer.epoch import shuffled
from trainer.gathered import Gathered
from trainer.largeday import Shelves, in_files
from trainer.negatives.stock import Stock
from trainer.positives import sampled
from trainer.prepared import Prepared, prepared
from trainer.rates import nightly_rates
from trainer.rebuild import rebuild
from trainer.run import Begun, begin, slicer_of
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.scratch import Scratch

SEED = 7
MEMORY = 300
SMALL_MEMORY = {"training": {"nightly": {"memory_rows": MEMORY}}}
WITHOUT_STATISTICS: dict[str, Any] = {
    "model": {
        "candidate": [{"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}]
    }
}
DECLARED: dict[str, dict[str, Any]] = {
    "uniformly": WITHOUT_STATISTICS,
    "by refresh window": {},
    "with sources": EVERY_SOURCE,
    "uniformly, with sources": {"model": EVERY_SOURCE["model"] | WITHOUT_STATISTICS["model"]},
}


def gathered(deployment: Deployment, memory_rows: int) -> tuple[Begun, Gathered]:
    """The first day, and what a run on fresh weights begins with."""
    clock = HeldClock(at(1, 0, 5))
    begun = begin(deployment, None, {}, None, clock)
    slicer = slicer_of(deployment, begun, clock=clock)
    day = Gathered(begun, memory_rows)
    for taken in slicer.of_days(at(0).date()):
        day.add(taken)
    begun.state = slicer.state
    return begun, day


def parts(begun: Begun, day: Gathered, deployment: Deployment, folder: Path) -> list[Prepared]:
    rates = nightly_rates(deployment, day.rows)
    return list(in_files(begun, day, rates, folder, name="the day", seed=SEED))


@pytest.mark.promise("T4")
@pytest.mark.parametrize(
    "declared",
    [
        pytest.param(said, id=name, marks=[pytest.mark.long] * ("sources" in name))
        for name, said in DECLARED.items()
    ],
)
def test_a_day_in_files_has_every_row_as_often_as_one_in_memory(
    make_line: MakeLine, tmp_path: Path, declared: dict[str, Any]
) -> None:
    """Whatever is left out or repeated, and no part is larger than memory by more than chance; the
    learner has seen the same ids and numbers, and as many clicks.
    """
    deployment = make_line(declared).deployment
    whole, day = gathered(deployment, 10_000)
    table = pa.concat_tables(day.tables())
    stock = Stock.of(day.clicks_before, whole.state, table)
    rows = whole.rows_of(table, name="")
    expected = sampled(rows, whole.learner.model.spec, stock)
    rates = nightly_rates(deployment, day.rows)
    prepared(whole.learner, expected, batch_rows=64, stock=stock, seed=SEED, shuffle_seed=SEED)
    whole.learner.observe(expected)
    whole.learner.grow(expected, rates)

    begun, large = gathered(deployment, MEMORY)
    found = parts(begun, large, deployment, tmp_path / "files")

    assert day.fits
    assert not large.fits
    assert len(found) >= 4
    assert max(len(each.rows) for each in found) < 2 * MEMORY  # lots were drawn over 20 batches
    learnt = np.concatenate([each.rows.events[numbers] for each in found for numbers in each.order])
    assert Counter(learnt.tolist()) == Counter(expected.events.tolist())
    assert begun.taught == len(expected)
    one, other = begun.learner, whole.learner
    assert one.estimator.clicks == pytest.approx(other.estimator.clicks, rel=0.01)
    assert set(one.model.tables["item"].known) == set(other.model.tables["item"].known)
    for name, scale in other.model.small_arrays().items():
        assert np.allclose(one.model.small_arrays()[name], scale, rtol=1e-5), name
    assert not list((tmp_path / "files").rglob("*.arrow"))


@pytest.mark.promise("T4")
def test_batches_of_a_large_day_stay_within_a_window_and_come_from_all_over_the_day(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """Rows of a part are no run of hours: each of the parts has batches of most of the day; and
    all but a few windows' neighbours stay apart, as in memory.
    """
    deployment = make_line().deployment
    begun, day = gathered(deployment, MEMORY)
    found = parts(begun, day, deployment, tmp_path / "files")
    hours = [each.rows.unit_ms[numbers] // 3_600_000 for each in found for numbers in each.order]
    firsts = np.array([each[0] for each in hours])

    assert max(len(set(each.tolist())) for each in hours) <= 3
    assert abs(np.corrcoef(firsts, np.arange(len(firsts)))[0, 1]) < 0.5
    assert all(np.ptp(each.rows.unit_ms) > 6 * 3_600_000 for each in found if len(each.order) > 3)


@pytest.mark.long
def test_every_order_of_a_large_day_is_as_probable_as_every_other() -> None:
    """Four rows, two in memory: all 24 orders come equally often, within chance."""
    shelves = Shelves.of({0: 4}, at_least=1, most_rows=2)
    tries = 2400
    found: Counter[tuple[int, ...]] = Counter()
    for seed in range(tries):
        lots = shelves.lots(np.zeros(4, np.int64), np.random.default_rng((seed, 1)))
        order: list[int] = []
        for number in range(shelves.count):
            rows = np.flatnonzero(lots == number)
            windows = np.zeros(len(rows), np.int64)
            for batch in shuffled(windows, batch_rows=1, seed=(seed, 4, number)):
                order += rows[batch].tolist()
        found[tuple(order)] += 1

    expected = tries / 24
    chi_squared = sum((found[each] - expected) ** 2 / expected for each in permutations(range(4)))
    assert sum(found[each] for each in permutations(range(4))) == tries
    assert chi_squared < 49.7  # 23 degrees of freedom, one in a thousand


def test_windows_lie_together_where_they_fit_and_apart_where_one_does_not() -> None:
    """Groups in the order of time; of a group with more rows than fit, each row draws its file."""
    shelves = Shelves.of({9: 40, 1: 30, 2: 3, 3: 250, 7: 10}, at_least=8, most_rows=100)
    windows = np.repeat([1, 2, 3, 7, 9], [30, 3, 250, 10, 40])
    lots = shelves.lots(windows, np.random.default_rng(1))

    assert shelves.count == 5
    assert {window: sorted(set(lots[windows == window].tolist())) for window in (1, 7, 9)} == {
        1: [0],
        7: [4],
        9: [4],
    }
    assert sorted(set(lots[(windows == 2) | (windows == 3)].tolist())) == [1, 2, 3]


def test_scratch_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """Each row from the file that it was put into, in order, once; then nothing is left."""
    scratch = Scratch(tmp_path / "scratch")
    rng = np.random.default_rng(2)
    values, lots = np.arange(1000), rng.integers(0, 7, 1000)
    for first in range(0, 1000, 130):
        rows = slice(first, first + 130)
        lists = [[int(each)] * (each % 3) for each in values[rows]]
        scratch.spread(pa.table({"row": values[rows], "lists": lists}), lots[rows])

    for number in range(7):
        table = scratch.take(number)
        assert table is not None
        assert table["row"].to_pylist() == values[lots == number].tolist()
        assert table["lists"].to_pylist() == [[row] * (row % 3) for row in values[lots == number]]
        assert scratch.take(number) is None
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.long
@pytest.mark.promise("T4")
@pytest.mark.promise("T10")
@pytest.mark.parametrize(
    "declared",
    [
        WITHOUT_STATISTICS,
        pytest.param({}, marks=pytest.mark.long),
        pytest.param(EVERY_SOURCE, marks=pytest.mark.long),
    ],
    ids=["uniformly", "by refresh window", "with sources"],
)
def test_a_night_in_files_is_made_again_from_its_lineage(
    make_line: MakeLine, tmp_path: Path, declared: dict[str, Any]
) -> None:
    """To the byte, with all rows in it, and nothing beside the checkpoints when it is over."""
    line = make_line({**declared, **SMALL_MEMORY})
    made = line.night(0)
    again = rebuild(line.deployment, made.manifest.name, into=tmp_path / "again")

    assert again == made.manifest
    assert made.manifest.rows == sum(
        line.slices()[name].footer.rows for name in made.manifest.slices
    )
    assert made.manifest.rows > 3 * MEMORY
    assert {path.name for path in line.deployment.checkpoints_dir.iterdir()} == {
        "nightly-000001",
        ".nightly.lock",
        ".publish.lock",
    }
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"nightly-000001"}


@pytest.mark.long
@pytest.mark.promise("T4")
def test_a_day_that_fits_is_learnt_the_same_whatever_the_memory(make_line: MakeLine) -> None:
    """The bytes of a night in exactly as much memory as it needs are those of one in plenty."""
    plenty = make_line()
    made = plenty.night(0).manifest
    just = make_line({"training": {"nightly": {"memory_rows": made.rows}}}).night(0).manifest

    assert just.files == made.files

"""Sources of negatives: what they bring, and Q against how often they bring it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.trainer.conftest import Line, MakeLine, at
from trainer import rebuild
from trainer.epoch import Added, Ints, Rows, in_order
from trainer.frequency import FrequencyEstimator
from trainer.negatives import Run, union_of
from trainer.negatives.stock import Stock
from trainer.negatives.union import Union, log_q_of
from twintide import config
from twintide.clock import to_unix_ms
from twintide.derived.catalogue import UNKNOWN, Catalogue
from twintide.derived.clicks import ItemClicks
from twintide.derived.state import DerivedState
from twintide.features.item_statistics import ItemStatistics
from twintide.frequency import Exact
from twintide.keys import keys_of, mixed
from twintide.modelspec import ModelSpec
from twintide.ragged import Numbers
from twintide.slices import UNIT, Contents

ITEMS, KNOWN, BATCH_ROWS, BATCHES = 40, 34, 8, 600
P = 1.0 / np.arange(1, KNOWN + 1) ** 0.7
P /= P.sum()
UNIFORM = {"kind": "uniform", "count": 6}
POPULARITY = {"kind": "popularity", "count": 5, "exponent": 0.75}
POOL = {"kind": "pool", "count": 7, "clicks": 20}
IN_BATCH = {"kind": "in_batch"}


def spec_with(*sources: dict[str, Any]) -> ModelSpec:
    """The quickstart's model without item statistics, with these sources."""
    quickstart = config.load(Path(__file__).parents[2] / "configs" / "quickstart.yaml")
    declared = config.fill_in(quickstart, {"model": {"negatives": list(sources)}}).model
    candidate = tuple(each for each in declared.candidate if each.kind != "item_statistics")
    return declared.model_copy(update={"candidate": candidate, "popularity_layer": 0})


def stock() -> Stock:
    """Forty items, of which the last six are not known yet when the batches come."""
    seen_ms = np.where(np.arange(ITEMS) < KNOWN, 0, 1000)
    ids = pa.array(range(ITEMS))
    catalogue = Catalogue.of((), ids=ids, first_seen_ms=seen_ms, attributes={})
    clicks = np.arange(ITEMS)[::-1] * 3  # the last one has none
    return Stock(catalogue, clicks, None, None)


def clicked(batches: int = BATCHES) -> Rows:
    """Clicks on the known items, item i with probability P[i]."""
    count = batches * BATCH_ROWS
    items = np.random.default_rng(3).choice(KNOWN, count, p=P)
    return Rows(
        name="test",
        at_ms=np.full(count, 500),
        unit_ms=np.full(count, 500),
        item_keys=keys_of(pa.array(items)),
        query={},
        candidate={},
        events=mixed(np.arange(1, count + 1, dtype=np.uint64)),
    )


def union_with(rows: Rows, order: list[Ints], *sources: dict[str, Any], seed: int = 1) -> Union:
    return union_of(
        spec_with(*sources), Run(stock(), rows, order, keys_of(pa.array([1, 2, 2]))), seed=seed
    )


UNIONS = {
    "uniform": [UNIFORM],
    "popularity": [POPULARITY],
    "pool": [POOL, UNIFORM],
    "uniform and in-batch": [IN_BATCH, UNIFORM],
    "all": [IN_BATCH, UNIFORM, POPULARITY, POOL],
}


@pytest.mark.parametrize("sources", UNIONS.values(), ids=UNIONS)
def test_q_is_how_often_an_item_is_a_column(sources: list[dict[str, Any]]) -> None:
    """For every item, also those that are rare, not clicked yet or not known: as many batches hold
    it, by one source or another, as Q adds up to.
    """
    rows = clicked()
    order = list(in_order(len(rows), batch_rows=BATCH_ROWS))
    union = union_with(rows, order, *sources)
    every = np.arange(ITEMS)
    in_batch = np.full(ITEMS, -np.inf)
    in_batch[:KNOWN] = np.log(1 - (1 - P) ** BATCH_ROWS)
    counted, expected, variance = np.zeros((3, ITEMS))
    for step, numbers in enumerate(order):
        moment = union.stock.moment(rows, numbers, step)
        batch = union.batch(rows, step, numbers)
        assert batch.added is not None
        is_open = np.ones(len(batch.item_keys), bool)
        is_open = is_open if batch.added.open is None else batch.added.open
        counted[union.stock.rows_of(batch.item_keys[is_open])] += 1
        missed = sum(each.log_missed(every, moment) for each in union.drawn.values())
        added = Added(0, np.asarray(missed), union.in_batch)
        q = np.exp(log_q_of(added, in_batch)) * ((missed < 0) | (union.in_batch & (every < KNOWN)))
        expected, variance = expected + q, variance + q * (1 - q)

    assert np.abs(counted - expected).max() > 0
    assert (np.abs(counted - expected) <= 4.5 * np.sqrt(variance) + 1e-6 * BATCHES).all()
    assert not counted[KNOWN:].any()


def test_q_of_a_column_is_that_of_the_union_whoever_brought_it() -> None:
    """1 − Π (1 − Q of each source), in a plain loop; what none can bring is not corrected."""
    rows = clicked(5)
    order = list(in_order(len(rows), batch_rows=BATCH_ROWS))
    union = union_with(rows, order, IN_BATCH, UNIFORM, POPULARITY, POOL)
    batch = union.batch(rows, 3, order[3])
    added = batch.added
    assert added is not None
    columns = union.stock.rows_of(batch.item_keys)
    in_batch = np.log(np.linspace(0.1, 1.0, len(columns))).astype(np.float32)
    weights = (np.arange(ITEMS)[::-1] * 3.0)[:KNOWN] ** 0.75
    pool = [1, 2, 2, *union.stock.rows_of(rows.item_keys[: 3 * BATCH_ROWS]).tolist()][-20:]

    found = np.exp(log_q_of(added, in_batch))

    for column, q in zip(columns.tolist(), found, strict=True):
        by_chance = [
            1 - (1 - 1 / KNOWN) ** 6,
            1 - (1 - weights[column] / weights.sum()) ** 5,
            1 - (1 - pool.count(column) / len(pool)) ** 7,
            float(np.exp(in_batch[columns.tolist().index(column)])),
        ]
        assert q == pytest.approx(1 - np.prod([1 - each for each in by_chance]), rel=1e-5)
    nobody = Added(0, np.zeros(2), in_batch=False)
    assert log_q_of(nobody, np.zeros(2, np.float32)).tolist() == [0, 0]


def test_without_in_batch_the_other_clicks_items_are_nobodys_negatives() -> None:
    """Their columns are there for the clicks themselves, and open only where they were drawn."""
    rows = clicked(5)
    order = list(in_order(len(rows), batch_rows=BATCH_ROWS))
    union = union_with(rows, order, UNIFORM)
    batch = union.batch(rows, 2, order[2])
    drawn = union.drawn["uniform"].draw(
        union.stock.moment(rows, order[2], 2), union._generator("uniform", rows.events[order[2]])
    )

    assert batch.added is not None
    assert batch.added.open is not None
    assert len(np.unique(batch.item_keys)) == len(batch.item_keys)
    opened = union.stock.rows_of(batch.item_keys[batch.added.open])
    assert sorted(opened) == sorted(set(drawn.tolist()))


def test_what_is_drawn_follows_from_the_seed_and_where_the_clicks_lie() -> None:
    """Not from what was drawn before, nor from the order of the sources."""
    rows = clicked(5)
    order = list(in_order(len(rows), batch_rows=BATCH_ROWS))
    one = union_with(rows, order, UNIFORM, POPULARITY)
    other_way = union_with(rows, order, POPULARITY, UNIFORM)
    other_seed = union_with(rows, order, UNIFORM, POPULARITY, seed=2)
    elsewhere = replace(rows, events=rows.events + np.uint64(1))

    def brought(union: Union, of: Rows) -> list[int]:
        return [int(each) for each in union.brought(of, 1, order[1])]

    assert brought(one, rows) == brought(one, rows) == brought(other_way, rows)
    assert brought(one, rows) != brought(other_seed, rows)
    assert brought(one, rows) != brought(one, elsewhere)


def test_items_that_the_catalogue_lacks_are_never_drawn_and_always_missed() -> None:
    """An item that left it may still be clicked, and be in the pool."""
    rows = clicked(3)
    order = list(in_order(len(rows), batch_rows=BATCH_ROWS))
    union = union_with(rows, order, UNIFORM, POPULARITY, POOL)
    moment = union.stock.moment(rows, order[1], 1)

    assert union.stock.rows_of(keys_of(pa.array([3, 999]))).tolist() == [3, UNKNOWN]
    for each in union.drawn.values():
        assert each.log_missed(np.array([UNKNOWN, ITEMS - 1]), moment).tolist() == [0, 0]


def test_items_that_a_batch_lacks_are_as_probable_as_they_have_been() -> None:
    """What the estimator says of items that are not there: near the truth in the mean, falling for
    an item that is clicked no more, small for one that never was.
    """
    rng, estimator = np.random.default_rng(1), FrequencyEstimator.fresh(Exact(learning_rate=0.03))
    keys, share = keys_of(pa.array(range(5))), np.array([0.9, 0.06, 0.03, 0.01])
    said: list[list[float]] = [[] for _ in share]
    for step in range(2500):
        there, clicks = np.unique(rng.choice(4, BATCH_ROWS, p=share), return_counts=True)
        estimator.observe(keys[there], clicks)
        if step > 500:
            for item in np.setdiff1d(np.arange(1, 4), there).tolist():
                said[item].append(float(estimator.expected(keys[item : item + 1], BATCH_ROWS)[0]))
    for item in range(1, 4):
        truth = np.log(1 - (1 - share[item]) ** BATCH_ROWS)
        assert np.mean(said[item]) == pytest.approx(truth, abs=0.15)
    before = {name: array.copy() for name, array in estimator.parts().whole().items()}
    assert estimator.expected(keys[4:], BATCH_ROWS).item() <= np.log(1 / 2500)
    assert all(
        np.array_equal(before[name], each) for name, each in estimator.parts().whole().items()
    )
    for _ in range(1500):
        estimator.observe(keys[:1], np.array([BATCH_ROWS]))
    assert estimator.expected(keys[1:2], BATCH_ROWS).item() < np.log(0.3) - 2


EVERY_SOURCE: dict[str, Any] = {
    "model": {
        "negatives": [
            IN_BATCH,
            {"kind": "uniform", "count": 16},
            {"kind": "popularity", "count": 16},
            {"kind": "pool", "count": 16, "clicks": 500},
        ],
        "positives": {
            "keep_popular": {"above_share": 0.01},
            "repeat_cold": {"below_clicks": 5, "times": 3},
        },
    }
}


@pytest.mark.long
def test_a_line_with_every_source_is_made_again_from_its_lineage(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """A night and two hours, the pool and the counts in them, to the byte; and other weights than
    without the sources.
    """
    line = make_line(EVERY_SOURCE)
    made = [line.night(0), line.hour(1, 2), line.hour(1, 5)]
    again = [
        rebuild.rebuild(line.deployment, each.manifest.name, into=tmp_path / "again")
        for each in made
    ]

    assert again == [each.manifest for each in made]
    assert [len(each.arrays["negatives.pool"]) for each in made] == [500] * 3
    counted = made[-1].arrays["state.clicks.so_far"]
    slices = line.slices()
    learnt = sum(slices[name].footer.rows for each in made for name in each.manifest.slices)
    assert (len(counted), int(counted.sum())) == (len(made[-1].catalogue), learnt)
    plain = make_line().night(0)
    assert not np.array_equal(
        plain.arrays["table.item.weights"], made[0].arrays["table.item.weights"]
    )


def test_in_batch_alone_is_what_it_was(make_line: MakeLine) -> None:
    """Said or not: the same name of what is learnt, the same slices."""
    said = make_line({"model": {"negatives": [{"kind": "in_batch"}]}}).deployment
    unsaid = make_line({"data_dir": str(said.data_dir)}).deployment

    assert said.learning_hash() == unsaid.learning_hash()
    assert "negatives" not in unsaid.model.identity()
    other = make_line(EVERY_SOURCE).deployment
    assert other.learning_hash() != said.learning_hash()


def test_an_item_that_is_brought_is_what_it_was_at_the_batchs_time(line: Line) -> None:
    """Its statistics are those that a server had then, told by the slices before; its attributes
    are what was last said.
    """
    line.night(0)
    spec = line.deployment.model.item_statistics()
    assert isinstance(spec, ItemStatistics)
    table = pa.concat_tables(each.read() for each in line.slices().values())
    state, then = (DerivedState.empty(line.deployment) for _ in range(2))
    state.fold(Contents(table))
    stock_of_day = Stock.of(ItemClicks(), state, table)
    rows = Rows.of(table, line.deployment.model, name="day")
    numbers = np.flatnonzero(rows.unit_ms // 3_600_000 == to_unix_ms(at(0, 9)) // 3_600_000)
    moment = stock_of_day.moment(rows, numbers, 0)
    until = pa.scalar(moment.refreshed_ms, pa.timestamp("ms")).cast(pa.timestamp("ms", tz="UTC"))
    then.fold(Contents(table.filter(pa.compute.less(table[UNIT], until))))
    items = np.arange(len(then.catalogue))

    found = stock_of_day.features(items, moment)

    as_of = then.catalogue_table(until.as_py())
    right = as_of[f"candidate.{spec.name}"].combine_chunks().flatten().to_numpy()
    numbers_found = found[spec.name]
    assert isinstance(numbers_found, Numbers)
    assert len(items) < len(stock_of_day.catalogue)
    np.testing.assert_allclose(numbers_found.values.reshape(-1), right, atol=1e-6)
    assert moment.known >= len(items)

"""What a batch of few clicks may do: its share of what a whole one does, and no more."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from trainer.epoch import Ints, Rows, home_first, in_order, shuffled
from trainer.labels import Labels
from trainer.learner import Learner
from trainer.rates import Rates
from twintide import config
from twintide.errors import Refused
from twintide.keys import keys_of
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, one_id_each

WHOLE = 64
CLICKS = 1024
QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def spec_of(**says: Any) -> ModelSpec:
    """Users and items alone, with these keys."""
    ids = {
        "query": [{"kind": "sparse", "name": "user", "column": "user_id", "table": "user"}],
        "candidate": [{"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}],
    }
    small = {
        "embedding_width": 8,
        "output_width": 8,
        "tower": {"kind": "dnn", "hidden": [16]},
        "popularity_layer": 0,
        "negatives": [{"kind": "in_batch"}],
    }
    return config.fill_in(config.load(QUICKSTART), {"model": ids | small | says}).model


def clicks(count: int = CLICKS) -> Rows:
    """Of users who come once each, half of them on item 0, the others on thirty more."""
    rng = np.random.default_rng(4)
    items = np.where(rng.random(count) < 0.5, 0, rng.integers(1, 31, count))
    users, keys = keys_of(pa.array(range(1000, 1000 + count))), keys_of(pa.array(items))
    zeros = np.zeros(count, np.int64)
    query: Encoded = dict.fromkeys(("user", "augmented"), one_id_each(users))
    candidate: Encoded = dict.fromkeys(("item", "augmented"), one_id_each(keys))
    return Rows("clicks", zeros, zeros, keys, query, candidate)


def sum_of_the_popular(spec: ModelSpec, rows: Rows, order: list[Ints], batch_rows: int) -> float:
    """What these batches add to item 0's accumulator, from the first weights on, where so many
    clicks are a whole one.
    """
    learner = Learner.untrained(spec, seed=1)
    rates = Rates(("user", "item"), 0.1, None, batch_rows)
    learner.grow(rows, rates)
    list(learner.learn(rows, order, rates, seed=1))
    item = learner.model.tables["item"].rows_of(keys_of(pa.array([0])))
    return float(learner.arrays()["table.item.sums"][item[0]])


AUGMENTED = {
    side: [
        {"kind": "sparse", "name": name, "column": column, "table": name},
        {"kind": "sparse", "name": "augmented", "column": column, "table": f"{name}_augmented"},
    ]
    for side, name, column in (("query", "user", "user_id"), ("candidate", "item", "item_id"))
}
LEARNT: dict[str, dict[str, Any]] = {
    "softmax": {},
    "bce": {"loss": {"kind": "bce"}},
    "hinge": {"loss": {"kind": "hinge"}},
    "bpr": {"loss": {"kind": "bpr"}},
    "a number": {"objectives": {"seen": {"loss": {"kind": "mse", "column": "watch_seconds"}}}},
    "some rows": {"objectives": {"few": {"positive": {"column": "liked"}, "weight": 3.0}}},
    "auxiliary": {"tower": {"kind": "dat", "hidden": [16]}} | AUGMENTED,
}


@pytest.mark.parametrize("says", LEARNT.values(), ids=LEARNT)
def test_a_step_counts_as_what_it_has_of_a_whole_batch(says: dict[str, Any]) -> None:
    """Of whatever is learnt, a batch of 4 where 64 are whole pushes with 1/16 of its mean."""
    labels = {
        "seen": Labels(targets=np.arange(CLICKS, dtype=np.float32) % 7),
        "few": Labels(np.arange(CLICKS) % 4 > 1),
    }
    rows, spec = replace(clicks(), labels=labels), spec_of(**says)
    share, mean = (sum_of_the_popular(spec, rows, [np.arange(4)], whole) for whole in (WHOLE, 4))

    assert 0 < share == pytest.approx(mean / 16**2, rel=1e-4)


def test_a_batch_of_four_moves_a_popular_row_by_its_share() -> None:
    """Its Adagrad sum grows by no more than 4 of a whole batch's clicks make of what that batch
    adds; as a mean over the batch it grew by as much as by a whole one.
    """
    rows, spec = clicks(), spec_of()
    whole, of_four = (
        sum_of_the_popular(spec, rows, [np.arange(count)], WHOLE) for count in (WHOLE, 4)
    )

    assert 0 < of_four <= whole * 4 / WHOLE


def test_the_last_batches_of_many_slices_add_up_to_their_clicks() -> None:
    """A pass in slices of 4 clicks pushes no row further than one in whole batches."""
    rows, spec = clicks(), spec_of()
    whole, in_slices = (
        sum_of_the_popular(spec, rows, list(in_order(512, batch_rows=count)), WHOLE)
        for count in (WHOLE, 4)
    )

    assert 0 < in_slices <= whole


def test_few_positives_of_an_objective_count_as_few_whatever_is_beside_them() -> None:
    """An objective with 4 positives says the same of a row in a batch of 4 as in a whole one, of
    whose other rows it knows nothing.
    """
    number = {"loss": {"kind": "log_mse", "column": "watch_seconds"}}
    spec = spec_of(objectives={"watch": number})
    rows = clicks(WHOLE)
    watched = np.where(np.arange(WHOLE) < 4, 1.0, np.nan).astype(np.float32)
    labelled = replace(rows, labels={"watch": Labels(np.isfinite(watched), watched)})
    sums = [sum_of_the_popular(spec, labelled, [np.arange(count)], WHOLE) for count in (4, WHOLE)]

    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_clicks_that_come_late_are_no_batch_of_one() -> None:
    """A click whose window is hours past joins the window after it, three of the day's last window
    the one before; every row is there once, and no other windows are mixed.
    """
    windows = np.repeat([-5, -3, 0, 1, 2, 3], [1, 2, 200, 190, 210, 3])
    batches = shuffled(windows, batch_rows=WHOLE, seed=1)
    mixed = [set(windows[batch].tolist()) for batch in batches if len(set(windows[batch])) > 1]

    assert sorted(np.concatenate(batches).tolist()) == list(range(len(windows)))
    assert min(map(len, batches)) >= WHOLE // 2
    assert max(map(len, batches)) <= WHOLE
    assert all(each <= {-5, -3, 0} or each <= {2, 3} for each in mixed)
    assert mixed


def test_windows_of_few_clicks_are_learnt_together() -> None:
    """Statistics that are refreshed each minute make no batches of three clicks."""
    windows = np.repeat(np.arange(100), 3)
    batches = shuffled(windows, batch_rows=WHOLE, seed=1)

    assert min(map(len, batches)) >= WHOLE // 8
    assert sum(np.ptp(windows[batch]) > WHOLE // 8 // 3 for batch in batches) <= 1  # the last
    assert len(shuffled(windows[:3], batch_rows=WHOLE, seed=1)) == 1


def test_an_item_is_as_it_was_in_the_window_of_most_of_a_batch() -> None:
    """Where a late click is on the item of others, the column of all has the others' statistics;
    batches of one window keep their order.
    """
    windows = np.array([3, 9, 9, 3, 9])

    assert home_first(windows, np.arange(5)).tolist() == [1, 2, 4, 0, 3]
    assert home_first(windows, np.array([2, 1, 4])).tolist() == [2, 1, 4]
    assert [home_first(windows, np.arange(0)).tolist()] == [[]]


@pytest.mark.promise("T6")
@pytest.mark.parametrize("dense", [None, 1e-3], ids=["hour", "night"])
def test_a_gradient_that_is_not_finite_stops_the_step(dense: float | None) -> None:
    """Where the loss itself is finite, as of a click that counts 1e25, whose gradient has no square
    in a float: nothing of the batch is applied, and the batch is named.
    """
    labels = {"click": Labels(weights=np.where(np.arange(CLICKS) == 70, 1e25, 1).astype("f4"))}
    rows, learner = replace(clicks(), labels=labels), Learner.untrained(spec_of(), seed=1)
    rates = Rates(("user", "item"), 0.1, dense, WHOLE)
    learner.grow(rows, rates)
    steps = learner.learn(rows, [np.arange(WHOLE), np.arange(WHOLE, 2 * WHOLE)], rates, seed=1)
    next(steps)
    before = {name: array.copy() for name, array in learner.arrays().items()}

    with pytest.raises(Refused, match="a gradient of clicks, clicks 64 to 127 is not finite"):
        next(steps)

    for name, array in learner.arrays().items():
        if not name.startswith("estimator"):
            np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_an_extreme_reward_leaves_its_rows_able_to_learn() -> None:
    """Clipped, a click that counts a million adds no more to its item's sum than is declared."""
    labels = {"click": Labels(weights=np.where(np.arange(CLICKS) == 3, 1e6, 1).astype(np.float32))}
    rows = replace(clicks(), labels=labels)
    sums = []
    for limit in (None, 0.1):
        learner = Learner.untrained(spec_of(), seed=1)
        rates = Rates(("user", "item"), 0.1, None, WHOLE, limit)
        learner.grow(rows, rates)
        list(learner.learn(rows, [np.arange(WHOLE)], rates, seed=1))
        sums.append(learner.arrays()["table.item.sums"].max())

    assert sums[0] > 100
    assert sums[1] == pytest.approx(0.01)

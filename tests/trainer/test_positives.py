"""Clicks that are left out or repeated: by a plain rule, the same again, with the right Q."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import MakeLine
from tests.trainer.test_negatives import BATCH_ROWS, KNOWN, UNIFORM, clicked, spec_with, stock
from trainer.epoch import Rows, in_order
from trainer.learner import Learner
from trainer.negatives.stock import Stock
from trainer.positives import sampled
from twintide import config
from twintide.errors import Refused
from twintide.modelspec import ModelSpec
from twintide.positives import Cold, Popular, Positives

KEEP = Popular(above_share=0.02, exponent=0.5)


def of_items(rows: Rows) -> np.ndarray:
    """[KNOWN]: how many of the rows each item has."""
    order = stock().rows_of(rows.item_keys)
    return np.bincount(order, minlength=KNOWN)


def model_with(positives: Positives | None, *sources: dict[str, Any]) -> ModelSpec:
    spec = spec_with(*(sources or ({"kind": "in_batch"},)))
    return spec.model_copy(update={"positives": positives})


def counted(rows: Rows) -> Stock:
    clicks = np.zeros(len(stock().catalogue), np.int64)
    clicks[:KNOWN] = of_items(rows)
    return replace(stock(), clicks=clicks)


def test_popular_items_lose_clicks_by_the_root_of_their_share_and_no_others_do() -> None:
    """As many as a plain loop expects, item by item, within chance; the rest once, in order."""
    rows = clicked(4000)
    clicks = of_items(rows)

    kept = sampled(rows, model_with(Positives(keep_popular=KEEP)), counted(rows))

    found = of_items(kept)
    for item in range(KNOWN):
        share = clicks[item] / len(rows)
        probability = min(1.0, (0.02 / share) ** 0.5)
        spread = np.sqrt(clicks[item] * probability * (1 - probability))
        assert abs(found[item] - clicks[item] * probability) <= 4.5 * spread + 1e-9
    assert len(np.unique(kept.events)) == len(kept)
    places = np.searchsorted(np.sort(rows.events), kept.events)
    numbers = np.argsort(rows.events)[places]
    assert (np.diff(numbers) > 0).all()
    assert 0.5 < len(kept) / len(rows) < 0.9


def test_clicks_on_cold_items_come_several_times_in_a_row() -> None:
    """Below so many clicks of their item; both rules together are a product."""
    rows = clicked(40)
    few = replace(stock(), clicks=np.where(np.arange(len(stock().catalogue)) < 3, 50, 4))
    cold = Positives(repeat_cold=Cold(below_clicks=5, times=3))
    both = Positives(repeat_cold=Cold(below_clicks=5, times=3), keep_popular=KEEP)

    repeated = of_items(sampled(rows, model_with(cold), few))
    product = of_items(sampled(rows, model_with(both), few))

    assert repeated.tolist() == (of_items(rows) * np.where(np.arange(KNOWN) < 3, 1, 3)).tolist()
    assert (product[3:] % 3 == 0).all()
    assert (product < repeated).any()


def test_what_is_left_out_follows_from_where_a_click_lies() -> None:
    """Not from what else is learnt: a part of the rows keeps what it keeps among all."""
    rows = clicked(200)
    model, of_all = model_with(Positives(keep_popular=KEEP)), counted(rows)
    part = np.arange(300, 700)

    alone = sampled(rows.take(part), model, of_all).events
    among = sampled(rows, model, of_all).events

    assert alone.tolist() == among[np.isin(among, rows.events[part])].tolist()
    assert sampled(rows, model_with(None), None) is rows


@pytest.mark.long
@pytest.mark.parametrize("positives", [None, Positives(keep_popular=KEEP)])
def test_q_is_that_of_the_batches_as_they_are_learnt(positives: Positives | None) -> None:
    """The estimator's mean gap of every item is that counted over the batches, in-batch alone and
    in a union, whatever was left out: with Q of all clicks the popular ones would be off by a half.
    """
    all_rows = clicked(4000)
    rows = sampled(all_rows, model_with(positives), counted(all_rows))
    order = list(in_order(len(rows), batch_rows=BATCH_ROWS))
    learner = Learner.untrained(model_with(positives, {"kind": "in_batch"}, UNIFORM), seed=1)
    union = learner.union_for(rows, order, counted(all_rows), seed=1)
    assert union is not None
    known, _ = learner.estimate_union(rows, order, range(len(order)), union)
    held, gaps = np.zeros(KNOWN), [list[float]() for _ in range(KNOWN)]
    assert known.log_q is not None
    for step, numbers in enumerate(order):
        items, first = np.unique(stock().rows_of(rows.item_keys[numbers]), return_index=True)
        held[items] += 1
        if step > len(order) // 4:
            for item, log_q in zip(items.tolist(), known.log_q[numbers[first]], strict=True):
                gaps[item].append(float(np.exp(-log_q)))
    q = held / len(order)

    for item in range(KNOWN):
        assert np.mean(gaps[item]) == pytest.approx(1 / q[item], rel=0.15)
    whole = 1 - (1 - of_items(all_rows)[0] / len(all_rows)) ** BATCH_ROWS
    assert (q[0] < 0.8 * whole) == (positives is not None)


@pytest.mark.long
def test_state_and_statistics_see_every_click(make_line: MakeLine) -> None:
    """A night that leaves out half of them and repeats others has the same histories, counts and
    catalogue as one that learns all; other weights.
    """
    positives = {"keep_popular": {"above_share": 0.002}, "repeat_cold": {"below_clicks": 4}}
    lines = [make_line(), make_line({"model": {"positives": positives}})]
    every, some = (line.night(0) for line in lines)

    assert some.catalogue.equals(every.catalogue)
    assert every.manifest.rows == some.manifest.rows
    assert some.manifest.loss != every.manifest.loss
    for name in every.arrays:
        if name.startswith("state."):
            assert np.array_equal(some.arrays[name], every.arrays[name]), name
    assert some.arrays["state.clicks.so_far"].sum() == every.manifest.rows
    assert not np.array_equal(some.arrays["table.item.weights"], every.arrays["table.item.weights"])
    assert lines[0].deployment.learning_hash() != lines[1].deployment.learning_hash()


WRONG = {
    "neither": ({}, r"model\.positives: says neither keep_popular nor repeat_cold"),
    "a share of all": ({"keep_popular": {"above_share": 1.0}}, "above_share: must be less than 1"),
    "an exponent of nothing": ({"keep_popular": {"exponent": 0}}, "exponent: must be more than 0"),
    "once": ({"repeat_cold": {"times": 1}}, r"repeat_cold\.times: must be at least 2; it is 1"),
    "a key nobody has": ({"drop": 0.5}, r"model\.positives\.drop: is no key"),
    "a word": ("all", r"model\.positives: must be a mapping"),
}


@pytest.mark.parametrize(("said", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_is_refused_by_key_and_reason(
    make_line: MakeLine, said: Any, told: str
) -> None:
    """Before anything is trained."""
    with pytest.raises(Refused, match=told):
        config.fill_in(make_line().deployment, {"model": {"positives": said}})

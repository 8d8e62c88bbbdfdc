"""What a click counts: by an amount, and only where it is enough."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.trainer.conftest import EVENTS_PER_DAY, MakeLine, small_stream
from trainer.epoch import Rows
from twintide.events import Condition
from twintide.reward import Reward


def rewarded(**keys: Any) -> dict[str, Any]:
    return {"model": {"reward": {"column": "watch_seconds", **keys}}}


def test_a_click_counts_what_its_reward_says() -> None:
    """Log, scale, bounds; one without a reward counts as a plain click, and none less than 0."""
    seconds = pa.chunked_array([[None, 0.0, 9.0, 1e9, -4.0, float("nan")]])

    plain = Reward(column="s", divided_by=3.0).of(pa.table({"s": seconds}))
    logs = Reward(column="s", transform="log1p", at_most=5.0).of(pa.table({"s": seconds}))

    assert plain.tolist() == [1, 0, 3, 10, 0, 1]
    assert logs == pytest.approx([1, 0, np.log(10), 5, 0, 1])


@pytest.mark.long
def test_clicks_that_all_count_one_are_clicks(make_line: MakeLine) -> None:
    """The same checkpoint to the bit; with rewards that differ, another."""
    without = make_line().night(0).arrays
    all_one = make_line(rewarded(divided_by=1e-6, at_most=1.0)).night(0).arrays
    differing = make_line(rewarded()).night(0).arrays

    assert {name for name in without if not np.array_equal(without[name], all_one[name])} == set()
    assert not np.array_equal(without["table.item.weights"], differing["table.item.weights"])


def test_slices_hold_what_each_click_counts(make_line: MakeLine) -> None:
    """As declared, beside the click, and so in every batch of it."""
    line = make_line(rewarded(divided_by=0.5))
    line.night(0)
    events = small_stream(line.deployment)
    counted = {
        (row["user_id"], row["item_id"], row["event_at"]): row["watch_seconds"] / 0.5
        for row in events.to_pylist()
    }

    slice_ = list(line.slices().values())[3]
    rows = Rows.of(slice_.read(), line.deployment.model, name="slice")
    batch = rows.batch(np.array([5, 1, 2]))

    weights, of_batch = rows.labels["click"].weights, batch.labels["click"].weights
    assert weights is not None
    assert of_batch is not None
    assert set(np.round(weights, 4)) <= set(np.round([*counted.values()], 4).astype("f4"))
    assert of_batch.tolist() == weights[[5, 1, 2]].tolist()


def test_a_click_may_be_an_amount(make_line: MakeLine) -> None:
    """`at_least`: what is less, or nothing, is no click."""
    enough = Condition(column="watch_seconds", at_least=0.5)
    amounts = pa.array([0.4, 0.5, None, 3.0, float("nan")])

    assert enough.holds(amounts).to_pylist() == [False, True, False, True, False]
    line = make_line(
        {"events": {"positive": {"column": "watch_seconds", "equals": None, "at_least": 0.5}}}
    )
    night = line.night(0)
    assert 0.4 < night.manifest.rows / EVENTS_PER_DAY < 0.6

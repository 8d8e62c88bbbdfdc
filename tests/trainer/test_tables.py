"""What `model.tables` says of an embedding table, how wide it is and which line changes it; and
what each line's `tables` say of how fast.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from publisher.publish import publish
from tests.trainer.conftest import ROOT, Line, MakeLine, at
from tests.trainer.test_batches import WHOLE, clicks, spec_of
from trainer.learner import Learner
from trainer.rates import Rates, hourly_rates
from twintide import config
from twintide.clock import HeldClock
from twintide.problems import Misconfigured

Doubles = npt.NDArray[np.float64]


def with_tables(tables: dict[str, Any]) -> dict[str, Any]:
    return {"model": {"tables": tables}}


def changed(line: Line) -> set[str]:
    """Tables of which an hourly pass changed a row that was there before it."""
    before, after = line.night(0).arrays, line.hour(1, 2).arrays
    return {
        name.split(".")[1]
        for name in before
        if name.startswith("table.")
        and name.endswith(".weights")
        and not np.array_equal(before[name], after[name][: len(before[name])])
    }


@pytest.mark.long
@pytest.mark.promise("T3")
def test_an_hourly_pass_changes_the_tables_that_are_said_to_be_hourly(make_line: MakeLine) -> None:
    """By default those of users and items; a side table joins where it is said, an id table stays
    where it is said.
    """
    said = {"region": {"changed_by": "hourly"}, "user": {"changed_by": "nightly"}}

    assert changed(make_line()) == {"user", "item"}
    assert changed(make_line(with_tables(said))) == {"region", "item"}


@pytest.mark.long
def test_tables_may_have_widths_of_their_own(make_line: MakeLine) -> None:
    """Each row is as wide as said, both lines learn on, and a version of it answers."""
    line = make_line(with_tables({"item": {"width": 12}, "hour": {"width": 2}}))

    widths = {
        name.split(".")[1]: array.shape[1]
        for name, array in line.night(0).arrays.items()
        if name.endswith(".weights") and name.startswith("table.")
    }
    line.hour(1, 2)
    outcome = publish(line.deployment, clock=HeldClock(at(1, 3)))

    assert widths == {"user": 8, "item": 12, "hour": 2, "region": 8, "category": 8, "topic": 8}
    assert outcome.promoted


@pytest.mark.long
def test_new_items_of_a_nightly_item_table_wait_for_their_rows_and_not_for_their_version(
    make_line: MakeLine,
) -> None:
    """Until the night they have the default row, and the gate takes that for what was declared."""
    line = make_line(with_tables({"item": {"changed_by": "nightly"}}))
    line.night(0)
    hourly = line.hour(1, 5)

    outcome = publish(line.deployment, clock=HeldClock(at(1, 6)))

    assert len(hourly.catalogue) > len(hourly.arrays["table.item.keys"]) - 1
    assert outcome.promoted


@pytest.mark.long
@pytest.mark.promise("T11")
def test_who_has_a_row_does_not_depend_on_how_often_runs_come(make_line: MakeLine) -> None:
    """With admission and eviction, hours that are learnt at once or one by one, each from the
    checkpoint of the one before.
    """
    rule = {"admit_after": 2, "evict_after_days": 1, "max_rows": 150}
    often, seldom = (make_line(with_tables({"item": rule, "user": rule})) for _ in range(2))
    for each in (often, seldom):
        each.night(0)
    for hour in (1, 2, 3, 4):
        often.hour(1, hour)
    one, other = often.hour(1, 5).arrays, seldom.hour(1, 5).arrays

    for table in ("item", "user"):
        known = [set(each[f"table.{table}.keys"].tolist()) - {0} for each in (one, other)]
        assert known[0] == known[1]
        assert 0 < len(known[0]) <= 150
    assert publish(often.deployment, clock=HeldClock(at(1, 6))).promoted  # rows are lacked by rule


def moved(rates: Rates, table: str, *, known: int) -> Doubles:
    """How far each row of a table goes at a first step over 64 clicks, where the ids of the first
    clicks had their rows before that.
    """
    learner, rows = Learner.untrained(spec_of(), seed=1), clicks(WHOLE)
    for part in (rows.take(np.arange(known)), rows):
        learner.begin()
        learner.grow(part, rates)
    before = learner.model.tables[table].weights.cpu().numpy().copy()
    list(learner.learn(rows, [np.arange(WHOLE)], rates, seed=1))
    after = learner.model.tables[table].weights.cpu().numpy()
    found: Doubles = np.abs(after - before).sum(axis=1).astype(np.float64)
    return found[1:]


def test_tables_and_new_rows_have_rates_of_their_own() -> None:
    """A row moves as far as its table says, and one whose id came with the very slice that is
    learnt as far as is said of new ones; other tables as ever.
    """
    said = {"item": {"row_learning_rate": 0.2, "new_row_learning_rate": 0.8}}
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    declared = config.fill_in(quickstart, {"training": {"hourly": {"tables": said}}})
    rates = hourly_rates(declared, WHOLE)
    plain = replace(rates, of_tables={})
    items = len(np.unique(clicks(8).item_keys))

    ratios = moved(rates, "item", known=8) / moved(plain, "item", known=8)
    users = moved(rates, "user", known=8) / moved(plain, "user", known=8)

    assert ratios[:items] == pytest.approx(np.full(items, 2.0), rel=1e-3)
    assert ratios[items:] == pytest.approx(np.full(len(ratios) - items, 8.0), rel=1e-3)
    assert users == pytest.approx(np.ones(WHOLE), rel=1e-6)


def test_rates_of_a_table_that_a_line_does_not_change_are_refused() -> None:
    """By key, with the tables that it changes: an hour changes no side table, and nobody a table
    that is not there.
    """
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    for line, table in (("hourly", "topic"), ("nightly", "none")):
        wrong = {"training": {line: {"tables": {table: {"row_learning_rate": 0.1}}}}}
        with pytest.raises(Misconfigured, match=rf"training\.{line}\.tables\.{table}.*changes"):
            config.fill_in(quickstart, wrong)

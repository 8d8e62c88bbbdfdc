"""Weeks of history: each day a night on the one before, from the first day that is asked for."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import Line, at
from trainer.backfill import backfill
from trainer.rebuild import rebuild
from twintide.checkpoints import load_checkpoint
from twintide.clock import HeldClock
from twintide.errors import Refused

CLOCK = HeldClock(at(3, 0, 5))


def day(number: int) -> date:
    return at(number).date()


@pytest.mark.long
@pytest.mark.promise("T4")
@pytest.mark.promise("T10")
def test_a_backfill_learns_its_days_and_none_before(line: Line, tmp_path: Path) -> None:
    """Days 1 and 2, each a nightly on the one before; of day 0 histories and catalogue know, and
    no row is learnt, then or by a later night. The lineage gives the first again, to the byte.
    """
    told: list[list[date]] = []
    outcomes = backfill(
        line.deployment,
        clock=CLOCK,
        first=day(1),
        on_days=told.append,
        on_day=lambda each: told.append([each]),
    )
    made = [each.checkpoint for each in outcomes if each.checkpoint]
    again = rebuild(line.deployment, made[0].name, into=tmp_path / "again")
    rows = dict.fromkeys(range(3), 0)
    for each in line.slices().values():
        rows[(each.footer.day - day(0)).days] += each.footer.rows

    assert told == [[day(1), day(2)], [day(1)], [day(2)]]
    assert [(each.day, each.rows, each.parent) for each in made] == [
        (day(1), rows[1], None),
        (day(2), rows[2], made[0].name),
    ]
    assert again == made[0]
    assert [str(each.left_out[0]).endswith("..2026-03-02T00:00:00Z") for each in made] == [True] * 2
    first_seen = load_checkpoint(line.deployment.checkpoints_dir, made[0].name).catalogue
    assert first_seen["first_seen_at"].to_pylist()[0] < at(1)
    assert np.isfinite(made[1].loss or np.nan)
    with pytest.raises(Refused, match="learnt already"):
        backfill(line.deployment, clock=CLOCK, first=day(1), last=day(2))


def test_a_backfill_in_the_wrong_order_is_refused(line: Line) -> None:
    """Before anything is read."""
    with pytest.raises(Refused, match="is after"):
        backfill(line.deployment, clock=CLOCK, first=day(2), last=day(2) - timedelta(days=1))

"""How many clicks a batch has: fewer where a day or an hour has few, so that there are steps."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.trainer.conftest import Line, MakeLine, at
from trainer.epoch import Rows
from trainer.learner import Learner
from trainer.nightly import nightly
from trainer.passes import rows_in_order
from trainer.rates import hourly_rates, nightly_rates
from twintide import config
from twintide.clock import HeldClock
from twintide.config import Deployment

QUICKSTART = config.load(Path(__file__).parents[2] / "configs" / "quickstart.yaml")


def declared(**says: int) -> Deployment:
    """The quickstart with these words for both lines."""
    return config.fill_in(QUICKSTART, {"training": {"hourly": says, "nightly": says}})


@pytest.mark.parametrize(
    ("clicks", "batch"),
    [
        (0, 64),
        (3_000, 64),
        (96_000, 64),
        (150_000, 100),
        (767_999, 511),
        (768_000, 512),
        (10**9, 512),
    ],
)
def test_a_night_has_steps_enough_however_few_its_clicks(clicks: int, batch: int) -> None:
    """Never batches below 64 clicks, which tell little apart, and none above the declared."""
    assert nightly_rates(QUICKSTART, clicks).batch_rows == batch


@pytest.mark.parametrize(
    ("clicks", "batch"), [(1_100, 64), (7_800, 130), (30_720, 512), (10**8, 512)]
)
def test_an_hour_has_steps_enough_however_few_its_clicks(clicks: int, batch: int) -> None:
    """As a night, by the clicks of its slice."""
    assert hourly_rates(QUICKSTART, clicks).batch_rows == batch


def test_what_is_declared_is_the_most_and_may_be_all() -> None:
    """A batch smaller than the smallest is as it is declared, and without `min_steps` any is."""
    assert nightly_rates(declared(batch_rows=20), 10).batch_rows == 20
    assert nightly_rates(declared(min_steps=0), 10).batch_rows == 512
    assert hourly_rates(declared(min_steps=10), 2_000).batch_rows == 200


def without_statistics(min_steps: int) -> dict[str, Any]:
    """Then no batch ends where an hour does."""
    items = [{"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}]
    said = {"batch_rows": 512, "min_steps": min_steps}
    return {"model": {"candidate": items}, "training": {"nightly": said, "hourly": said}}


def steps_of(line: Line) -> tuple[int, int]:
    """Of the first night, and of a pass in order over its first slices."""
    night, hour = list[int](), list[int]()
    nightly(line.deployment, clock=HeldClock(at(1, 0, 5)), on_step=lambda *_: night.append(1))
    slices = [each.read() for each in list(line.slices().values())[:10]]
    rows = Rows.of(pa.concat_tables(slices), line.deployment.model, name="slices")
    learner = Learner.untrained(line.deployment.model, seed=1)
    rows_in_order(line.deployment, learner, rows, on_step=lambda *_: hour.append(1))
    return len(night), len(hour)


def test_lines_take_so_many_steps(make_line: MakeLine) -> None:
    """A night of twelve hundred clicks that three batches would hold, and a slice of six hundred
    that two would.
    """
    assert steps_of(make_line(without_statistics(0))) == (3, 2)

    night, hour = steps_of(make_line(without_statistics(7)))

    assert night in (7, 8)
    assert hour in (7, 8)

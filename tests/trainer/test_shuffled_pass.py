"""An hourly pass that does not go in order: each click once, and again the same way."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.conftest import MakeLine
from trainer.rebuild import rebuild
from twintide.checkpoints import list_checkpoints

SHUFFLED: dict[str, Any] = {"training": {"hourly": {"order": "shuffled"}}}


@pytest.mark.long
def test_a_shuffled_pass_learns_each_click_once_and_is_made_again(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """The same clicks are counted as in order, other weights come of them, and a rebuild has every
    byte.
    """
    lines = {"ordered": make_line(), "shuffled": make_line(SHUFFLED)}
    found = {}
    for name, line in lines.items():
        line.night(0)
        found[name] = line.hour(1, 5).arrays

    counts = {name: arrays["estimator.clicks"].sum() for name, arrays in found.items()}
    assert counts["shuffled"] == counts["ordered"]
    one, other = (arrays["table.item.weights"] for arrays in found.values())
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
    own = lines["shuffled"].deployment
    made = list_checkpoints(own.checkpoints_dir)
    assert [rebuild(own, each.name, into=tmp_path / "again") for each in made] == made

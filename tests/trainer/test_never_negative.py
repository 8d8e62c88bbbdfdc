"""An item that was shown and not clicked is never a negative: there is no way to say it, and such
events move nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from twintide import config
from twintide.errors import Refused

SOURCES = [
    {"kind": "in_batch"},
    {"kind": "uniform", "count": 16},
    {"kind": "popularity", "count": 16},
    {"kind": "pool", "count": 16, "clicks": 500},
]


def learnt_from(folder: Path, events: pa.Table, said: dict[str, Any]) -> dict[str, bytes]:
    """Every array of a night and an hour."""
    deployment = deployment_in(folder, {"model": said})
    write_shards(deployment, events, partitions=2, complete_until=at(1, 3))
    line = Line(deployment)
    checkpoints = [line.night(0), line.hour(1, 2)]
    return {
        f"{each.manifest.name}/{name}": array.tobytes()
        for each in checkpoints
        for name, array in each.arrays.items()
    }


@pytest.mark.long
@pytest.mark.parametrize("said", [{}, {"negatives": SOURCES}], ids=["in-batch", "every source"])
def test_what_was_shown_and_not_clicked_moves_no_bit(tmp_path: Path, said: dict[str, Any]) -> None:
    """The same clicks among other items shown, and with none of them: the same checkpoints. The
    catalogue that negatives are drawn from holds what was clicked. (What is drawn follows from the
    offsets of clicks, which are others where the topic holds nothing else.)
    """
    deployment = deployment_in(tmp_path)
    events = small_stream(deployment, days=2).slice(0, 3000)
    clicked = events["clicked"].to_numpy(zero_copy_only=False)
    items = events["item_id"].to_numpy()
    others = np.where(clicked, items, np.roll(items, 7) + 1000)
    place = events.column_names.index("item_id")

    first = learnt_from(tmp_path / "shown", events, said)

    shown_others = events.set_column(place, events.schema.field(place), pa.array(others))
    assert learnt_from(tmp_path / "others", shown_others, said) == first
    if not said:
        none = events.filter(pa.array(clicked))
        assert learnt_from(tmp_path / "none", none, said) == first


@pytest.mark.parametrize("word", ["exposed", "not_clicked", "clicked: false"])
def test_asking_for_it_is_refused_with_the_reason(tmp_path: Path, word: str) -> None:
    """By key, and why it would be wrong."""
    for loss in ({"kind": "softmax"}, {"kind": "bce"}):
        with pytest.raises(Refused, match=r"model\.loss\..*shown and not clicked is never one"):
            config.fill_in(deployment_in(tmp_path), {"model": {"loss": loss | {"negatives": word}}})


@pytest.mark.parametrize("seen", [{"column": "clicked", "equals": False}, {"column": "shown"}])
def test_what_was_shown_is_no_positive_either(tmp_path: Path, seen: dict[str, Any]) -> None:
    """Of an objective or of all: its items would be negatives of other rows."""
    shown = {"events": {"columns": {"shown": "bool"}}}
    asked = {"model": {"objectives": {"click": {}, "seen": {"positive": seen}}}}
    with pytest.raises(Refused, match=r"objectives\.seen\.positive: .* is never learnt"):
        config.fill_in(deployment_in(tmp_path), shown | asked)
    with pytest.raises(Refused, match=r"events\.positive: .* is never learnt"):
        config.fill_in(deployment_in(tmp_path), {"events": shown["events"] | {"positive": seen}})

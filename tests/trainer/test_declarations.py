"""A declaration changes: what goes on, what is made anew, and that each hint leads somewhere."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from publisher.publish import publish
from streaming.offline import write_shards
from tests.trainer.conftest import Line, MakeLine, at, deployment_in, small_stream
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide.clock import HeldClock
from twintide.config import fill_in
from twintide.errors import Refused
from twintide.slices import chain_dirs, read_chain

NEW_COLUMN = {"events": {"columns": {"device": "string"}}}


def changed(line: Line, changes: dict[str, Any]) -> Line:
    """The same deployment, its YAML edited."""
    return Line(fill_in(line.deployment, changes))


def reading(line: Line, column: str) -> dict[str, Any]:
    """Changes that let a feature read one more column."""
    query = [each.model_dump(mode="json") for each in line.deployment.model.query]
    more = {"kind": "sparse", "name": column, "column": column, "table": column}
    return NEW_COLUMN | {"model": {"query": [*query, more]}}


@pytest.mark.long
def test_a_new_column_that_nothing_reads_changes_nothing(make_line: MakeLine) -> None:
    """Slices and checkpoints go on as they were, to the byte, and back again as well."""
    line, unchanged = make_line(), make_line()
    for each in (line, unchanged):
        each.night(0)
        each.hour(1, 2)
    wider = changed(line, NEW_COLUMN)

    found, expected = wider.hour(1, 4), unchanged.hour(1, 4)

    assert found.manifest.files == expected.manifest.files
    assert found.manifest.parent == "hourly-000002"
    assert "device" in found.manifest.events.columns
    assert len(chain_dirs(line.deployment.slices_dir)) == 1
    assert wider.night(1).manifest.parent == "nightly-000001"
    assert line.hour(2, 1).manifest.base == "nightly-000004"


def test_a_column_that_older_shards_lack_is_null_there(tmp_path: Path) -> None:
    """A feature reads it: days before it was declared and days after it are learnt alike."""
    old = deployment_in(tmp_path)
    events = small_stream(old, days=2)
    write_shards(old, events.slice(0, 2400), complete_until=at(1))
    new = changed(Line(old), reading(Line(old), "device")).deployment
    devices = pa.array([f"device {number % 3}" for number in range(2400)])
    later = events.slice(2400, 2400).append_column("device", devices)
    write_shards(new, later, complete_until=at(2))

    night = Line(new).night(1)

    assert (night.manifest.name, night.manifest.day) == ("nightly-000002", at(1).date())
    assert len(night.arrays["table.device.keys"]) == 1 + 3


def test_a_checkpoint_of_another_declaration_is_refused_and_the_hint_leads_on(line: Line) -> None:
    """The hint: a data_dir of its own, and the same shards. Everything is learnt there anew, and
    what was there stays as it was.
    """
    line.night(0)
    before = {each.path: each.path.read_bytes() for each in line.slices().values()}
    other = changed(line, reading(line, "device"))
    for learn in (hourly, nightly):
        with pytest.raises(Refused, match="was trained for another model") as refused:
            learn(other.deployment, clock=HeldClock(at(1, 2)))
        assert f"shards: {line.deployment.shards_dir}" in refused.value.hint
        assert "data_dir of its own" in refused.value.hint

    own = str(line.deployment.data_dir) + "-own"
    as_hinted = changed(other, {"data_dir": own})
    as_hinted.night(0)
    as_hinted.hour(1, 2)

    assert publish(as_hinted.deployment, clock=HeldClock(at(1, 2))).promoted
    assert {path: path.read_bytes() for path in before} == before
    line.hour(1, 2)


def test_slices_of_another_declaration_are_made_from_the_shards_in_a_place_of_their_own(
    line: Line,
) -> None:
    """Only checkpoints and versions need other folders: two declarations share slices/."""
    line.night(0)
    checkpoints = str(line.deployment.data_dir / "checkpoints-liked")
    liked = changed(
        line,
        {
            "events": {"positive": {"column": "liked", "equals": True}},
            "folders": {"checkpoints": checkpoints},
        },
    )
    with pytest.raises(Refused, match="was trained for other events"):
        changed(liked, {"folders": {"checkpoints": None}}).night(0)

    night = liked.night(0)

    assert night.manifest.rows < line.load("nightly-000001").manifest.rows / 2
    chains = [read_chain(root) for root in chain_dirs(line.deployment.slices_dir)]
    assert [len(chain) > 0 for chain in chains] == [True, True]
    assert line.hour(1, 2).manifest.parent == "nightly-000001"


def test_a_column_of_another_type_is_refused_with_shard_and_types(make_line: MakeLine) -> None:
    """Read or not: a shard's columns are what binds it."""
    line = make_line({"events": {"columns": {"event_id": "string"}}})
    with pytest.raises(Refused, match=r"shard .* holds column 'event_id' as int64") as refused:
        line.night(0)
    assert "declare it as it was" in refused.value.hint

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


def files_of(line: Line) -> list[Path]:
    """All that lies below its folder but for locks, which say nothing."""
    return sorted(
        path
        for path in line.deployment.data_dir.rglob("*")
        if path.suffix != ".lock" and path.name != ".lock"
    )


@pytest.mark.long
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


@pytest.mark.long
def test_a_new_feature_is_warm_started_and_its_slices_are_made_by_themselves(line: Line) -> None:
    """Both lines go on from what they had, each from its own checkpoint, and the manifest says what
    began anew; what the old declaration had made stays as it was.
    """
    line.night(0)
    before = {each.path: each.path.read_bytes() for each in line.slices().values()}
    other = changed(line, reading(line, "device"))

    hour, night = other.hour(1, 2), other.night(1)

    assert (hour.manifest.parent, night.manifest.parent) == ("nightly-000001", "nightly-000001")
    table, tower = "table device (new)", "what the query tower makes of device (new)"
    assert hour.manifest.anew == night.manifest.anew == (table, tower)
    assert other.hour(2, 1).manifest.anew == ()
    assert publish(other.deployment, clock=HeldClock(at(2, 1))).promoted
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.long
def test_towers_that_begin_anew_wait_for_a_night(line: Line) -> None:
    """An hour would leave them untaught, so it refuses before anything is written; with `learns:
    everything` it teaches them itself.
    """
    line.night(0)
    other = {"model": {"tower": {"kind": "dnn", "hidden": [24]}, "output_width": 12}}
    deeper = changed(line, other)
    there = files_of(line)
    with pytest.raises(Refused, match=r"query tower \(other layers\).* must begin anew") as refused:
        hourly(deeper.deployment, clock=HeldClock(at(1, 2)))

    assert "training.hourly.learns: everything" in refused.value.hint
    assert files_of(line) == there
    everything = {"training": {"hourly": {"learns": "everything"}}}
    assert changed(deeper, everything).hour(1, 2).manifest.anew[0] == "query tower (other layers)"
    night = deeper.night(1)
    assert night.manifest.parent == "nightly-000001"
    assert len(night.arrays["table.user.keys"]) > len(
        line.load("nightly-000001").arrays["table.user.keys"]
    )
    assert deeper.hour(2, 1).manifest.base == night.manifest.name


@pytest.mark.long
def test_other_clicks_are_learnt_on_the_same_weights(line: Line) -> None:
    """Slices of the new declaration lie beside the old ones; both ways lead on."""
    line.night(0)
    liked = changed(line, {"events": {"positive": {"column": "liked", "equals": True}}})

    night = liked.night(1)

    assert night.manifest.rows < line.load("nightly-000001").manifest.rows / 2
    assert (night.manifest.parent, night.manifest.anew) == ("nightly-000001", ())
    chains = [read_chain(root) for root in chain_dirs(line.deployment.slices_dir)]
    assert [len(chain) > 0 for chain in chains] == [True, True]
    assert line.hour(2, 2).manifest.parent == night.manifest.name


def test_another_topic_is_refused(line: Line) -> None:
    """Offsets of one topic mean nothing in another."""
    line.night(0)
    other = changed(line, {"kafka": {"topic": "views"}})
    there = files_of(line)
    for learn in (hourly, nightly):
        with pytest.raises(Refused, match="has learnt the topic 'clicks'"):
            learn(other.deployment, clock=HeldClock(at(1, 2)))
    assert files_of(line) == there


def test_a_column_of_another_type_is_refused_with_shard_and_types(make_line: MakeLine) -> None:
    """Read or not: a shard's columns are what binds it."""
    line = make_line({"events": {"columns": {"event_id": "string"}}})
    with pytest.raises(Refused, match=r"shard .* holds column 'event_id' as int64") as refused:
        line.night(0)
    assert "declare it as it was" in refused.value.hint

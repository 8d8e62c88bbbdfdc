"""Going back and leaving something out: it is not learnt again, by neither line, and all say so."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from publisher.publish import publish
from tests.trainer.conftest import Line, MakeLine, at
from trainer.rebuild import rebuild
from trainer.rewind import rewind
from twintide.checkpoints import Checkpoint
from twintide.clock import HeldClock
from twintide.errors import Refused
from twintide.keys import Keys
from twintide.leftout import Interval, LeftOut, Offsets, without
from twintide.slices import OFFSET, PARTITION, UNIT, USER_KEY
from twintide.versions import read_version_manifest

BAD_HOURS = Interval(since=at(1, 1), until=at(1, 3))


def clicks_learnt(line: Line, checkpoint: Checkpoint, left_out: tuple[LeftOut, ...] = ()) -> int:
    """Rows of the slices that it learnt, but for what is left out."""
    slices = line.slices()
    return sum(len(without(slices[name].read(), left_out)) for name in checkpoint.manifest.slices)


def users_of_bad_hours_alone(line: Line, learnt: Checkpoint) -> set[int]:
    """Who clicked in them, and at no other time up to what was learnt."""
    bad, others = set[int](), set[int]()
    for each in line.slices().values():
        rows = each.read()
        is_bad = BAD_HOURS.among(rows)
        bad |= set(rows[USER_KEY].to_numpy()[is_bad].tolist())
        if each.is_covered_by(learnt.manifest.position):
            others |= set(rows[USER_KEY].to_numpy()[~is_bad].tolist())
    return bad - others


def known_users(checkpoint: Checkpoint) -> Keys:
    return checkpoint.arrays["table.user.keys"].astype(np.uint64)


@pytest.mark.long
def test_bad_hours_are_left_out_by_both_lines_from_then_on(line: Line, tmp_path: Path) -> None:
    """The hours come again without them and so does the night; each says so, and is rebuilt so."""
    line.night(0)
    before = line.hour(1, 6)
    only_bad = users_of_bad_hours_alone(line, before)
    rewind(line.deployment, "nightly-000001", leave_out=[BAD_HOURS])

    hour = line.hour(1, 6)
    night = line.night(1)
    later = line.hour(2, 2)

    left = clicks_learnt(line, hour, (BAD_HOURS,))
    assert hour.manifest.rows == left < before.manifest.rows == clicks_learnt(line, before)
    assert only_bad <= set(known_users(before).tolist())
    assert not only_bad & set(known_users(hour).tolist())
    assert night.manifest.rows == clicks_learnt(line, night, (BAD_HOURS,))
    assert night.manifest.rows < clicks_learnt(line, night)
    made = (hour, night, later)
    assert [each.manifest.left_out for each in made] == [(BAD_HOURS,)] * len(made)
    rebuilt = rebuild(line.deployment, hour.manifest.name, into=tmp_path / "again")
    assert rebuilt == hour.manifest
    again = rebuild(line.deployment, "nightly-000003", into=tmp_path / "again")
    assert again.left_out == (BAD_HOURS,)


def test_offsets_are_left_out_to_the_message(line: Line) -> None:
    """Of that partition alone, the last one not included."""
    line.night(0)
    first = line.load("nightly-000001").manifest.position[0]
    rewind(
        line.deployment,
        "nightly-000001",
        leave_out=[Offsets(partition=0, first=first, next=first + 40)],
    )

    hour = line.hour(1, 6)

    gone = 0
    for name in hour.manifest.slices:
        rows = line.slices()[name].read()
        own = pc.equal(rows[PARTITION], 0)
        gone += pc.sum(pc.and_(own, pc.less(rows[OFFSET], first + 40))).as_py() or 0
    assert 0 < gone == clicks_learnt(line, hour) - hour.manifest.rows


@pytest.mark.long
def test_a_day_that_is_left_out_whole_is_a_night_without_clicks(line: Line) -> None:
    """The line goes on behind it."""
    line.night(0)
    rewind(line.deployment, "nightly-000001", leave_out=[Interval(since=at(1), until=at(2))])

    night = line.night(1)

    assert (night.manifest.rows, night.manifest.day) == (0, at(1).date())
    assert line.night(2).manifest.rows > 0


def test_clicks_that_came_late_are_of_the_minutes_that_they_came_in() -> None:
    """A checkpoint whose newest click happened before an interval may have learnt of it."""
    late = Interval(since=at(1, 1), until=at(1, 3))

    assert late.is_behind({0: 10}, as_of=at(1, 1))
    assert not late.is_behind({0: 10}, as_of=at(1, 1, 1))
    assert late.is_behind({}, as_of=None)


@pytest.mark.long
@pytest.mark.parametrize(
    "learnt",
    [
        Interval(since=at(0, 5), until=at(1, 3)),
        Offsets(partition=1, first=3, next=10_000),
    ],
    ids=str,
)
def test_what_is_learnt_already_cannot_be_left_out(line: Line, learnt: LeftOut) -> None:
    """Nothing is published; the way is to go back further."""
    line.night(0)
    with pytest.raises(Refused, match=r"nightly-000001 has learnt of .* already") as refused:
        rewind(line.deployment, "nightly-000001", leave_out=[learnt])
    assert "go back further" in refused.value.hint
    assert line.hour(1, 2).manifest.parent == "nightly-000001"


@pytest.mark.long
def test_the_gate_lets_an_operator_go_back_and_judges_by_nothing_that_is_left_out(
    make_line: MakeLine,
) -> None:
    """The version is older and has fewer clicks than the live one, which was meant."""
    line = make_line({"publishing": {"gate": {"min_events": 1}}})
    line.night(0)
    line.hour(1, 6)
    assert publish(line.deployment, clock=HeldClock(at(1, 6))).promoted
    newest = Interval(since=at(1, 1), until=at(1, 7))
    rewind(line.deployment, "nightly-000001", leave_out=[newest])
    line.hour(1, 6)

    found = publish(line.deployment, clock=HeldClock(at(1, 6)))

    assert found.promoted, found.why
    notes = read_version_manifest(line.deployment.versions_dir, found.version).gate.notes
    assert any("training was rewound to nightly-000001" in note for note in notes)
    assert any("recall was not judged: 0 clicks" in note for note in notes)


def test_an_interval_goes_by_when_a_click_was_stored(line: Line) -> None:
    """By the minute of its shard, so that a click which comes late is of the hour it came in."""
    line.night(0)
    rows = next(iter(line.slices().values())).read()
    first = rows[UNIT][0].as_py()
    minute = Interval(since=first, until=first + timedelta(minutes=20))

    assert minute.among(rows).tolist() == [unit == first for unit in rows[UNIT].to_pylist()]

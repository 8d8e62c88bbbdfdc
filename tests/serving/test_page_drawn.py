"""Where the drawings put things, and what the page says of hops: tables of values, no server."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.follower import Standing
from serving.page.drawing import (
    HOURLY_Y,
    NIGHTLY_Y,
    RECALL_BOTTOM,
    RECALL_TOP,
    SHOWN_CHECKPOINTS,
    lines,
    recall_chart,
    top_of_axis,
)
from serving.page.view import changes_of, gate_rows, hops, percent
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from twintide.checkpoints import CheckpointManifest
from twintide.overview.status import Hop, Status
from twintide.overview.versions import VersionRow
from twintide.versions import Change, GateReport

NOWHERE = Path("nowhere")


def checkpoint(name: str, parent: str | None = None) -> CheckpointManifest:
    deployment = made.deployment_at(NOWHERE)
    return made.plain_manifest(deployment, name, kind=name.partition("-")[0], parent=parent)


def version(number: int, state: str = "", **more: Any) -> VersionRow:
    gate = GateReport(passed=more.pop("passed", True))
    said = {"checkpoint": "hourly-000002", "recall": None, "gate": gate} | more
    return VersionRow(
        f"v{number:06d}", kind="hourly", items=1, newest_event_at=NOON, state=state, **said
    )


def test_lines_are_drawn_as_one_came_from_the_other() -> None:
    """Nightlies above, hours below; the hand-over and a parent that is not there are curves."""
    drawn = lines(
        [
            checkpoint("hourly-000002", "nightly-000001"),
            checkpoint("hourly-000003", "hourly-000002"),
            checkpoint("nightly-000004", "nightly-000001"),
            checkpoint("hourly-000005", "nightly-000004"),
        ],
        [version(1, "live"), version(2, checkpoint="hourly-000003")],
        frozenset({"v000001"}),
    )

    assert [each.y for each in drawn.knots] == [HOURLY_Y, HOURLY_Y, NIGHTLY_Y, HOURLY_Y]
    assert [each.number for each in drawn.knots] == ["2", "3", "4", "5"]
    assert [each.is_hand_over for each in drawn.edges] == [True, False, False, True]
    assert [(each.name, each.state) for each in drawn.labels] == [
        ("v1", "live"),
        ("v2", "never live"),
    ]
    assert all(each.x <= drawn.width for each in drawn.knots)


def test_of_many_checkpoints_the_newest_are_drawn() -> None:
    """And how many there are before them is said."""
    made_ = [checkpoint(f"hourly-{number:06d}") for number in range(1, SHOWN_CHECKPOINTS + 6)]

    drawn = lines(made_, [], frozenset())

    assert len(drawn.knots) == SHOWN_CHECKPOINTS
    assert drawn.earlier == 5
    assert drawn.knots[-1].name == made_[-1].name


def test_recall_is_drawn_between_nothing_and_the_top_of_the_axis() -> None:
    """A refused version is no part of the line; one without a figure is not drawn."""
    drawn = recall_chart(
        [
            version(1, recall=0.4),
            version(2),
            version(3, recall=0.0, passed=False),
            version(4, recall=0.2),
        ]
    )

    assert drawn is not None
    assert [each.y for each in drawn.points] == [
        RECALL_TOP,
        RECALL_BOTTOM,
        (RECALL_TOP + RECALL_BOTTOM) // 2,
    ]
    assert [each.passed for each in drawn.points] == [True, False, True]
    assert drawn.line == (
        f"M{drawn.points[0].x} {RECALL_TOP}L{drawn.points[2].x} {drawn.points[2].y}"
    )
    assert recall_chart([version(1)]) is None


@pytest.mark.parametrize(("highest", "top"), [(0, 0.05), (0.05, 0.05), (0.3, 0.4), (2, 1.0)])
def test_the_axis_ends_at_a_round_number(highest: float, top: float) -> None:
    """At the next one above, and never at 0."""
    assert top_of_axis(highest) == top


def test_each_hop_has_its_age_and_how_far_it_is_behind_the_one_before() -> None:
    """What is not known has a dash, and no delay."""
    at = {"shards": 3, "slices": 9, "checkpoint": 43, "live version": 103}
    seen = Status(
        NOWHERE,
        NOWHERE,
        NOON,
        "clicks",
        "not asked",
        freshness=[
            Hop(to, NOON - timedelta(minutes=minutes), minutes) for to, minutes in at.items()
        ],
    )

    found = hops(seen, Standing(retriever=None, problem="no version is loaded"))

    assert [(each.age, each.delay) for each in found] == [
        ("now", ""),
        ("3 min", "+3 min"),
        ("43 min", "+40 min"),
        ("103 min", "+60 min"),
        ("–", ""),
    ]
    assert [each.is_late for each in found] == [False] * 4 + [True]


def test_a_version_is_shown_what_ended_it() -> None:
    """From its promotion to the rollback from it, and nothing of the others."""
    story = [("promote", "v000001"), ("promote", "v000002"), ("hold", "v000002")]
    story += [("rollback", "v000001"), ("promote", "v000003")]
    history = [
        Change.model_validate({"generation": n, "at": NOON, "action": action, "current": current})
        for n, (action, current) in enumerate(story)
    ]

    assert [each.generation for each in changes_of("v000002", history)] == [1, 2, 3]


def test_whatever_a_gate_measures_has_a_row() -> None:
    """By its name; what it has not measured has none."""
    found = gate_rows({"k": 50, "recall": 0.25, "events": 1200, "live": None, "sound": True})

    assert found == [("recall@50", "0.250"), ("events", "1,200"), ("sound", "yes")]


@pytest.mark.parametrize(("value", "shown"), [(0, 0), (0.001, 1), (5, 50), (20, 100), (-1, 0)])
def test_a_bar_is_never_longer_than_its_rail(value: float, shown: int) -> None:
    """And what is more than nothing can be seen."""
    assert percent(value, 10) == shown

"""What went live on too few clicks is judged again when there are enough."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from publisher import registry
from publisher.gate.recall import lists
from publisher.publish import Published, publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.overview.known import Known
from twintide.overview.seen import LogEnds, gather
from twintide.overview.wrong import problems
from twintide.slices import ITEM_KEY
from twintide.versions import ServingState, read_state, read_version_manifest

GOOD: dict[str, Any] = {"noise": 0.0005}
BAD: dict[str, Any] = {"seed": 9}


class Line:
    """Checkpoints that have learnt all clicks there are, and clicks that come after each."""

    def __init__(self, folder: Path) -> None:
        self.deployment = made.deployment_at(folder)
        self.clock = made.held_clock()
        self._clicks = 0
        self._slices = 0
        self._checkpoints = 0

    def publish(self) -> Published:
        return publish(self.deployment, clock=self.clock)

    def train(self, **how: Any) -> None:
        self._checkpoints += 1
        made.add_checkpoint(self.deployment, self._checkpoints, position=self._clicks, **how)

    def click(self, count: int) -> None:
        """Users like what the first version shows them."""
        liked = load_version(self.deployment.versions_dir, "v000001")
        self._slices += 1
        clicks = made.clicks_liked_by(liked, self.deployment, count, seed=self._slices)
        made.add_slice(self.deployment, self._slices, clicks, first=self._clicks)
        self._clicks += count

    @property
    def state(self) -> ServingState:
        return read_state(self.deployment.versions_dir)


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """A version that was live before."""
    line = Line(tmp_path)
    line.train()
    line.publish()
    return line


def undecided(line: Line, how: dict[str, Any]) -> None:
    """The second version, live though no click speaks for it or against it."""
    line.train(**how)
    line.publish()
    report = read_version_manifest(line.deployment.versions_dir, "v000002").gate
    assert (line.state.current, report.decided) == ("v000002", False)


@pytest.mark.promise("P7")
def test_what_new_clicks_speak_against_is_gone_back_from(line: Line) -> None:
    """One step, on hold, and the history says why; the next version waits for an operator."""
    undecided(line, BAD)
    line.click(400)
    line.train(seed=9)

    published = line.publish()

    assert (line.state.current, line.state.previous) == ("v000001", "v000002")
    assert line.state.hold is not None
    assert "judged again on 400 clicks: recall@" in line.state.hold.reason
    assert not published.promoted
    line.publish()
    assert [each.action for each in line.state.history] == ["promote", "promote", "rollback"]


@pytest.mark.promise("P7")
def test_what_new_clicks_speak_for_stays_and_is_not_judged_a_third_time(line: Line) -> None:
    """The state says on how many clicks; where nothing else is new, nothing is built."""
    undecided(line, GOOD)
    line.click(150)
    line.publish()
    assert line.state.generation == 2  # too few still
    line.click(400)

    for _ in range(2):
        line.publish()

    looked = line.state.second_look
    assert looked is not None
    assert (looked.version, looked.passed) == ("v000002", True)
    assert looked.words == "judged again on 550 clicks: it passed"
    assert [each.action for each in line.state.history] == ["promote", "promote", "judge"]
    assert line.state.current == "v000002"


@pytest.mark.promise("P7")
def test_where_nothing_was_live_before_the_state_says_what_is_wrong(
    deployment: Deployment, clock: HeldClock
) -> None:
    """The first version stays, as there is nothing better, and `status` says what was found."""
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=clock)
    version = load_version(deployment.versions_dir, "v000001")
    clicks = made.clicks_liked_by(version, deployment, 1_000)
    place = clicks.column_names.index(ITEM_KEY)
    last = lists(version, clicks, k=300)[:, -1]  # what each user would be shown after all others
    made.add_slice(deployment, 1, clicks.set_column(place, ITEM_KEY, pa.array(last)), first=0)

    publish(deployment, clock=clock)

    state = read_state(deployment.versions_dir)
    assert state.current == "v000001"
    assert state.second_look is not None
    assert not state.second_look.passed
    seen = gather(deployment, Path("twintide.yaml"), clock=clock, ends=LogEnds(), known=Known())
    wrong = [each for each in problems(seen) if "judged again on" in each.what]
    assert [each.command for each in wrong] == ["twintide show v000001 -c twintide.yaml"]


def test_against_an_operators_word_nothing_is_judged_again(line: Line) -> None:
    """What was published without the gate stays, and what is live by a rollback."""
    line.train(**BAD)
    publish(line.deployment, clock=line.clock, judge=False)
    line.click(400)
    line.publish()
    assert line.state.current == "v000002"

    registry.rollback(line.deployment.versions_dir, reason="odd", clock=line.clock)
    line.publish()

    assert line.state.current == "v000001"
    assert [each.action for each in line.state.history] == ["promote", "promote", "rollback"]

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from tests.twintide.test_verified import without_a_free_descriptor
from twintide.arrays import fits
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused, Retryable
from twintide.files import exclusive_lock
from twintide.verified import Verified
from twintide.versions import (
    STATE,
    ServingState,
    judged_live,
    read_state,
    was_rolled_back_from,
)


def after(*steps: str) -> ServingState:
    """The state after such steps as `promote v1`, `rollback`, `rollback v1`, `hold`, `release`."""
    state = ServingState()
    for step in steps:
        verb, _, name = step.partition(" ")
        match verb:
            case "promote":
                state = registry.promoted(state, name, at=NOON)
            case "rollback":
                target = name or registry.rollback_target(state)
                state = registry.rolled_back(state, target, at=NOON, reason="bad")
            case "hold":
                state = registry.held(state, at=NOON, reason="quiet")
            case "release":
                state = registry.released(state, at=NOON)
            case "pin":
                state = registry.pinned(state, name, at=NOON, reason="a look")
            case "unpin":
                state = registry.unpinned(state, name, at=NOON)
    return state


def test_a_refresh_of_weights_that_are_not_live_is_refused() -> None:
    """A hold or other weights may come between building and promoting."""
    state = registry.promoted(ServingState(), "v000001", at=NOON)
    state = registry.refreshed(state, "v000002", of="v000001", at=NOON)
    state = registry.refreshed(state, "v000003", of="v000001", at=NOON)

    assert (state.current, judged_live(state)) == ("v000003", "v000001")
    assert [made.action for made in state.history] == ["promote", "refresh"]
    with pytest.raises(Refused, match="not live any more"):
        registry.refreshed(state, "v000004", of="v000003", at=NOON)
    with pytest.raises(Refused, match="on hold"):
        registry.refreshed(
            registry.held(state, at=NOON, reason="wait"), "v000004", of="v000001", at=NOON
        )
    assert registry.rollback_target(registry.promoted(state, "v000005", at=NOON)) == "v000001"
    back = registry.rolled_back(state, "v000001", at=NOON, reason="flooded")
    assert [was_rolled_back_from(back, f"v00000{n}") for n in (1, 3)] == [False, True]
    assert registry.way_back(registry.promoted(state, "v000005", at=NOON), "v000005") == "v000001"


@pytest.mark.parametrize(
    ("steps", "current", "previous", "is_held", "next_target"),
    [
        (["promote a"], "a", None, False, None),
        (["promote a", "promote b"], "b", "a", False, "a"),
        (["promote a", "promote b", "rollback"], "a", "b", True, None),
        (["promote a", "promote b", "promote c", "rollback"], "b", "c", True, "a"),
        (["promote a", "promote b", "promote c", "rollback", "rollback"], "a", "b", True, None),
        (["promote a", "promote b", "promote c", "rollback a"], "a", "c", True, None),
        (["promote a", "promote b", "rollback", "rollback b"], "b", "a", True, "a"),
        (["promote a", "promote b", "rollback", "release", "promote c"], "c", "a", False, "a"),
        (["promote a", "hold"], "a", None, True, None),
        (["promote a", "hold", "release", "promote b"], "b", "a", False, "a"),
        (["promote a", "promote b", "hold", "hold", "rollback"], "a", "b", True, None),
    ],
)
def test_each_step_leads_where_an_operator_expects(
    steps: list[str],
    current: str,
    previous: str | None,
    is_held: bool,  # noqa: FBT001  pytest gives it by name
    next_target: str | None,
) -> None:
    """Going back twice goes further back; what was rolled back from is not come back to."""
    state = after(*steps)

    assert state.current == current
    assert state.previous == previous
    assert (state.hold is not None) == is_held
    assert registry.rollback_target(state) == next_target
    assert state.generation == len(steps) == len(state.history)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    ("steps", "refused"),
    [
        ([], "rollback"),
        (["promote a"], "rollback"),
        (["promote a", "promote b", "rollback"], "rollback"),
        (["promote a", "promote b"], "rollback b"),
        (["promote a"], "promote a"),
        (["promote a", "hold"], "promote b"),
        (["promote a", "promote b", "rollback"], "promote c"),
        (["promote a"], "release"),
        ([], "release"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused_with_a_hint(steps: list[str], refused: str) -> None:
    """Nothing to go back to, promotion on hold, a release without a hold."""
    with pytest.raises(Refused) as error:
        after(*steps, refused)

    assert "twintide" in error.value.hint


@pytest.mark.parametrize(
    ("steps", "rolled_back_from"),
    [
        (["promote a", "promote b"], set()),
        (["promote a", "promote b", "rollback"], {"b"}),
        (["promote a", "promote b", "rollback", "release", "promote c"], {"b"}),
        (["promote a", "promote b", "rollback", "rollback b"], {"a"}),
        (["promote a", "promote b", "promote c", "rollback", "rollback"], {"b", "c"}),
    ],
)
def test_a_version_counts_as_rolled_back_until_it_is_live_again(
    steps: list[str], rolled_back_from: set[str]
) -> None:
    """So that the next publish does not bring it back by itself."""
    state = after(*steps)

    assert {name for name in "abc" if was_rolled_back_from(state, name)} == rolled_back_from


def test_the_state_file_remembers_a_bounded_number_of_changes() -> None:
    """The generation goes on counting."""
    state = after(*(["hold"] * (registry.KEPT_CHANGES + 5)))

    assert len(state.history) == registry.KEPT_CHANGES
    assert state.history[-1].generation == state.generation == registry.KEPT_CHANGES + 5


@pytest.mark.parametrize("others", [["pin v000001", "unpin v000001"], ["hold", "release"]])
def test_no_number_of_other_changes_makes_it_forget_what_was_live(others: list[str]) -> None:
    """A script that pins and unpins, for days, takes no rollback away; the newest change stays."""
    was_live = ["promote a", "promote b", "promote c", "rollback", "release", "promote d"]
    state = after(*was_live, *(others * registry.KEPT_CHANGES))

    assert registry.live_pile(state) == ["a", "b", "d"]
    assert {name for name in "abcd" if was_rolled_back_from(state, name)} == {"c"}
    assert len(state.history) == registry.KEPT_CHANGES
    assert state.history[-1].generation == state.generation


def test_of_promotions_alone_the_oldest_are_forgotten() -> None:
    """And a change of another kind is remembered until the next one."""
    many = [f"promote {number}" for number in range(registry.KEPT_CHANGES + 5)]

    state = after(*many, "hold", "release")

    assert len(state.history) == registry.KEPT_CHANGES
    assert registry.live_pile(state)[0] == "6"
    assert [made.action for made in state.history[-2:]] == ["promote", "release"]


@pytest.fixture
def three_versions(with_versions: Callable[[int], Deployment]) -> Path:
    return with_versions(3).versions_dir


def test_rollback_moves_the_pointer_and_holds(three_versions: Path, clock: HeldClock) -> None:
    """The state file names the version before, why, and since when."""
    registry.rollback(three_versions, reason="odd items", clock=clock)

    state = read_state(three_versions)
    assert (state.current, state.previous, state.generation) == ("v000002", "v000003", 4)
    assert state.hold is not None
    assert state.hold.reason == "rolled back from v000003: odd items"
    assert state.history[-1].action == "rollback"
    assert state.history[-1].reason == "odd items"


@pytest.mark.promise("P4")
@pytest.mark.parametrize("to", ["v000009", "../v000001", "nonsense", None])
def test_rollback_to_an_unknown_or_damaged_version_changes_nothing(
    three_versions: Path, clock: HeldClock, to: str | None
) -> None:
    """The pointer stays, there is no hold, and the hint says how to name another."""
    index = three_versions / "v000002" / "index.faiss"
    index.write_bytes(index.read_bytes()[:-1])
    before = (three_versions / STATE).read_bytes()

    with pytest.raises(Refused, match="cannot go back") as error:
        registry.rollback(three_versions, to=to, reason="test", clock=clock)

    assert "--to" in error.value.hint
    assert (three_versions / STATE).read_bytes() == before


def test_a_target_that_could_not_be_looked_at_is_not_called_a_bad_one(
    three_versions: Path,
) -> None:
    """Where the process has no descriptor left, trying again helps, and naming another does not."""
    with without_a_free_descriptor(), pytest.raises(Retryable):
        registry._check_target(three_versions, "v000002", Verified())


@pytest.mark.promise("P4")
def test_a_damaged_or_refused_version_is_not_promoted(
    three_versions: Path, deployment: Deployment, clock: HeldClock
) -> None:
    """Promoting checks every byte and the gate's word first."""
    index = three_versions / "v000001" / "index.faiss"
    index.write_bytes(index.read_bytes() + b"!")
    with pytest.raises(Corrupt):
        registry.promote(three_versions, "v000001", clock=clock)

    made.add_checkpoint(deployment, 4, items=made.item_range(1000, 20))
    refused = publish(deployment, clock=clock)
    with pytest.raises(Refused, match="the gate refused"):
        registry.promote(three_versions, refused.version, clock=clock)

    assert read_state(three_versions).current == "v000003"


def test_random_steps_never_go_back_to_what_was_rolled_back_from() -> None:
    """Over random histories: the target of a rollback is never the version that was just left."""
    rng = random.Random(1)
    for _ in range(200):
        state = ServingState()
        for number in range(20):
            verb = rng.choice(["promote", "promote", "rollback", "release"])
            try:
                if verb == "promote":
                    state = registry.promoted(state, f"v{number}", at=NOON)
                elif verb == "release":
                    state = registry.released(state, at=NOON)
                else:
                    target = registry.rollback_target(state)
                    left = state.current
                    state = registry.rolled_back(state, target, at=NOON, reason="")
                    assert registry.rollback_target(state) != left
            except Refused:
                continue


def test_no_file_is_hashed_while_others_wait_for_the_state(
    three_versions: Path, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a rollback nor a promotion: half a gigabyte takes a second, under the lock too."""
    was_free: list[bool] = []

    def noted(*content_and_entry: Any) -> bool:
        try:
            with exclusive_lock(three_versions / registry.LOCK, who="test"):
                was_free.append(True)
        except Retryable:
            was_free.append(False)
        return fits(*content_and_entry)

    monkeypatch.setattr("twintide.verified.fits", noted)

    registry.rollback(three_versions, reason="odd items", clock=clock)
    registry.release(three_versions, clock=clock)
    registry.promote(three_versions, "v000003", clock=clock)

    assert read_state(three_versions).current == "v000003"
    assert len(was_free) > 20
    assert all(was_free)

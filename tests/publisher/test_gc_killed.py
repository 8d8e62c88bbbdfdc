"""gc that dies at any step has taken nothing that is needed, and the next ends what it began."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from publisher.publish import publish
from publisher.reader import load_version
from tests.dying import Deaths, Runner
from tests.publisher import checkpoint_fixture as made
from tests.publisher.gc_runner import deployment_at
from twintide.checkpoints import checkpoint_names, open_checkpoint
from twintide.errors import Corrupt
from twintide.versions import read_state, version_names

RUNNER = Path(__file__).with_name("gc_runner.py")


class Case:
    """Four versions, of which one was gone back from, and what a gc without a kill leaves."""

    def __init__(self, folder: Path, collect: Runner) -> None:
        before = folder / "before"
        self._collecting = Deaths(before, collect)
        deployment = deployment_at(before)
        for sequence in range(1, 5):
            made.add_checkpoint(deployment, sequence, seed=sequence)
            publish(deployment, clock=made.held_clock())
        registry.rollback(deployment.versions_dir, reason="odd", clock=made.held_clock())
        self.steps = self._collecting.unkilled(folder / "unkilled")
        self.expected = standing(folder / "unkilled")

    def check(self, data_dir: Path, **death: Any) -> bool:
        """Kill a gc, see that all that has a name is whole, collect again. Whether it died."""
        died = self._collecting.dies(data_dir, **death)
        everything_is_whole(data_dir)

        for hidden in (data_dir / "checkpoints").glob(".*.tmp"):
            os.utime(hidden, (0, 0))  # young ones may be a run's at work, and stay for an hour
        self._collecting.ends(data_dir)
        assert standing(data_dir) == self.expected
        everything_is_whole(data_dir)
        shutil.rmtree(data_dir)
        return died


def everything_is_whole(data_dir: Path) -> None:
    """What is live and could be gone back to is there, and nothing that has a name is half."""
    deployment = deployment_at(data_dir)
    names = version_names(deployment.versions_dir)
    state = read_state(deployment.versions_dir)
    assert {state.current, state.previous, registry.rollback_target(state)} <= set(names)
    for name in names:
        load_version(deployment.versions_dir, name)
    for name in checkpoint_names(deployment.checkpoints_dir):
        open_checkpoint(deployment.checkpoints_dir, name)


def standing(data_dir: Path) -> list[str]:
    """Every path, hidden leftovers included."""
    return sorted(str(path.relative_to(data_dir)) for path in data_dir.rglob("*"))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    runner = Runner(RUNNER)
    yield Case(tmp_path_factory.mktemp("killed"), runner)
    runner.close()


@pytest.mark.long
@pytest.mark.promise("P8")
def test_a_gc_killed_at_any_step_takes_nothing_that_is_needed(case: Case, tmp_path: Path) -> None:
    """Around each folder that loses its name, at a sample of the files that go, and at any time:
    what has a name is whole, and the next gc leaves what one without a kill leaves.
    """
    hidden = [at for at, step in enumerate(case.steps, start=1) if step == "rename"]
    around = {at + offset for at in hidden for offset in (0, 1)}
    chosen = sorted(around | set(range(1, len(case.steps) + 1, 12)))
    assert len(hidden) > 1

    assert all(case.check(tmp_path / str(at), die_before=at) for at in chosen)
    rng = random.Random(1)
    for number in range(3):
        case.check(tmp_path / f"random {number}", die_after_seconds=rng.uniform(0.001, 0.05))


@pytest.mark.long
def test_the_kills_would_notice_a_folder_that_is_emptied_in_place(
    case: Case, tmp_path: Path
) -> None:
    """With the protocol broken on purpose, half a version is seen: so the tests here can fail."""
    with pytest.raises((Corrupt, AssertionError)):
        case.check(tmp_path / "broken", die_before=4, in_place=True)


@pytest.mark.faults
@pytest.mark.promise("P8")
@pytest.mark.timeout(1200)
def test_a_gc_killed_at_every_step_takes_nothing_that_is_needed(case: Case, tmp_path: Path) -> None:
    """The full sweep, and a hundred random moments."""
    rng = random.Random(2)
    for at in range(1, len(case.steps) + 1):
        assert case.check(tmp_path / f"step {at}", die_before=at)
    for number in range(100):
        case.check(tmp_path / f"random {number}", die_after_seconds=rng.uniform(0.001, 0.05))

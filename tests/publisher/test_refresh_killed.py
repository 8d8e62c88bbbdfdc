"""A refresh may die wherever it likes: what is live stays whole, and the next one ends as if none
had died.
"""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher.publish import publish
from publisher.reader import load_version
from streaming.offline import write_shards
from tests.dying import Deaths, Runner
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from trainer.counting import count
from twintide.clock import HeldClock
from twintide.counted import count_names, open_count, read_count
from twintide.errors import Corrupt
from twintide.versions import read_state, version_names

RUNNER = Path(__file__).with_name("refresh_runner.py")
NOW = at(1, 2, 40)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def refresh_in_child() -> Iterator[Runner]:
    """Count and refresh in a child process that may be told when to die."""
    runner = Runner(RUNNER)
    yield runner
    runner.close()


class Case:
    """A live version with one count beyond it, and what the next refresh makes of that unkilled."""

    def __init__(self, folder: Path, refresh: Runner) -> None:
        self._refreshing = Deaths(folder / "before", refresh, now=NOW.isoformat())
        deployment = deployment_in(folder / "before")
        write_shards(deployment, small_stream(deployment, days=2), complete_until=at(2, 1))
        line = Line(deployment)
        line.night(0)
        line.hour(1, 1)
        publish(deployment, clock=HeldClock(at(1, 1)), judge=False)
        count(deployment, clock=HeldClock(at(1, 2)))
        self.steps = self._refreshing.unkilled(folder / "unkilled")
        self.expected = everything(folder / "unkilled")

    def check(self, data_dir: Path, **death: Any) -> bool:
        """Kill a refresh, see that servers and counts are whole, refresh again, compare."""
        died = self._refreshing.dies(data_dir, **death)
        versions, checkpoints = data_dir / "versions", data_dir / "checkpoints"
        assert read_state(versions).current in {"v000001", "v000002"}
        for name in version_names(versions):
            load_version(versions, name)
        for name in count_names(checkpoints):
            opened = open_count(checkpoints, read_count(checkpoints, name))
            opened.state(opened.manifest.model)

        self._refreshing.ends(data_dir)
        assert everything(data_dir) == self.expected
        shutil.rmtree(data_dir)
        return died


def everything(data_dir: Path) -> dict[str, bytes]:
    """Path -> bytes of all but shards and locks, hidden leftovers included."""
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for folder in ("versions", "checkpoints", "slices")
        for path in sorted((data_dir / folder).rglob("*"))
        if path.is_file() and not path.name.endswith("lock")
    }


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, refresh_in_child: Runner) -> Case:
    return Case(tmp_path_factory.mktemp("killed"), refresh_in_child)


@pytest.mark.timeout(600)
@pytest.mark.promise("P1")
@pytest.mark.promise("T2")
@pytest.mark.promise("T8")
def test_a_refresh_killed_at_any_step_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """Before and after each rename of a count, a version and the pointer, and at a sample of the
    others: what is live is whole, and the same files, numbers and pointer come of the next.
    """
    others = {"fsync", "link"}
    names = [at for at, step in enumerate(case.steps, start=1) if step not in others]
    around = {at + offset for at in names for offset in (0, 1)}
    chosen = sorted(around | {1, len(case.steps) // 4, len(case.steps) // 2})
    chosen = [at for at in chosen if at <= len(case.steps)]

    killed = [case.check(tmp_path / str(at), die_before=at) for at in chosen]

    assert case.steps.count("rename") == 2
    assert case.steps.count("replace") == 1
    assert all(killed)
    assert len(killed) >= 7


@pytest.mark.promise("P1")
def test_a_refresh_killed_at_random_moments_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """The same at any time, in the middle of counting or building too."""
    rng = random.Random(1)

    for number in range(4):
        case.check(tmp_path / str(number), die_after_seconds=rng.uniform(0.01, 0.5))


def test_the_kills_would_notice_a_count_that_is_written_in_place(
    case: Case, tmp_path: Path
) -> None:
    """With the protocol broken on purpose half a count is seen: so the tests above can fail."""
    with pytest.raises((Corrupt, AssertionError)):
        case.check(tmp_path / "broken", die_before=20, in_place=True)


@pytest.mark.faults
@pytest.mark.promise("P1")
@pytest.mark.timeout(1800)
def test_a_refresh_killed_at_every_step_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """The full sweep."""
    for at_step in range(1, len(case.steps) + 1):
        assert case.check(tmp_path / f"step {at_step}", die_before=at_step)

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from publisher.reader import load_version
from tests.dying import Deaths, Runner
from tests.publisher import checkpoint_fixture as made
from tests.publisher.publish_runner import deployment_at
from twintide.errors import Corrupt
from twintide.versions import read_state, version_names

RUNNER = Path(__file__).with_name("publish_runner.py")
LOCKS = {registry.LOCK, registry.PUBLISHER_LOCK}


@pytest.fixture(scope="module")
def publish_in_child() -> Iterator[Runner]:
    """Publish in a child process that may be told when to die."""
    runner = Runner(RUNNER)
    yield runner
    runner.close()


class Case:
    """One live version, one newer checkpoint, and what a publish without a kill makes of them."""

    def __init__(self, folder: Path, publish: Runner) -> None:
        before = folder / "before"
        self._publishing = Deaths(before, publish)
        self.deployment = deployment_at(before)
        made.add_checkpoint(self.deployment, 1)
        self._publishing.ends(before)
        made.add_checkpoint(self.deployment, 2, items=made.item_range(1000, 302), noise=0.001)
        self.steps = self._publishing.unkilled(folder / "unkilled")
        self.expected = everything(folder / "unkilled")

    def check(self, data_dir: Path, **death: Any) -> bool:
        """Kill a publish, see that servers are safe, publish again, compare. Whether it died."""
        died = self._publishing.dies(data_dir, **death)
        versions = data_dir / "versions"
        live = read_state(versions).current
        assert live in {"v000001", "v000002"}
        for name in version_names(versions):
            load_version(versions, name)

        self._publishing.ends(data_dir)
        assert everything(data_dir) == self.expected
        shutil.rmtree(data_dir)
        return died


def everything(data_dir: Path) -> dict[str, bytes]:
    """Path -> bytes of all that lies below versions/, hidden leftovers included."""
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in sorted((data_dir / "versions").rglob("*"))
        if path.is_file() and path.name not in LOCKS
    }


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, publish_in_child: Runner) -> Case:
    return Case(tmp_path_factory.mktemp("killed"), publish_in_child)


@pytest.mark.long
def test_the_unkilled_publish_takes_the_steps_that_are_killed(case: Case) -> None:
    """A folder gets its name once, the pointer moves once, and all is fsynced before; the index
    goes on from the one before.
    """
    assert case.steps.count("rename") == 1
    assert case.steps.count("replace") == 1
    assert case.steps[-2:] == ["replace", "fsync"]
    assert "versions/v000002/manifest.json" in case.expected
    assert "versions/v000002/index.newer.faiss" in case.expected


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
@pytest.mark.long
def test_a_publish_killed_at_any_step_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """Before and after each rename of the folder and of the pointer, and at a sample of the
    others: what can be seen is always whole, and publishing again gives the same files, the same
    numbers and the same pointer, byte for byte.
    """
    names = [at for at, step in enumerate(case.steps, start=1) if step != "fsync"]
    around = {at + offset for at in names for offset in (0, 1)}
    chosen = sorted(around | set(range(1, len(case.steps) + 1, 9)))
    chosen = [at for at in chosen if at <= len(case.steps)]

    killed = [case.check(tmp_path / str(at), die_before=at) for at in chosen]

    assert all(killed)
    assert len(killed) >= 8


@pytest.mark.long
@pytest.mark.promise("P1")
def test_a_publish_killed_at_random_moments_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """The same at any time, in the middle of building or judging too."""
    rng = random.Random(1)

    for number in range(4):
        case.check(tmp_path / str(number), die_after_seconds=rng.uniform(0.005, 0.2))


@pytest.mark.long
def test_the_kills_would_notice_a_version_that_is_written_in_place(
    case: Case, tmp_path: Path
) -> None:
    """With the protocol broken on purpose, half a version is seen: so the tests above can fail."""
    with pytest.raises(Corrupt):
        case.check(tmp_path / "broken", die_before=10, in_place=True)


@pytest.mark.faults
@pytest.mark.promise("P1")
@pytest.mark.timeout(1200)
def test_a_publish_killed_at_every_step_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """The full sweep, and a hundred random moments."""
    rng = random.Random(2)
    for at in range(1, len(case.steps) + 1):
        assert case.check(tmp_path / f"step {at}", die_before=at)
    for number in range(100):
        case.check(tmp_path / f"random {number}", die_after_seconds=rng.uniform(0.001, 0.3))

"""kill -9 of training runs: after a restart everything is as if it had not been."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dying import Deaths, Runner
from tests.trainer.conftest import MakeLine, at

RUNNER = Path(__file__).with_name("training_runner.py")
NIGHT, HOUR = at(2, 0, 5), at(1, 3)


@pytest.fixture(scope="module")
def train() -> Iterator[Runner]:
    runner = Runner(RUNNER)
    yield runner
    runner.close()


class Case:
    """A run that is due in a folder, and what it makes of it when nobody kills it."""

    def __init__(
        self,
        train: Runner,
        before: Path,
        shards: Path,
        *,
        line: str,
        now: str,
        changes: dict[str, Any] | None = None,
    ) -> None:
        asked = {"line": line, "shards": str(shards), "now": now, "changes": changes or {}}
        self._training = Deaths(before, train, **asked)
        unkilled = before.with_name(f"{before.name}-{line}-unkilled")
        self.steps = self._training.unkilled(unkilled)
        self.expected = everything(unkilled)

    def killed(self, folder: Path, **death: float | None) -> bool:
        """Kill a run, run again without, compare all bytes. Whether it died."""
        died = self._training.dies(folder, **death)

        self._training.ends(folder)
        assert everything(folder) == self.expected
        shutil.rmtree(folder)
        return died


def everything(folder: Path) -> dict[str, bytes]:
    """Path -> bytes of every slice and checkpoint, hidden leftovers included."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


@pytest.fixture
def hourly_case(train: Runner, make_line: MakeLine, shards: Path) -> Case:
    line = make_line()
    line.night(0)
    return Case(train, line.deployment.data_dir, shards, line="hourly", now=HOUR.isoformat())


@pytest.fixture
def nightly_case(train: Runner, make_line: MakeLine, shards: Path) -> Case:
    """With users that nobody saw for a day forgotten on the way."""
    changes = {"model": {"state": {"forget_users_after_days": 1}}}
    line = make_line(changes)
    line.night(0)
    line.hour(1, 5)
    data_dir, now = line.deployment.data_dir, NIGHT.isoformat()
    return Case(train, data_dir, shards, line="nightly", now=now, changes=changes)


def sample(steps: list[str], every: int) -> list[int]:
    """Before and after each step that makes something visible, and some of the fsyncs between."""
    visible = [at for at, step in enumerate(steps, start=1) if step in {"link", "rename"}]
    around = {visible[0], visible[0] + 1, visible[-1], visible[-1] + 1}
    return sorted(at for at in around | set(range(1, len(steps) + 1, every)) if at <= len(steps))


@pytest.mark.promise("T1")
@pytest.mark.promise("T2")
@pytest.mark.promise("T8")
@pytest.mark.long
def test_an_hourly_run_killed_anywhere_ends_as_if_it_had_not_been(
    hourly_case: Case, tmp_path: Path
) -> None:
    """Slices, checkpoint and weights are the same to the byte: none skipped, none learnt twice."""
    chosen = sample(hourly_case.steps, every=40)
    killed = [hourly_case.killed(tmp_path / f"step-{at}", die_before=at) for at in chosen]
    rng = random.Random(3)
    for number in range(2):
        hourly_case.killed(tmp_path / f"moment-{number}", die_after_seconds=rng.uniform(0.01, 0.3))

    assert all(killed)
    assert len(killed) >= 5


@pytest.mark.promise("T2")
@pytest.mark.promise("T8")
@pytest.mark.long
def test_a_nightly_run_killed_anywhere_ends_as_if_it_had_not_been(
    nightly_case: Case, tmp_path: Path
) -> None:
    """The same for the nightly epoch, with an hourly line beside it."""
    chosen = sample(nightly_case.steps, every=90)
    killed = [nightly_case.killed(tmp_path / f"step-{at}", die_before=at) for at in chosen]
    rng = random.Random(4)
    for number in range(1):
        nightly_case.killed(tmp_path / f"moment-{number}", die_after_seconds=rng.uniform(0.05, 0.8))

    assert all(killed)
    assert len(killed) >= 5


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.promise("T2")
@pytest.mark.promise("T8")
def test_training_killed_at_every_step_ends_as_if_it_had_not_been(
    hourly_case: Case, nightly_case: Case, tmp_path: Path
) -> None:
    """The full sweep of both lines, and a hundred random moments."""
    rng = random.Random(5)
    for case in (hourly_case, nightly_case):
        for at_step in range(1, len(case.steps) + 1):
            assert case.killed(tmp_path / f"step-{at_step}", die_before=at_step)
        for number in range(50):
            case.killed(tmp_path / f"moment-{number}", die_after_seconds=rng.uniform(0.001, 0.8))

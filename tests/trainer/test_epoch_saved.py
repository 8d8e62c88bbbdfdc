"""An epoch that dies in its middle: the next run goes on from its newest save."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dying import Runner
from tests.trainer.conftest import Line, MakeLine, at
from tests.trainer.test_large_day import WITHOUT_STATISTICS
from tests.trainer.test_negatives import EVERY_SOURCE
from tests.trainer.test_training_killed import RUNNER, Case, everything, sample
from trainer.nightly import nightly
from twintide.clock import HeldClock

SAVED = {"training": {"nightly": {"save_every_rows": 150}}}
IN_FILES = {"training": {"nightly": {"save_every_rows": 150, "memory_rows": 300}}}
NIGHT = HeldClock(at(1, 0, 5))


class DiedError(Exception):
    """What stands for a kill between two batches."""


def dies_at(line: Line, clicks: int) -> list[int]:
    """A night that dies when it has learnt so many; how far it had come after each of its steps."""
    steps: list[int] = []

    def on_step(learnt: int, _to_learn: int, _loss: float) -> None:
        steps.append(learnt)
        if learnt >= clicks:
            raise DiedError

    try:
        nightly(line.deployment, clock=NIGHT, on_step=on_step)
    except DiedError:
        return steps
    return steps


DECLARED: dict[str, dict[str, Any]] = {
    "in memory": SAVED,
    "in files": IN_FILES | WITHOUT_STATISTICS,
    "in files, by refresh window": IN_FILES,
    "with sources": IN_FILES | EVERY_SOURCE,
    "in memory, with sources": SAVED | EVERY_SOURCE,
}


@pytest.mark.long
@pytest.mark.promise("T2")
@pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)
def test_a_night_goes_on_from_its_newest_save(
    make_line: MakeLine, declared: dict[str, Any]
) -> None:
    """It dies twice, learns only what is behind its save each time, and ends in the bytes of one
    that nobody disturbed; nothing of the saves is left.
    """
    undisturbed, line = make_line(declared), make_line(declared)
    expected = undisturbed.night(0).manifest
    first = dies_at(line, 400)
    second = dies_at(line, 900)
    last = dies_at(line, 10**9)

    assert first[-1] >= 400
    assert first[-1] - 220 < second[0] <= first[-1]
    assert second[-1] - 220 < last[0] <= second[-1]
    assert line.load(expected.name).manifest == expected
    assert everything(line.deployment.data_dir) == everything(undisturbed.deployment.data_dir)
    assert not (line.deployment.checkpoints_dir / ".epoch").exists()


@pytest.mark.long
@pytest.mark.promise("T2")
def test_a_save_that_is_damaged_is_not_used(make_line: MakeLine) -> None:
    """A flipped bit: the epoch is begun anew, and ends as ever."""
    expected = make_line(SAVED).night(0).manifest
    line = make_line(SAVED)
    dies_at(line, 700)
    (save,) = (line.deployment.checkpoints_dir / ".epoch" / "saves").iterdir()
    path = save / "table.item.weights.npy"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)
    assert dies_at(line, 10**9)[0] < 100
    assert line.load(expected.name).manifest == expected


@pytest.mark.long
@pytest.mark.promise("T2")
def test_a_save_of_another_epoch_is_not_used(make_line: MakeLine) -> None:
    """Another seed: the epoch is begun anew, and is what it is without any save."""
    other = make_line(SAVED)
    dies_at(other, 700)
    seeded = {"training": {"seed": 2, **SAVED["training"]}}
    changed = make_line(seeded | {"data_dir": str(other.deployment.data_dir)})
    assert dies_at(changed, 10**9)[0] < 100
    assert changed.load("nightly-000001").manifest == make_line(seeded).night(0).manifest


@pytest.fixture(scope="module")
def train() -> Iterator[Runner]:
    runner = Runner(RUNNER)
    yield runner
    runner.close()


@pytest.fixture
def case(train: Runner, make_line: MakeLine, shards: Path) -> Case:
    """A second night, in files, with a save every 150 clicks."""
    line = make_line(IN_FILES)
    line.night(0)
    now = at(2, 0, 5).isoformat()
    return Case(train, line.deployment.data_dir, shards, line="nightly", now=now, changes=IN_FILES)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.promise("T2")
@pytest.mark.promise("T8")
def test_a_night_killed_while_it_saves_or_learns_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """Kill -9 around steps on the disk of saves and checkpoint; all bytes are compared."""
    chosen = sample(case.steps, every=len(case.steps) // 4)
    killed = [case.killed(tmp_path / f"step-{at}", die_before=at) for at in chosen]

    assert all(killed)


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.promise("T2")
@pytest.mark.promise("T8")
def test_a_night_killed_at_fifty_points_ends_as_if_it_had_not_been(
    case: Case, tmp_path: Path
) -> None:
    """Twenty-five random steps on the disk and as many random moments."""
    rng = random.Random(6)
    for at_step in sorted(rng.sample(range(1, len(case.steps) + 1), 25)):
        assert case.killed(tmp_path / f"step-{at_step}", die_before=at_step)
    killed = [
        case.killed(tmp_path / f"moment-{number}", die_after_seconds=rng.uniform(0.02, 3.0))
        for number in range(25)
    ]
    assert any(killed)

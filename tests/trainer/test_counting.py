"""Statistics, histories and the catalogue move on while nothing is learnt."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from publisher.publish import publish
from tests.trainer.conftest import Line, MakeLine, at, deployment_in
from trainer.counting import count
from trainer.run import line_lock
from twintide.clock import HeldClock
from twintide.counted import (
    FOLDER,
    CountManifest,
    count_name,
    count_names,
    counts_dir,
    open_count,
)
from twintide.derived.state import DerivedState
from twintide.errors import Refused
from twintide.files import publish_folder_once

pytestmark = pytest.mark.long


def changes_of(shards: Path) -> dict[str, Any]:
    return {
        "folders": {"shards": str(shards)},
        "training": {"hourly": {"holdback_minutes": 0}},
    }


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, shards: Path) -> Path:
    """The folder of a line that is live; nobody writes to it."""
    line = Line(deployment_in(tmp_path_factory.mktemp("live") / "data", changes_of(shards)))
    live(line)
    return line.deployment.data_dir


@pytest.fixture
def line(once: Path, shards: Path, tmp_path: Path) -> Line:
    """One that has learnt a night and two hours, of which a version is live."""
    shutil.copytree(once, tmp_path / "data")
    return Line(deployment_in(tmp_path / "data", changes_of(shards)))


def live(line: Line) -> None:
    """A night, two hours, and a version of the last."""
    line.night(0)
    line.hour(1, 1)
    line.hour(1, 2)
    publish(line.deployment, clock=HeldClock(at(1, 2)), judge=False)


def counted(line: Line, now: datetime) -> CountManifest:
    found = count(line.deployment, clock=HeldClock(now)).count
    assert found is not None
    return found


def learnt_files(line: Line) -> dict[str, bytes]:
    """All that training has: slices, checkpoints."""
    folders = (line.deployment.checkpoints_dir, line.deployment.slices_dir)
    return {
        str(path.relative_to(line.deployment.data_dir)): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and FOLDER not in path.parts and not path.name.startswith(".")
    }


def told(state: DerivedState, as_of: datetime) -> dict[str, object]:
    """Everything that a state knows, as plain values."""
    arrays = {name: each.tolist() for name, each in state.arrays().items()}
    return arrays | {"catalogue": state.catalogue_table(as_of).to_pydict()}


@pytest.mark.promise("T1")
@pytest.mark.promise("T2")
@pytest.mark.promise("T11")
def test_counting_leaves_what_is_learnt_as_it_were_without(make_line: MakeLine) -> None:
    """With a count every twenty minutes two hours and a night come to the same slices and
    checkpoints, byte for byte.
    """
    plain, counting = make_line(), make_line()
    live(plain)
    live(counting)
    for hour in (3, 4):
        for minute in (0, 20, 40):
            count(counting.deployment, clock=HeldClock(at(1, hour - 1, minute + 19)))
        plain.hour(1, hour)
        counting.hour(1, hour)
    plain.night(1)
    counting.night(1)

    assert count_names(counting.deployment.checkpoints_dir)
    assert learnt_files(counting) == learnt_files(plain)


@pytest.mark.promise("T11")
def test_what_is_counted_is_what_learning_will_know(line: Line) -> None:
    """Counted in three goes to a position or learnt up to it by one pass: users, items, counts and
    attributes are the same.
    """
    for minute in (20, 40):
        counted(line, at(1, 2, minute))
    found = counted(line, at(1, 3))
    opened = open_count(line.deployment.checkpoints_dir, found)
    outcome = line.hour(1, 3)

    assert found.counted.position == outcome.manifest.position
    assert found.counted.newest_event_at == outcome.manifest.newest_event_at
    state = opened.state(opened.manifest.model)
    as_of = at(1, 3)
    learnt = DerivedState.from_arrays(outcome.manifest.model, outcome.arrays, outcome.catalogue)
    assert told(state, as_of) == told(learnt, as_of)


@pytest.mark.promise("T9")
def test_statistics_are_as_of_the_last_bucket_that_is_over(line: Line) -> None:
    """Histories are of now; statistics, in buckets of ten minutes, wait until one is over."""
    first, second = counted(line, at(1, 2, 21)), counted(line, at(1, 2, 47))

    assert first.counted.as_of == at(1, 2, 20)
    assert second.counted.as_of == at(1, 2, 40)
    assert second.counted.newest_event_at is not None
    assert first.counted.newest_event_at is not None
    assert at(1, 2, 20) < second.counted.newest_event_at < at(1, 2, 40)


def test_without_news_nothing_is_counted(line: Line) -> None:
    """The same moment twice makes one count; a checkpoint keeps the newest two."""
    assert count_names(line.deployment.checkpoints_dir) == []

    for minute in (20, 20, 40, 59):
        count(line.deployment, clock=HeldClock(at(1, 2, minute)))

    names = count_names(line.deployment.checkpoints_dir)
    assert [name.rpartition(".")[2] for name in names] == ["000002", "000003"]


def test_without_a_live_version_there_is_nothing_to_count_for(line: Line) -> None:
    """What to do is said."""
    shutil.rmtree(line.deployment.versions_dir)

    with pytest.raises(Refused, match="no version is live"):
        count(line.deployment, clock=HeldClock(at(1)))


def test_a_count_writes_what_it_touched(line: Line) -> None:
    """What learning knows is the checkpoint's own files; histories are deltas on them."""
    found = counted(line, at(1, 2, 20))
    checkpoints = line.deployment.checkpoints_dir
    folder = checkpoints / FOLDER / found.name

    own = {name for name in found.files if not _is_shared(folder / name)}

    assert all(name.startswith("state.") for name in own)
    written = sum(found.files[name].bytes for name in own)
    assert written < 0.3 * sum(each.bytes for each in found.files.values())


def _is_shared(path: Path) -> bool:
    return path.stat().st_nlink > 1


@pytest.mark.parametrize("kind", ["hourly", "nightly"])
def test_a_run_that_begins_leaves_a_count_at_work_alone(line: Line, kind: str) -> None:
    """A run sweeps what a run of its own line has left that was killed, and nothing of a count."""
    root = counts_dir(line.deployment.checkpoints_dir)
    with publish_folder_once(root / count_name(f"{kind}-000003", 1)) as folder:
        with line_lock(line.deployment, kind):
            pass

        assert folder.is_dir()


@pytest.mark.parametrize("file", ["manifest.json", "state.items.keys.pages"])
def test_a_damaged_count_is_counted_anew_from_its_checkpoint(line: Line, file: str) -> None:
    """Nothing is lost with it: the next one holds what it would have held."""
    before = counted(line, at(1, 2, 20))
    checkpoints = line.deployment.checkpoints_dir
    (name,) = count_names(checkpoints)
    path = checkpoints / FOLDER / name / file
    path.unlink()
    path.write_bytes(b"{}")

    found = counted(line, at(1, 2, 40))

    assert found.counted.number == 2
    assert found.counted.as_of == at(1, 2, 40)
    assert found.events > before.events

"""A look at everything costs no more the longer the stream has run, and nothing hides the rest."""

import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.console.conftest import HOURS, hour
from tests.trainer.conftest import deployment_in
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.overview.known import Known
from twintide.overview.remembered import Remembered
from twintide.overview.seen import LogEnds, gather
from twintide.overview.status import Partition, Status
from twintide.overview.wrong import problems

NOW = hour(HOURS)
looked_at: list[str] = []
opened: list[str] = []


def note_listings(event: str, arguments: tuple[object, ...]) -> None:
    if event in {"os.listdir", "os.scandir"}:
        looked_at.append(str(arguments[0]))
    if event == "open":
        opened.append(str(arguments[0]))


sys.addaudithook(note_listings)


def look(deployment: Deployment, known: Known | None = None) -> Status:
    return gather(
        deployment, Path("x.yaml"), clock=HeldClock(NOW), ends=LogEnds(), known=known or Known()
    )


@pytest.mark.long
def test_an_old_stream_costs_no_more_than_a_young_one(published: Path) -> None:
    """With a year of hours on the disk, as many folders are listed as with two days."""
    deployment = deployment_in(published.parent / "data")
    counted = []
    for days in (0, 365):
        for number in range(24 * days):
            at = hour(0) - timedelta(hours=number + 1)
            (deployment.shards_dir / f"date={at:%Y-%m-%d}" / f"hour={at:%H}").mkdir(parents=True)
        looked_at.clear()
        look(deployment)
        counted.append(sum("hour=" in path for path in looked_at))

    assert counted[0] == counted[1] > 0


def test_who_looks_again_reads_what_is_new(published: Path) -> None:
    """No manifest a second time; what is seen is the same."""
    deployment, known = deployment_in(published.parent / "data"), Known()
    first = look(deployment, known)
    assert any("manifest.json" in path for path in opened)
    opened.clear()

    assert look(deployment, known) == first
    assert not any("manifest.json" in path for path in opened)


@pytest.mark.parametrize(
    ("lags", "said"),
    [
        ([30.0], "nothing was heard of partition 0 for 30 min, and 5 messages wait"),
        ([30.0, 1.0], "nothing was heard of partition 0 for 30 min, and 5 messages wait"),
        (
            [90.0, 30.0, 40.0],
            "nothing was heard of 3 partitions (0, 1, 2) for 30 min or more, and 15 messages wait",
        ),
        (
            [30.0] * 20,
            (
                "nothing was heard of 20 partitions (0, 1, 2, 3, 4, 5, 6, 7, …) for 30 min or "
                "more, and 100 messages wait"
            ),
        ),
    ],
)
def test_partitions_of_which_nothing_was_heard_have_one_line(
    sharded: Path, lags: list[float], said: str
) -> None:
    """However many they are."""
    seen = look(deployment_in(sharded.parent / "data"))
    partitions = [Partition(n, 1, 5, NOW, NOW, lag) for n, lag in enumerate(lags)]

    found = [each.what for each in problems(replace(seen, partitions=partitions))]

    quiet = [each for each in found if "nothing was heard" in each]
    assert quiet == [f"{said}: is the ingest daemon running?"]


def test_a_folder_that_cannot_be_read_is_said_and_hides_nothing_else(sharded: Path) -> None:
    """A file in its place: one fault, and the partitions are there all the same."""
    deployment = deployment_in(sharded.parent / "data")
    deployment.versions_dir.write_text("no folder")

    seen = look(deployment)

    assert len(seen.partitions) == 2
    assert any(str(deployment.versions_dir) in each.what for each in problems(seen))


def test_a_file_is_read_once_and_again_where_another_lies_there(tmp_path: Path) -> None:
    """Known by what the file system says of it; an error is not remembered."""
    path, reads = tmp_path / "a", []

    def read(path: Path) -> str:
        reads.append(path)
        return path.read_text()

    known = Remembered(read)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            known.of(path)
    path.write_text("first")
    assert [known.of(path), known.of(path)] == ["first"] * 2
    (tmp_path / "b").write_text("second")
    os.renames(tmp_path / "b", path)
    assert known.of(path) == "second"
    assert len(reads) == 4

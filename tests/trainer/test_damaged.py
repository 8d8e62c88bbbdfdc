"""A damaged checkpoint stops the lines until an operator puts it aside, as the error says."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from publisher.drafting import made_since
from publisher.publish import publish
from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in, small_stream
from twintide.checkpoints import next_sequence
from twintide.clock import HeldClock
from twintide.errors import Corrupt
from twintide.versions import read_state, read_version_manifest

HEAD, BEFORE = "hourly-000003", "hourly-000002"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night and two hours, the last of them published."""
    deployment = deployment_in(tmp_path_factory.mktemp("learnt") / "data")
    write_shards(deployment, small_stream(deployment, days=2), complete_until=at(2, 1))
    line = Line(deployment)
    line.night(0)
    line.hour(1, 1)
    line.hour(1, 2)
    publish(deployment, clock=HeldClock(at(1, 2)), judge=False)
    return deployment.data_dir


def as_the_hint_says(error: Corrupt) -> None:
    command = error.hint.split("`")[1]
    subprocess.run(shlex.split(command), check=True)


@pytest.mark.long
@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    ("name", "file", "at_byte"),
    [
        (HEAD, "manifest.json", 50),
        (HEAD, "table.user-000003.delta", -1),
        (HEAD, "optimizer.adam.mean.bias.bias.npy", -1),
        (BEFORE, "manifest.json", 50),
    ],
)
def test_a_damaged_checkpoint_is_put_aside_and_learnt_again(
    learnt: Path, tmp_path: Path, name: str, file: str, at_byte: int
) -> None:
    """By what the error says; its number is not used again, as a version may be known by it: so
    what is learnt then is published.
    """
    shutil.copytree(learnt, tmp_path / "data")
    deployment = deployment_in(tmp_path / "data")
    damaged = deployment.checkpoints_dir / name / file
    content = bytearray(damaged.read_bytes())
    content[at_byte] ^= 1
    damaged.write_bytes(content)
    line = Line(deployment)

    with pytest.raises(Corrupt, match=name) as stopped:
        line.hour(1, 3)
    as_the_hint_says(stopped.value)

    made = line.hour(1, 3).manifest
    assert (made.name, made.parent) == ("hourly-000004", BEFORE if name == HEAD else HEAD)
    assert publish(deployment, clock=HeldClock(at(1, 3)), judge=False).promoted
    live = read_state(deployment.versions_dir).current or ""
    assert read_version_manifest(deployment.versions_dir, live).checkpoint == made.name


@pytest.mark.long
@pytest.mark.promise("P2")
def test_another_checkpoint_of_the_same_number_is_published(learnt: Path, tmp_path: Path) -> None:
    """As where somebody deleted the newest one: the version of that is not taken for its own, and
    its index does not go on from that one's as if it knew what has moved since.
    """
    shutil.copytree(learnt, tmp_path / "data")
    deployment = deployment_in(tmp_path / "data")
    shutil.rmtree(deployment.checkpoints_dir / HEAD)

    assert Line(deployment).hour(1, 3).manifest.name == HEAD
    assert made_since(deployment, "v000001") is None
    assert publish(deployment, clock=HeldClock(at(1, 3)), judge=False).version == "v000002"
    assert made_since(deployment, "v000002") is not None


def test_a_number_is_not_used_again(tmp_path: Path) -> None:
    """Also not that of a checkpoint that was put aside, sound or not; other names have none."""
    assert next_sequence(tmp_path / "nothing") == 1
    for name in ("nightly-000001", "hourly-000002", "hourly-000007.damaged", "hourly-000099x"):
        (tmp_path / name).mkdir()
    assert next_sequence(tmp_path) == 8

"""What was trained can be trained again from what its manifest names."""

from pathlib import Path

import pytest

from publisher.build import draft_of, publish_version
from publisher.publish import publish
from publisher.reader import load_version
from tests.trainer.conftest import Line, MakeLine, at
from trainer.rebuild import rebuild
from trainer.rewind import rewind
from twintide.checkpoints import list_checkpoints
from twintide.clock import HeldClock
from twintide.errors import Refused
from twintide.files import remove_folder


@pytest.mark.promise("T10")
@pytest.mark.long
def test_every_checkpoint_and_its_version_are_made_again_from_their_lineage(
    line: Line, tmp_path: Path
) -> None:
    """A first nightly, hourly passes, a hand-over, and what rewind made: manifest, every array,
    catalogue and the version of it, to the byte.
    """
    line.night(0)
    line.hour(1, 2)
    line.hour(1, 5, 7)
    line.night(1)
    line.hour(2, 1)
    rewind(line.deployment, "hourly-000003")
    made = list_checkpoints(line.deployment.checkpoints_dir)
    live = publish(line.deployment, clock=HeldClock(at(2, 2)))
    version = load_version(line.deployment.versions_dir, live.version).manifest

    again = [rebuild(line.deployment, each.name, into=tmp_path / "again") for each in made]

    assert len(made) == 7
    assert again == made
    draft = draft_of(
        tmp_path / "again" / version.checkpoint,
        line.deployment.publishing,
        vectors_dir=line.deployment.vectors_dir,
    )
    rebuilt = publish_version(tmp_path / "versions", version.name, draft, gate=version.gate)
    assert rebuilt == version


def test_what_cannot_be_made_again_is_refused_with_the_reason(
    make_line: MakeLine, tmp_path: Path
) -> None:
    """Another configuration, a parent or slices that are gone."""
    line = make_line()
    line.night(0)
    line.hour(1, 2)
    other = Line(
        line.deployment.model_copy(
            update={"training": make_line({"training": {"seed": 2}}).deployment.training}
        )
    )
    with pytest.raises(Refused, match="trained with another configuration"):
        rebuild(other.deployment, "hourly-000002", into=tmp_path / "a")
    for each in list(line.slices().values())[-3:]:
        each.path.unlink()
    with pytest.raises(Refused, match="learnt slices that are not below"):
        rebuild(line.deployment, "hourly-000002", into=tmp_path / "b")
    remove_folder(line.deployment.checkpoints_dir / "nightly-000001")
    with pytest.raises(Refused, match="no checkpoint 'nightly-000001'"):
        rebuild(line.deployment, "hourly-000002", into=tmp_path / "c")

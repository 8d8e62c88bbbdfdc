"""Checkpoints on the disk: listed while others remove them, and refused where they are damaged."""

import contextlib
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.publisher import checkpoint_fixture as made
from twintide.arrays import MANIFEST
from twintide.checkpoints import (
    CheckpointManifest,
    list_checkpoints,
    load_checkpoint,
    read_manifest,
)
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.files import remove_folder


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return made.deployment_at(tmp_path / "data")


def test_a_checkpoint_that_is_removed_while_they_are_listed_is_not_among_them(
    deployment: Deployment,
) -> None:
    """While gc takes them away one by one, whoever lists sees what is left."""
    first = made.add_checkpoint(deployment, 1)
    root = deployment.checkpoints_dir
    content = (root / first.name / MANIFEST).read_bytes()
    for number in range(2, 60):
        name = f"hourly-{number:06d}"
        (root / name).mkdir()
        own = CheckpointManifest.from_json(content, name="one").model_copy(update={"name": name})
        (root / name / MANIFEST).write_bytes(own.to_json())

    def remove_all_but_one() -> None:
        for number in range(2, 60):
            remove_folder(root / f"hourly-{number:06d}")

    gc = threading.Thread(target=remove_all_but_one)
    gc.start()
    seen = []
    while gc.is_alive():
        seen.append(list_checkpoints(root))
    gc.join()

    assert [each.name for each in list_checkpoints(root)] == [first.name]
    assert all(found[0].name == first.name for found in seen)


def test_a_damaged_checkpoint_is_named_and_not_passed_over(deployment: Deployment) -> None:
    """What is there and cannot be read is no checkpoint that gc took away."""
    made.add_checkpoint(deployment, 1)
    path = deployment.checkpoints_dir / "hourly-000001" / MANIFEST
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Corrupt, match="hourly-000001"):
        list_checkpoints(deployment.checkpoints_dir)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_manifest_of_any_bytes_is_read_or_corrupt(
    deployment: Deployment, data: st.DataObject
) -> None:
    """Cut, changed, or another thing altogether: never a traceback."""
    root = deployment.checkpoints_dir
    path = root / "hourly-000001" / MANIFEST
    if not path.exists():
        made.add_checkpoint(deployment, 1)
        path.with_suffix(".good").write_bytes(path.read_bytes())
    good = path.with_suffix(".good").read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    length = data.draw(st.integers(0, 12))
    path.write_bytes(good[:at] + data.draw(st.binary(max_size=12)) + good[at + length :])
    with contextlib.suppress(Corrupt):
        read_manifest(root, "hourly-000001")
        load_checkpoint(root, "hourly-000001")

"""Checkpoints on the disk: listed while others remove them, and refused where they are damaged."""

import contextlib
import json
import random
import threading
from pathlib import Path

import pytest

from publisher.build import draft_of
from tests.mutations import changed, damaged
from tests.publisher import checkpoint_fixture as made
from twintide.arrays import MANIFEST
from twintide.checkpoints import (
    CheckpointManifest,
    list_checkpoints,
    load_checkpoint,
    read_manifest,
)
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
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


@pytest.mark.parametrize(
    "count", [150, pytest.param(10_000, marks=[pytest.mark.faults, pytest.mark.timeout(3600)])]
)
def test_a_manifest_of_any_content_is_read_or_corrupt(deployment: Deployment, count: int) -> None:
    """Cut, changed, or with values that do not fit: never a traceback, nor where a version is made
    of it.
    """
    root = deployment.checkpoints_dir
    made.add_checkpoint(deployment, 1)
    path = root / "hourly-000001" / MANIFEST
    good, rng = path.read_bytes(), random.Random(count)
    sound = json.loads(good)
    for number in range(count):
        odd = changed(sound, rng, keys=list(sound))
        path.write_bytes(json.dumps(odd).encode() if number % 3 else damaged(good, rng))
        with contextlib.suppress(Corrupt, Refused):
            read_manifest(root, "hourly-000001")
            loaded = load_checkpoint(root, "hourly-000001")
            draft_of(loaded, deployment.publishing, vectors_dir=deployment.vectors_dir)


@pytest.mark.parametrize("said", [{"parent": "yesterday"}, {"base": "../nightly-000001"}])
def test_a_lineage_names_checkpoints(deployment: Deployment, said: dict[str, str]) -> None:
    """Publishing and `rewind` count by these names."""
    made.add_checkpoint(deployment, 1)
    path = deployment.checkpoints_dir / "hourly-000001" / MANIFEST
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | said).encode())
    with pytest.raises(Corrupt, match=f"at {next(iter(said))}"):
        list_checkpoints(deployment.checkpoints_dir)

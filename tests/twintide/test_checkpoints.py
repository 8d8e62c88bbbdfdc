"""Checkpoints on the disk: listed while others remove them, and refused where they are damaged."""

import contextlib
import json
import random
import threading
from pathlib import Path

import numpy as np
import pytest

from publisher.build import draft_of
from tests.mutations import changed, damaged
from tests.publisher import checkpoint_fixture as made
from twintide.arrays import MANIFEST, verify
from twintide.checkpoints import (
    CATALOGUE,
    CheckpointManifest,
    OpenCheckpoint,
    list_checkpoints,
    load_checkpoint,
    open_checkpoint,
    publish_again,
    publish_checkpoint,
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
            load_checkpoint(root, "hourly-000001")
            draft_of(
                root / "hourly-000001", deployment.publishing, vectors_dir=deployment.vectors_dir
            )


@pytest.mark.parametrize("said", [{"parent": "yesterday"}, {"base": "../nightly-000001"}])
def test_a_lineage_names_checkpoints(deployment: Deployment, said: dict[str, str]) -> None:
    """Publishing and `rewind` count by these names."""
    made.add_checkpoint(deployment, 1)
    path = deployment.checkpoints_dir / "hourly-000001" / MANIFEST
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | said).encode())
    with pytest.raises(Corrupt, match=f"at {next(iter(said))}"):
        list_checkpoints(deployment.checkpoints_dir)


@pytest.fixture
def nightly(deployment: Deployment) -> OpenCheckpoint:
    """A nightly checkpoint, opened to go on from, with a few rows touched since."""
    name = made.add_checkpoint(deployment, 1, kind="nightly").name
    opened = open_checkpoint(deployment.checkpoints_dir, name)
    rows = np.array([1, 5])
    opened.parts.stores["table.item"].touch(rows)["weights"][rows] = 7
    return opened


def next_hour(root: Path, before: OpenCheckpoint) -> CheckpointManifest:
    parent = before.manifest
    lineage = {"name": "hourly-000002", "kind": "hourly", "parent": parent.name}
    manifest = parent.model_copy(update=lineage | {"base": parent.name})
    return publish_checkpoint(
        root, manifest, before.parts, catalogue=before.catalogue, parents=root
    )


@pytest.mark.promise("T8")
@pytest.mark.promise("P8")
def test_an_hourly_checkpoint_is_what_changed_and_outlives_its_parent(
    deployment: Deployment, nightly: OpenCheckpoint
) -> None:
    """All that it shares with its parent is the same file under a second name, so that whoever
    removes a checkpoint removes nothing that another one is made of.
    """
    root = deployment.checkpoints_dir
    expected = {name: array.copy() for name, array in nightly.parts.whole().items()}

    hourly = next_hour(root, nightly)

    written = set(hourly.files) - set(nightly.manifest.files)
    assert written == {"table.item-000002.delta"}
    assert all(
        (root / "nightly-000001" / name).samefile(root / hourly.name / name)
        for name in nightly.manifest.files
        if name != CATALOGUE
    )
    assert not len(nightly.parts.stores["table.item"].touched())
    remove_folder(root / "nightly-000001")
    verify(root / hourly.name, hourly.files)
    found = load_checkpoint(root, hourly.name).arrays
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_an_hourly_checkpoint_whose_parent_is_gone_is_whole(
    deployment: Deployment, nightly: OpenCheckpoint
) -> None:
    """What it began with is still in memory: gc costs bytes, and no run."""
    root = deployment.checkpoints_dir
    remove_folder(root / "nightly-000001")

    hourly = next_hour(root, nightly)

    assert not any(entry.deltas for entry in hourly.stores.values())
    assert load_checkpoint(root, hourly.name).arrays["table.item.weights"][5, 0] == 7


@pytest.mark.promise("T8")
def test_a_checkpoint_is_made_again_of_the_same_files_unless_one_is_damaged(
    deployment: Deployment, nightly: OpenCheckpoint
) -> None:
    """As `rewind` does: nothing is copied, and no damage is handed on."""
    root = deployment.checkpoints_dir
    old, manifest = root / "nightly-000001", nightly.manifest

    again = publish_again(old, root, manifest.model_copy(update={"name": "nightly-000002"}))

    assert again.files == manifest.files
    assert (root / again.name / CATALOGUE).samefile(old / CATALOGUE)
    path = old / "table.user.weights.npy"
    path.write_bytes(path.read_bytes()[:5000] + b"\1" + path.read_bytes()[5001:])
    with pytest.raises(Corrupt, match=r"table\.user\.weights"):
        publish_again(old, root, manifest.model_copy(update={"name": "nightly-000003"}))

"""What an hour encodes follows what it touched, and gives what encoding all of it gives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.build import Draft, draft_of
from publisher.encoding import Since, encoded_anew, moved_since
from publisher.index.backends import backend_called
from publisher.publish import publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from twintide.checkpoints import CheckpointManifest, open_checkpoint, read_manifest
from twintide.config import Deployment, fill_in
from twintide.verified import Verified

ITEMS = made.item_range(1000, 400)


def line_at(folder: Path, *, with_statistics: bool = False) -> Deployment:
    """A night of 400 items, and its version."""
    deployment = made.deployment_at(folder, publishing={"index": "ivf", "nprobe": 8})
    if not with_statistics:
        candidate = made.configuration(Path())["model"]["candidate"][:2]
        deployment = fill_in(deployment, {"model": {"candidate": candidate}})
    hours.night(deployment, ITEMS)
    publish(deployment, clock=made.held_clock(), judge=False)
    return deployment


def since_of(deployment: Deployment, name: str = "nightly-000001") -> Since:
    root = deployment.checkpoints_dir
    return Since(root / name, read_manifest(root, name), None)


def moved(deployment: Deployment, now: CheckpointManifest, since: Since) -> Any:
    """Ids of the items that are encoded anew; None where all are."""
    draft = drafted(deployment, now, None)
    folder = deployment.checkpoints_dir / now.name
    checkpoint = open_checkpoint(folder.parent, folder.name)
    found = moved_since(since, folder, checkpoint, draft.items, None)
    return None if found is None else draft.items.ids.filter(pa.array(found)).to_pylist()


def drafted(deployment: Deployment, now: CheckpointManifest, since: Since | None) -> Draft:
    root = deployment.versions_dir
    base = backend_called("faiss").base_of(root, now, deployment.publishing, verified=Verified())
    return draft_of(
        deployment.checkpoints_dir / now.name,
        deployment.publishing,
        vectors_dir=deployment.vectors_dir,
        base=base,
        since=since,
    )


def written(draft: Draft, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    draft.indexed.write(folder)
    return made.file_bytes(folder)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return line_at(tmp_path_factory.mktemp("line") / "data")


@pytest.fixture(scope="module")
def third(line: Deployment) -> CheckpointManifest:
    """The third hour after the night; in each five items were clicked, one of them new."""
    for number in range(3):
        clicked = np.append(ITEMS[10 * number : 10 * number + 4], 5000 + number)
        found = hours.hour(line, np.arange(5), clicked, moved_by=2.0)
    return found


def test_an_hour_writes_the_index_that_encoding_every_item_gives(
    line: Deployment, third: CheckpointManifest, tmp_path: Path
) -> None:
    """Byte for byte, and vectors that differ by no more than half precision does."""
    few, every = (drafted(line, third, since) for since in (since_of(line), None))

    assert few.indexed.index_of == every.indexed.index_of == "v000001"
    assert written(few, tmp_path / "few") == written(every, tmp_path / "every")
    assert np.abs(few.vectors - every.vectors).max() < 1e-3


def test_what_an_hour_encodes_is_what_was_touched_since_the_night(
    line: Deployment, third: CheckpointManifest
) -> None:
    """In three hours fifteen items were, whichever checkpoint holds what; three of them are new."""
    clicked = [*range(1000, 1004), *range(1010, 1014), *range(1020, 1024)]
    assert moved(line, third, since_of(line)) == [*clicked, 5000, 5001, 5002]
    draft = drafted(line, third, None)
    root, none = line.versions_dir, np.zeros(len(draft.item_keys), np.bool_)
    base = backend_called("faiss").base_of(root, third, line.publishing, verified=Verified())

    assert base is not None
    anew = encoded_anew(draft.model, draft.items, base, none)

    assert anew.positions.tolist() == [400, 401, 402]


def test_what_an_hour_did_not_touch_is_told_from_the_hour_before_too(
    line: Deployment, third: CheckpointManifest
) -> None:
    """Where an hour's index was built whole, the next ones go on from that."""
    assert moved(line, third, since_of(line, "hourly-000003")) == [*range(1020, 1024), 5002]
    assert moved(line, third, since_of(line, third.name)) == []


def test_what_an_older_hour_is_told_otherwise_is_told_from_a_newer_one_too(
    line: Deployment, third: CheckpointManifest
) -> None:
    """Its checkpoint is published again, and its tables have fewer rows than those of the base."""
    older = read_manifest(line.checkpoints_dir, "hourly-000002")

    assert moved(line, older, since_of(line, third.name)) == [
        *range(1010, 1014),
        *range(1020, 1024),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"stores": {}},
        {"vectors": {"item": {"name": "x" * 16, "sha256": "0" * 64}}},
    ],
)
def test_where_nothing_says_what_changed_every_item_is_encoded(
    line: Deployment, third: CheckpointManifest, change: Any
) -> None:
    """Other towers, other fixed vectors, or rows of an older program."""
    since = since_of(line)
    other = replace(since, checkpoint=since.checkpoint.model_copy(update=change))

    assert moved(line, third, other) is None


def test_what_grows_old_is_encoded_each_hour(tmp_path: Path) -> None:
    """Statistics of an item, its age among them, change though nobody clicks it."""
    line = line_at(tmp_path / "data", with_statistics=True)
    hour = hours.hour(line, np.arange(2), ITEMS[:2])

    assert moved(line, hour, since_of(line)) is None


def test_an_item_moves_with_any_row_that_it_is_told_of(tmp_path: Path) -> None:
    """A category is a row of many items; an item without a row is told of that of nobody."""
    line = line_at(tmp_path / "data")

    hour = hours.hour(line, np.arange(2), ITEMS[:2], categories=np.array([3]))
    told = {*ITEMS[:2].tolist(), *(ITEMS[ITEMS % made.CATEGORIES == 3]).tolist()}
    assert set(moved(line, hour, since_of(line))) == told

    hour = hours.hour(line, np.arange(2), ITEMS[:2], leaving=np.array([1200, 1201]))
    assert set(moved(line, hour, since_of(line))) == told | {1200, 1201}


@pytest.mark.long
def test_vectors_that_once_were_near_enough_are_encoded_where_less_is_allowed_now(
    tmp_path: Path,
) -> None:
    """Items that moved a little stayed as they were by night; an hour that touches none of them has
    them all as they are, once `moved_beyond` is 0.
    """
    line = line_at(tmp_path / "data")
    hours.hour(line, np.arange(100), ITEMS[:100])
    publish(line, clock=made.held_clock(), judge=False)
    exact = fill_in(line, {"publishing": {"moved_beyond": 0}})
    hours.hour(line, np.arange(2), ITEMS[-2:], moved_by=2.0)

    publish(exact, clock=made.held_clock(), judge=False)

    before, now = (load_version(line.versions_dir, f"v00000{n}") for n in (2, 3))
    assert (before.manifest.index_of, now.manifest.index_of) == ("v000001", "v000001")
    own = read_manifest(line.checkpoints_dir, now.manifest.checkpoint)
    whole = drafted(exact, own, None)
    encoded = whole.model.candidate_vectors(whole.items.encoded)
    places = np.arange(len(encoded))
    assert np.abs(before.index.vectors(places) - encoded)[:100].max() > 5e-3
    assert np.abs(now.index.vectors(places) - encoded).max() < 2e-3

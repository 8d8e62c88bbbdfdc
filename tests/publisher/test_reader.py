import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from publisher import reader
from publisher.publish import publish
from publisher.reader import load_version
from publisher.registry import check_files
from tests.publisher import checkpoint_fixture as made
from twintide.arrays import MANIFEST, FileEntry, checksums_of
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.keys import keys_of
from twintide.ragged import Ids
from twintide.versions import read_version_manifest


@pytest.fixture
def version(with_versions: Callable[[int], Deployment]) -> Path:
    return with_versions(1).versions_dir / "v000001"


def reseal(folder: Path) -> None:
    """Write a manifest whose hashes are right again, as somebody who mixes versions would."""
    manifest = read_version_manifest(folder.parent, folder.name)
    files = {name: entry_of(folder / name, entry) for name, entry in manifest.files.items()}
    (folder / MANIFEST).write_bytes(manifest.model_copy(update={"files": files}).to_json())


def entry_of(path: Path, before: FileEntry) -> FileEntry:
    data = path.read_bytes()
    if before.room is None:
        return FileEntry.of(data)
    checksums = FileEntry.of(checksums_of(data))
    return checksums.model_copy(update={"bytes": len(data), "room": before.room})


def with_pages(folder: Path, name: str) -> list[str]:
    """A file of rows goes with the checksums of its pages."""
    pages = name.replace(".npy", ".pages")
    return [name, pages] if (folder / pages).exists() else [name]


def damages(data: bytes, *, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for at in {0, len(data) // 2, len(data) - 1, *(rng.randrange(len(data)) for _ in range(3))}:
        yield data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    yield b""
    yield data[: len(data) // 2]
    yield data[:-1]
    yield data + b"\0"


@pytest.mark.long
@pytest.mark.promise("P1")
def test_any_changed_byte_of_any_file_is_refused_before_anything_is_parsed(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flip, cut, append or remove, in every file of a version, the manifest included."""

    def parsed(*_: object) -> None:
        raise AssertionError("a damaged version was parsed")

    monkeypatch.setattr(reader, "_parsed", parsed)
    cases = 0
    for number, path in enumerate(sorted(version.iterdir())):
        sound = path.read_bytes()
        for damaged in damages(sound, seed=number):
            path.write_bytes(damaged)
            with pytest.raises(Corrupt):
                load_version(version.parent, version.name)
            with pytest.raises(Corrupt):
                check_files(version.parent, version.name)
            cases += 1
        path.unlink()
        with pytest.raises(Corrupt):
            load_version(version.parent, version.name)
        path.write_bytes(sound)
    assert cases > 200


@pytest.mark.promise("P2")
def test_files_of_two_versions_never_load_together(
    deployment: Deployment, version: Path, clock: HeldClock
) -> None:
    """Every file that differs between two versions, taken from the other one with its hash set
    right in the manifest, is refused by the sample queries.
    """
    items = made.item_range(1000, 300)[::-1].copy()
    made.add_checkpoint(deployment, 2, items=items, seed=2)
    publish(deployment, clock=clock, judge=False)
    other = version.parent / "v000002"
    mixed = 0
    for name in sorted(made.file_bytes(version)):
        names = with_pages(version, name)
        theirs, ours = made.file_bytes(other, names), made.file_bytes(version, names)
        # Keys and offsets of the two are alike, or fit the other's weights only together with them.
        if name == MANIFEST or theirs == ours or name.startswith("sample."):
            continue
        for each, data in theirs.items():
            (version / each).write_bytes(data)
        reseal(version)
        with pytest.raises(Corrupt):
            load_version(version.parent, version.name)
        for each, data in ours.items():
            (version / each).write_bytes(data)
        mixed += 1
    reseal(version)
    load_version(version.parent, version.name)
    assert mixed >= 10


@pytest.mark.promise("P2")
@pytest.mark.parametrize(
    "name", ["index.faiss", "table.user.weights.npy", "table.item.weights.npy"]
)
def test_the_next_hours_table_or_index_does_not_load_with_this_hours(
    deployment: Deployment, version: Path, clock: HeldClock, name: str
) -> None:
    """Rows that moved by a hundredth of their size are enough to be noticed."""
    made.add_checkpoint(deployment, 2, noise=0.001)
    publish(deployment, clock=clock, judge=False)
    for each in with_pages(version, name):
        shutil.copy(version.parent / "v000002" / each, version / each)
    reseal(version)

    with pytest.raises(Corrupt, match="sample queries"):
        load_version(version.parent, version.name)


@pytest.mark.promise("X6")
@pytest.mark.parametrize(
    "name", ["../v000001", "/etc", "v000001/../v000001", "v1", "", ".", "v000001\n", "v000009"]
)
def test_a_name_that_is_no_version_is_refused(version: Path, name: str) -> None:
    """Nothing outside the folder of versions is looked at."""
    with pytest.raises(Refused):
        load_version(version.parent, name)


@pytest.mark.promise("X6")
def test_symbolic_links_are_no_versions_and_no_files(version: Path, tmp_path: Path) -> None:
    """Neither a version nor a file of one may be a link, wherever it points."""
    elsewhere = shutil.copytree(version, tmp_path / "elsewhere" / version.name)
    shutil.rmtree(version)
    version.symlink_to(elsewhere)
    with pytest.raises(Corrupt, match="symbolic link"):
        load_version(version.parent, version.name)

    version.unlink()
    shutil.copytree(elsewhere, version)
    (version / "index.faiss").unlink()
    (version / "index.faiss").symlink_to(elsewhere / "index.faiss")
    with pytest.raises(Corrupt, match="symbolic link"):
        load_version(version.parent, version.name)


@pytest.mark.promise("X6")
def test_a_manifest_that_names_a_file_outside_is_corrupt(version: Path, tmp_path: Path) -> None:
    """Even with the right hash of that file."""
    (tmp_path / "secret.npy").write_bytes(b"secret")
    outside = os.path.relpath(tmp_path / "secret.npy", version)
    for name in (outside, str(tmp_path / "secret.npy")):
        manifest = read_version_manifest(version.parent, version.name)
        entry = FileEntry.of((tmp_path / "secret.npy").read_bytes())
        changed = manifest.model_copy(update={"files": manifest.files | {name: entry}})
        (version / MANIFEST).write_bytes(changed.to_json())
        with pytest.raises(Corrupt, match="no plain file name"):
            load_version(version.parent, version.name)


def test_a_version_without_one_of_its_tables_is_corrupt(version: Path) -> None:
    """A tower whose table is missing would answer with untrained rows."""
    manifest = read_version_manifest(version.parent, version.name)
    for gone in ("table.user.index.pairs.npy", "table.user.weights.npy", "dense.query.0.bias.npy"):
        files = {name: entry for name, entry in manifest.files.items() if name != gone}
        changed = manifest.model_copy(update={"files": files})
        (version / MANIFEST).write_bytes(changed.to_json())
        with pytest.raises(Corrupt):
            load_version(version.parent, version.name)


@pytest.mark.parametrize("change", [{"items": 299}, {"dimension": 18}])
def test_counts_that_disagree_are_corrupt(version: Path, change: dict[str, int]) -> None:
    """Manifest, index and item ids must speak of the same items and the same width."""
    manifest = read_version_manifest(version.parent, version.name)
    (version / MANIFEST).write_bytes(manifest.model_copy(update=change).to_json())

    with pytest.raises(Corrupt, match=r"disagree|wide"):
        load_version(version.parent, version.name)


def test_a_loaded_version_scores_as_the_checkpoints_towers_do(
    deployment: Deployment, version: Path
) -> None:
    """The best items and scores are those of a dot product over the whole catalogue."""
    loaded = load_version(version.parent, version.name)
    items = made.item_range(1000, 300)
    model = made.model_of(deployment, items)
    encoded = made.queries_of(deployment, 20)

    scores, positions = loaded.search(encoded, 5)

    candidates = model.candidate_vectors(made.candidates_of(deployment, items))
    products = model.query_vectors(encoded) @ candidates.T
    best = np.argsort(-products, axis=1)[:, :5]
    assert np.allclose(scores, np.take_along_axis(products, best, axis=1), atol=1e-5)
    assert loaded.item_ids.take(pa.array(positions[0])).to_pylist() == items[best[0]].tolist()
    assert np.array_equal(loaded.item_keys, keys_of(loaded.item_ids))


def test_histories_come_from_the_checkpoint(version: Path) -> None:
    """A known user's newest items, at most as many as the model's history takes; else none."""
    loaded = load_version(version.parent, version.name)
    histories = made.histories_of(made.item_range(1000, 300))
    user, unknown = keys_of(pa.array([4])), keys_of(pa.array([123456]))

    expected = histories.of(user, length=5).keys.tolist()

    def found(users: npt.NDArray[np.uint64]) -> list[int]:
        history = loaded.remembered(users, np.zeros(1, np.int64))["history"]
        assert isinstance(history, Ids)
        return list(history.keys)

    assert found(user) == expected
    assert 1 <= len(expected) <= 5
    assert found(unknown) == []

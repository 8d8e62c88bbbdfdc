import hashlib
import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from tests.publisher.test_hostile_versions import sealed
from twintide.arrays import MANIFEST, PAGE, FileEntry, checksums_of, fits
from twintide.checkpoints import load_checkpoint
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.files import share_file
from twintide.keys import keys_of
from twintide.ragged import Ids
from twintide.storefile import MOST_DELTAS
from twintide.verified import Verified
from twintide.versions import read_version_manifest

ITEMS = made.item_range(1000, 300)


@pytest.fixture(scope="module")
def line_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night and three hours, a version of each."""
    folder = tmp_path_factory.mktemp("line") / "data"
    deployment = made.deployment_at(folder)
    hours.night(deployment, ITEMS)
    publish(deployment, clock=made.held_clock(), judge=False)
    for number in range(3):
        users = np.arange(number, 40, 7)
        users = np.append(users, 500 + number)
        hours.hour(deployment, users, made.item_range(1290, len(users)))
        publish(deployment, clock=made.held_clock(), judge=False)
    return folder


@pytest.fixture
def line(line_once: Path, tmp_path: Path) -> Deployment:
    shutil.copytree(line_once, tmp_path / "data", copy_function=_linked)
    return made.deployment_at(tmp_path / "data")


def _linked(old: str, new: str) -> None:
    share_file(Path(old), Path(new))


def new_bytes(folder: Path, others: list[Path]) -> int:
    """Of the files of a version that no other folder has."""
    known = {path.stat().st_ino for other in others for path in other.iterdir()}
    found = [path.stat() for path in folder.iterdir()]
    return sum(each.st_size for each in found if each.st_ino not in known)


def of_users(version: LoadedVersion) -> Any:
    """Each user's history and row, of all that there may be."""
    users = keys_of(pa.array(np.arange(600)))
    histories = version.remembered(users, np.zeros(600, np.int64))["history"]
    table = version.model.looked_up("user")
    assert isinstance(histories, Ids)
    return histories.keys.tolist(), histories.offsets.tolist(), table.take(table.rows_of(users))


def test_an_hours_version_has_the_rows_of_its_checkpoint(line: Deployment) -> None:
    """Every history and every row, of users who came and went: those of the whole checkpoint."""
    for number, name in enumerate(["nightly-000001", *(f"hourly-00000{n}" for n in (2, 3, 4))], 1):
        version = load_version(line.versions_dir, f"v00000{number}")
        arrays = load_checkpoint(line.checkpoints_dir, name).arrays
        keys, offsets, rows = of_users(version)

        users = keys_of(pa.array(np.arange(600)))
        place = {key: at for at, key in enumerate(arrays["state.history.users"].tolist())}
        begins = arrays["state.history.offsets"]
        expected = [
            arrays["state.history.items"][begins[place[user]] : begins[place[user] + 1]][
                -5:
            ].tolist()
            if user in place
            else []
            for user in users.tolist()
        ]
        assert [keys[a:b] for a, b in pairwise(offsets)] == expected
        of_key = dict(
            zip(arrays["table.user.keys"].tolist(), arrays["table.user.weights"], strict=True)
        )
        default = arrays["table.user.weights"][0]
        assert np.array_equal(rows, [of_key.get(user, default) for user in users.tolist()])


def test_what_an_hour_publishes_follows_what_it_touched(line: Deployment) -> None:
    """Neither tables nor histories are written again, and no sums of gradients travel."""
    root, checkpoints = line.versions_dir, list(line.checkpoints_dir.iterdir())
    manifest = read_version_manifest(root, "v000004")
    rows = {name for name in manifest.files if name.startswith(("table.", "state."))}

    assert rows
    assert not any(part in name for part in (".sums.", ".keys.", ".waiting.") for name in rows)
    assert all((root / "v000004" / name).stat().st_nlink > 1 for name in rows)
    whole = sum(entry.bytes for entry in manifest.files.values())
    others = [path for path in checkpoints if path.is_dir()] + [root / "v000003"]
    assert new_bytes(root / "v000004", others) < whole / 2


def test_a_server_hashes_of_an_hour_the_new_files(
    line: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the version before shares with it was verified when that came."""
    verified, hashed = Verified(), list[int]()
    load_version(line.versions_dir, "v000003", verified=verified)

    def noted(data: memoryview, entry: FileEntry) -> bool:
        hashed.append(len(data))
        return fits(data, entry)

    monkeypatch.setattr("twintide.verified.fits", noted)

    load_version(line.versions_dir, "v000004", verified=verified)

    files = read_version_manifest(line.versions_dir, "v000004").files
    assert 0 < len(hashed) < len(files)
    assert sum(hashed) < sum(entry.bytes for entry in files.values()) / 2


def put(version: Path, name: str, change: Any) -> None:
    """Change what rows lie in, with checksums, hashes and a seal that fit."""
    data = bytearray((version / f"{name}.npy").read_bytes())
    change(np.frombuffer(data, np.int64, offset=PAGE))
    checksums = checksums_of(bytes(data))
    for path, content in ((f"{name}.npy", bytes(data)), (f"{name}.pages", checksums)):
        (version / path).unlink()  # others have a name for it
        (version / path).write_bytes(content)
    manifest = json.loads((version / MANIFEST).read_bytes())
    sha256 = hashlib.sha256(checksums).hexdigest()
    manifest["files"][f"{name}.npy"]["sha256"] = sha256
    manifest["files"][f"{name}.pages"]["sha256"] = sha256
    (version / MANIFEST).unlink()
    (version / MANIFEST).write_bytes(sealed(manifest | {"seal": ""}))


def far(numbers: Any) -> None:
    """A slot that leads to a row that there is not."""
    numbers[1::2] += 1 << 40


def full(numbers: Any) -> None:
    """No slot is free."""
    numbers[1::2] = 1


def before(numbers: Any) -> None:
    """Lists that begin before all others."""
    numbers[::3] -= 1 << 40


def long(numbers: Any) -> None:
    """Lists that end behind all others."""
    numbers[1::3] += 1 << 40


@pytest.mark.promise("P1")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("table.user.index.pairs", far),
        ("table.user.index.pairs", full),
        ("state.history._clicked.index.pairs", far),
        ("state.history._clicked.clicks.block", before),
        ("state.history._clicked.clicks.block", long),
    ],
)
def test_rows_that_lead_elsewhere_are_corrupt(line: Deployment, name: str, change: Any) -> None:
    """Before a request follows them, however well they are sealed."""
    version = line.versions_dir / "v000001"
    put(version, name, lambda _: None)
    load_version(line.versions_dir, "v000001")

    put(version, name, change)

    with pytest.raises(Corrupt):
        load_version(line.versions_dir, "v000001")


@pytest.mark.long
def test_a_line_of_more_hours_than_deltas_is_published(tmp_path: Path) -> None:
    """Where deltas become one, and where the base is written anew."""
    deployment = made.deployment_at(tmp_path / "data", publishing={"keep_versions": 2})
    hours.night(deployment, ITEMS)
    for number in range(MOST_DELTAS + 3):
        hours.hour(deployment, np.arange(number, number + 3), made.item_range(1000, 3))
        if number > MOST_DELTAS - 3:
            assert publish(deployment, clock=made.held_clock(), judge=False).promoted
    version = load_version(deployment.versions_dir, "v000004")
    arrays = load_checkpoint(deployment.checkpoints_dir, version.manifest.checkpoint).arrays

    users = arrays["table.user.keys"][1:].astype(np.uint64)
    table = version.model.looked_up("user")
    assert np.array_equal(table.take(table.rows_of(users)), arrays["table.user.weights"][1:])

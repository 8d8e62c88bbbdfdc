import os
from pathlib import Path

import pytest

from twintide.arrays import Files, write_file
from twintide.errors import Corrupt
from twintide.files import share_file
from twintide.verified import Verified

SOUND, DAMAGED = b"sound bytes", b"other bytes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    return tmp_path / "one"


@pytest.fixture
def files(folder: Path) -> Files:
    return {"a.npy": write_file(folder, "a.npy", SOUND)}


def damage(path: Path) -> None:
    """As a disk would: neither the size nor the time of the last change says so."""
    found = path.stat()
    path.write_bytes(DAMAGED)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_file_is_hashed_once_by_whatever_name_it_comes(folder: Path, files: Files) -> None:
    """What a hash alone can tell is told to who has not read it yet, and to nobody else."""
    verified, other = Verified(), folder.parent / "other"
    assert bytes(verified.read(folder, "a.npy", files["a.npy"])) == SOUND
    other.mkdir()
    share_file(folder / "a.npy", other / "b.npy")
    damage(folder / "a.npy")

    verified.check(folder, files)
    verified.check(other, {"b.npy": files["a.npy"]})

    with pytest.raises(Corrupt, match=r"other/b.npy is not what"):
        Verified().check(other, {"b.npy": files["a.npy"]})


def test_a_file_that_was_written_to_is_hashed_again(folder: Path, files: Files) -> None:
    """And so is one that another manifest says something else of."""
    verified = Verified()
    verified.check(folder, files)
    other = write_file(folder, "b.npy", DAMAGED)
    with pytest.raises(Corrupt):
        verified.read(folder, "a.npy", other)

    (folder / "a.npy").write_bytes(DAMAGED)

    with pytest.raises(Corrupt):
        verified.read(folder, "a.npy", files["a.npy"])


def test_what_is_written_to_a_mapped_file_never_reaches_it(folder: Path, files: Files) -> None:
    """The mapping is private; an empty file has nothing to map."""
    files |= {"empty": write_file(folder, "empty", b"")}
    found = Verified().contents(folder, files)

    found["a.npy"][:5] = b"other"

    assert (folder / "a.npy").read_bytes() == SOUND
    assert bytes(found["empty"]) == b""

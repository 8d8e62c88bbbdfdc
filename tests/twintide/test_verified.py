import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from twintide.arrays import FileEntry, Files, map_array, write_arrays, write_file
from twintide.errors import Corrupt, Retryable
from twintide.files import share_file
from twintide.verified import Verified
from twintide.versions import read_version_manifest

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


def test_what_is_mapped_holds_no_descriptor(folder: Path, files: Files) -> None:
    """A version has a hundred files, and a process 1,024 descriptors, which its clients need."""
    files |= write_arrays(folder, {name: np.arange(5) for name in "bcde"})
    before = len(list(Path("/proc/self/fd").iterdir()))

    held = Verified().contents(folder, files)
    vectors = [map_array(folder, name, files[f"{name}.npy"]) for name in "bcde"]

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert bytes(held["a.npy"]) == SOUND
    assert {tuple(each.tolist()) for each in vectors} == {(0, 1, 2, 3, 4)}
    assert not any(each.flags.writeable for each in vectors)


@contextmanager
def without_a_free_descriptor() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def read_hashed(folder: Path, entry: FileEntry) -> None:
    Verified().read(folder, "b.npy", entry)


def read_vectors(folder: Path, entry: FileEntry) -> None:
    map_array(folder, "b", entry)


def read_manifest(folder: Path, _entry: FileEntry) -> None:
    (folder / "v000001").mkdir()
    read_version_manifest(folder, "v000001")


@pytest.mark.parametrize("read", [read_hashed, read_vectors, read_manifest])
def test_a_file_is_not_damaged_where_descriptors_run_out(
    folder: Path, read: Callable[[Path, FileEntry], None]
) -> None:
    """Whoever asks is told to try again, and does not go on as if there were no such version."""
    entry = write_arrays(folder, {"b": np.arange(5)})["b.npy"]

    with without_a_free_descriptor(), pytest.raises(Retryable, match="Too many open files"):
        read(folder, entry)

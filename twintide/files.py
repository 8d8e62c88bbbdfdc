"""The only module that changes the disk for artifacts.

What it makes is visible whole or not at all: write to a hidden temporary name, fsync, one atomic
step to the final name, fsync of the folder. When a call returns, its caller may say "done".
"""

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from twintide.clock import SystemClock, monotonic_seconds
from twintide.errors import Busy, Refused

TEMPORARY_SUFFIX = ".tmp"
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}


def publish_file(path: Path, data: bytes) -> None:
    """Replace what is at `path` by `data`: a reader finds the old or the new, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_beside(path)
    with _tidied(temporary):
        write_and_fsync(temporary, data)  # 1. crash here: a hidden file, swept at start
        os.replace(temporary, path)  # 2. crash here: the old or the new content, never half
        fsync_dir(path.parent)  # 3. only now may a caller say "done"


def publish_file_once(path: Path, data: bytes) -> None:
    """Make `data` visible at a `path` that nobody has taken yet; the name is the lock.

    Raises FileExistsError where somebody was first, and leaves theirs as it is.
    """
    with hidden_file(path, data) as hidden:  # 1. crash here: a hidden file, swept at start
        link_once(hidden, path)  # 2. only now may a caller say "done"


@contextmanager
def hidden_file(path: Path, data: bytes) -> Iterator[Path]:
    """A whole and durable file beside `path`, under a hidden name that it loses with the block."""
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    with _tidied(temporary):
        write_and_fsync(temporary, data)
        yield temporary
        os.unlink(temporary)  # crash before: a hidden second name of a whole file, swept at start


def link_once(source: Path, path: Path) -> None:
    """Give a whole and durable file the further name `path`, which nobody has taken yet.

    Raises FileExistsError where somebody was first, Refused where the two cannot share a file.
    """
    make_folder(path.parent)
    try:
        os.link(source, path)  # a rename would overwrite a rival's file, a link refuses
    except OSError as error:
        if error.errno in _NO_LINKS:
            raise Refused(
                f"{path} cannot be a second name of {source}: {error.strerror}",
                hint="both must lie on one file system that has hard links, in one mount, and "
                "belong to one user",
            ) from error
        raise
    fsync_dir(path.parent)


def share_file(source: Path, path: Path) -> None:
    """Give a file that is never changed a second name; a copy where the two cannot share it.

    Raises FileNotFoundError where there is no such file.
    """
    try:
        os.link(source, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, path)


@contextmanager
def publish_folder_once(path: Path) -> Iterator[Path]:
    """Give a hidden folder to fill; when the block ends without an error it is visible at `path`,
    whole.

    Raises FileExistsError where `path` is already there. A block that fails leaves nothing.
    """
    make_folder(path.parent)
    temporary = _temporary_beside(path)
    with _tidied(temporary):
        temporary.mkdir()
        yield temporary  # 1. crash here: a hidden folder, swept at start
        _fsync_tree(temporary)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        try:
            os.rename(temporary, path)  # 2. refuses a folder that has something in it
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
            raise
        fsync_dir(path.parent)  # 3. only now may a caller say "done"


def move_once(source: Path, path: Path) -> None:
    """Give a file another name that nobody has taken yet; a crash in between leaves both."""
    link_once(source, path)
    remove_file(source)


def remove_file(path: Path) -> None:
    """Take a name away; none that is there is none that is missed."""
    with suppress(FileNotFoundError):
        os.unlink(path)


def remove_folder(path: Path) -> None:
    """Take a folder away: gone from its name in one step, then from the disk. Safe to repeat."""
    remove_hidden(hide_folder(path))


def hide_folder(path: Path) -> Path:
    """Take a folder's name from it, in one step; returns what is to be removed."""
    gone = _temporary_beside(path)
    os.rename(path, gone)  # crash after: a hidden folder, swept at start
    fsync_dir(path.parent)
    return gone


def remove_hidden(gone: Path) -> None:
    """Take what `hide_folder` hid from the disk, however long that takes."""
    with suppress(FileNotFoundError):  # somebody swept it
        shutil.rmtree(gone)


def sweep_temporaries(root: Path, *, older_than_seconds: float = 3600.0, name: str = "*") -> int:
    """Remove hidden leftovers of crashed writers below `root`; returns how many.

    Young ones may belong to a writer at work and stay. Who holds the lock of all that are called
    `name` (a glob pattern) may sweep those at any age.
    """
    swept = 0
    newest_kept = SystemClock().now().timestamp() - older_than_seconds
    for path in sorted(root.rglob(f".{name}.*{TEMPORARY_SUFFIX}")) if root.is_dir() else []:
        try:
            if path.stat().st_mtime > newest_kept:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            swept += 1
        except FileNotFoundError:
            continue
    return swept


@contextmanager
def exclusive_lock(path: Path, *, who: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; the kernel frees it when the holder dies.

    Raises Busy when somebody else holds it for longer than `wait_seconds`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    give_up_at = monotonic_seconds() + wait_seconds
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic_seconds() >= give_up_at:
                    raise Busy(
                        f"another process holds {path}, so {who} cannot run now",
                        hint="wait until it has finished: the lock goes when its holder ends",
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def write_and_fsync(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    write_pieces_and_fsync(path, [data])


def write_pieces_and_fsync(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """The same for what is too large to be held at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mark_used(path: Path) -> None:
    """Make a file or folder as young as one that was made now: who cleans up sees that somebody
    wants it.
    """
    os.utime(path)


def check_writable(folder: Path) -> None:
    """Raises OSError where nothing can be made in a folder, which is made where it is not there.

    It tries with a folder: readers of all files below never see one too many.
    """
    make_folder(folder)
    probe = _temporary_beside(folder / "probe")
    with _tidied(probe):
        os.mkdir(probe)
        os.rmdir(probe)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, so that they outlive a power cut."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        fsync_dir(folder.parent)


def fsync_dir(path: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            fsync_dir(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    fsync_dir(folder)


def _temporary_beside(path: Path) -> Path:
    """Hidden, and unique to one attempt, so that two writers never share a temporary file."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}{TEMPORARY_SUFFIX}")


@contextmanager
def _tidied(temporary: Path) -> Iterator[None]:
    """An attempt that fails (a full disk, say) takes its hidden leftovers along."""
    try:
        yield
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise

"""Where an evaluation works: a folder of its own for shards and all that is made of them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from streaming.offline import write_shards
from twintide.config import Deployment, fill_in
from twintide.errors import Retryable
from twintide.files import exclusive_lock

_PASSING = ".work-"
_LOCK = ".lock"


@contextmanager
def work_folder(out: Path, *, keep: bool) -> Iterator[Path]:
    """A folder of its own below `out` for shards and all that is made of them.

    However the block ends, it goes; those that killed evaluations left behind go first.
    """
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    folder = Path(tempfile.mkdtemp(prefix="work-" if keep else _PASSING, dir=out)).resolve()
    try:
        with exclusive_lock(folder / _LOCK, who="this evaluation"):
            yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        if is_new and not any(out.iterdir()):
            out.rmdir()


def _sweep(out: Path) -> None:
    for left in out.glob(f"{_PASSING}*"):
        with suppress(Retryable), exclusive_lock(left / _LOCK, who="sweeping"):
            shutil.rmtree(left, ignore_errors=True)


def write_all(deployment: Deployment, events: pa.Table, folder: Path) -> Deployment:
    """The events as shards below `folder`; the deployment that has them."""
    own = fill_in(deployment, {"data_dir": str(folder), "folders": _NO_FOLDERS})
    write_shards(own, events)
    return own


_NO_FOLDERS = {"shards": None, "slices": None, "checkpoints": None, "versions": None}

"""Where an evaluation works: a folder of its own for shards and all that is made of them.

One that was stopped stays, and the same evaluation goes on in it.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from streaming.offline import write_shards
from twintide.config import Deployment, fill_in
from twintide.files import exclusive_lock, publish_file

WORK = "work"
_ASKED, _LOCK = "asked.json", ".lock"


@contextmanager
def work_folder(out: Path, *, keep: bool) -> Iterator[Path]:
    """A folder below `out`; when the block has come to its end, it goes. Raises Retryable while
    another evaluation is at work in it.
    """
    is_new = not out.exists()
    (out / WORK).mkdir(parents=True, exist_ok=True)
    folder = (out / WORK).resolve()
    with exclusive_lock(folder / _LOCK, who="an evaluation"):
        try:
            yield folder
        finally:
            if not (folder / _ASKED).exists():
                _remove(folder, out if is_new else None)  # nothing was done yet
    if not keep:
        _remove(folder, None)


def _remove(folder: Path, out: Path | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if out is not None and not any(out.iterdir()):
        out.rmdir()


def write_all(
    deployment: Deployment, events: pa.Table, folder: Path, *, asked: dict[str, Any]
) -> Deployment:
    """The events as shards below `folder`; the deployment that has them. What lies there of another
    question than `asked` goes first.
    """
    own = fill_in(deployment, {"data_dir": str(folder), "folders": _NO_FOLDERS})
    text = json.dumps(asked, indent=1, sort_keys=True)
    mark = folder / _ASKED
    if mark.exists() and mark.read_text(encoding="utf-8") == text:
        return own
    for left in folder.iterdir():
        if left.name != _LOCK:
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    write_shards(own, events)
    publish_file(mark, text.encode())
    return own


_NO_FOLDERS = {"shards": None, "slices": None, "checkpoints": None, "versions": None}

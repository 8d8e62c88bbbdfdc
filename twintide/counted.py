"""What is counted beyond a checkpoint: derived state that has come further than what is learnt.

A count is an immutable folder, `checkpoints/counted/count-hourly-000042.000007`: the files of its
checkpoint under a second name, but for the derived state, which has taken in clicks
since. A version is made of it as of a checkpoint. Nothing is ever learnt from it: the line goes on
from the checkpoint, and takes in the same clicks itself.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from twintide import __version__
from twintide.arrays import MANIFEST, FileEntry, Files, array_file, write_file
from twintide.checkpoints import (
    STATE,
    CheckpointManifest,
    OpenCheckpoint,
    open_folder,
    read_manifest,
)
from twintide.derived.state import DerivedState
from twintide.errors import Corrupt
from twintide.files import publish_folder_once, write_and_fsync
from twintide.records import CheckpointName, Counted, Instant, Record
from twintide.rowstore import Parts
from twintide.storefile import LastSaved, StoreEntry, share, write_store
from twintide.verified import Verified

FOLDER = "counted"
_NAME = re.compile(r"^count-((?:nightly|hourly)-\d{6})\.(\d{6})$")
_NUMBERS_BEGIN = 1_000_000
"""Deltas of a checkpoint have the numbers below, so none of a count is called as one of those."""


class CountManifest(Record):
    """manifest.json of a count."""

    format: Literal[1] = 1
    checkpoint: CheckpointName
    counted: Counted
    units: dict[int, Instant]
    """Partition -> the minute of the shard before its position."""

    events: int
    """That were taken in since the checkpoint: clicks, and positives of any objective."""

    code_version: str = __version__
    stores: dict[str, StoreEntry]
    files: Files

    @property
    def name(self) -> str:
        """How its folder is called."""
        return count_name(self.checkpoint, self.counted.number)


def count_name(checkpoint: str, number: int) -> str:
    """Such as count-hourly-000042.000007; a run sweeps what begins as its own checkpoints do."""
    return f"count-{checkpoint}.{number:06d}"


def checkpoint_of(name: str) -> str:
    """The checkpoint that a count of that name has come beyond."""
    return name.removeprefix("count-").rpartition(".")[0]


def number_of(name: str) -> int:
    """Which count of its checkpoint that is."""
    return int(name.rpartition(".")[2])


def counts_dir(checkpoints: Path) -> Path:
    """Below the checkpoints, whose files counts share."""
    return checkpoints / FOLDER


def count_names(checkpoints: Path) -> list[str]:
    """All of them, those of a checkpoint in order."""
    root = counts_dir(checkpoints)
    if not root.is_dir():
        return []
    return sorted(each.name for each in root.iterdir() if _NAME.match(each.name))


def counts_beyond(checkpoints: Path, checkpoint: str) -> list[str]:
    """Those of one checkpoint, in order."""
    return [each for each in count_names(checkpoints) if checkpoint_of(each) == checkpoint]


def newest_count(checkpoints: Path, checkpoint: str) -> CountManifest | None:
    """The newest of a checkpoint; None where nothing was counted beyond it. Raises Corrupt."""
    own = counts_beyond(checkpoints, checkpoint)
    return read_count(checkpoints, own[-1]) if own else None


def read_count(checkpoints: Path, name: str) -> CountManifest:
    """Raises Corrupt where its manifest is damaged or gone."""
    path = counts_dir(checkpoints) / name / MANIFEST
    try:
        manifest = CountManifest.from_json(path.read_bytes(), name=str(path))
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error}") from error
    if manifest.name != name:
        raise Corrupt(f"{path} describes {manifest.name}, not {name}")
    return manifest


def open_count(
    checkpoints: Path, count: CountManifest, *, verified: Verified | None = None
) -> OpenCheckpoint:
    """The checkpoint with the derived state of the count; its position is that of its learning.
    Raises Refused or Corrupt as `open_checkpoint`.
    """
    folder = counts_dir(checkpoints) / count.name
    return open_folder(folder, as_counted(checkpoints, count), verified=verified)


def as_counted(checkpoints: Path, count: CountManifest) -> CheckpointManifest:
    """Its checkpoint, as if it had the files of the count."""
    learnt = read_manifest(checkpoints, count.checkpoint)
    told = {"stores": count.stores, "files": count.files, "as_of": count.counted.as_of}
    return learnt.model_copy(update=told)


@dataclass(frozen=True)
class Stand:
    """Where a count goes on from: a checkpoint, or the count before."""

    folder: Path
    stores: dict[str, StoreEntry]
    files: Files

    def saved(self) -> LastSaved:
        """Its rows."""
        return LastSaved(self.folder, self.stores, self.files)


def publish_count(
    checkpoints: Path,
    learnt: CheckpointManifest,
    state: DerivedState,
    unnamed: CountManifest,
    *,
    stand: Stand,
) -> CountManifest:
    """Make a count visible, whole: its state as what was touched since it went on from `stand`, all
    else as its checkpoint has it. Raises FileExistsError where its name is taken.
    """
    parts, source = state.parts(), checkpoints / learnt.name
    others = {name: each for name, each in learnt.stores.items() if not name.startswith(STATE)}
    kept = {name: each for name, each in learnt.files.items() if not name.startswith(STATE)}
    with publish_folder_once(counts_dir(checkpoints) / unnamed.name) as folder:
        files = share(source, folder, kept)
        stores, written = _state_written(folder, parts, unnamed.counted.number, stand)
        made = unnamed.model_copy(update={"stores": others | stores, "files": files | written})
        write_and_fsync(folder / MANIFEST, made.to_json())
    return made


def _state_written(
    folder: Path, parts: Parts, number: int, stand: Stand
) -> tuple[dict[str, StoreEntry], Files]:
    stores, files = dict[str, StoreEntry](), Files()
    for name, store in sorted(parts.saved().items()):
        stores[name], written = write_store(
            folder, name, store, last=stand.saved(), number=_NUMBERS_BEGIN + number
        )
        files |= written
    for name, array in sorted(parts.arrays.items()):
        files |= _array_written(folder, f"{name}.npy", array_file(array), stand)
    return stores, files


def _array_written(folder: Path, name: str, data: bytes, stand: Stand) -> Files:
    entry = FileEntry.of(data)
    if stand.files.get(name) == entry:
        return share(stand.folder, folder, {name: entry})
    return {name: write_file(folder, name, data)}

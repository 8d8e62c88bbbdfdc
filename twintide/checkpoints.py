"""The checkpoint format: what training resumes from, and what a version is made of.

A checkpoint is an immutable folder: weights, optimizer rows, vocabularies, frequency estimator,
derived state, catalogue, and the position up to which all of that has learnt. `hourly-000042` and
`nightly-000043` share one numbering; the newest number is the head of training. Nothing in it
depends on when it was written, so the same inputs give the same bytes.

An hourly one holds what changed: rows that were touched, and small arrays that differ. All else are
the files of its parent under a second name, so that each folder is whole and any may be removed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyarrow as pa

from twintide import __version__
from twintide.arrays import (
    MANIFEST,
    Arrays,
    FileEntry,
    Files,
    array_file,
    parse_arrays,
    parse_table,
    read_verified,
    table_file,
    verify,
    write_file,
)
from twintide.declaration import check_carried
from twintide.derived.state import DerivedState
from twintide.errors import Corrupt, Refused
from twintide.events import EventSchema
from twintide.files import publish_folder_once, write_and_fsync
from twintide.leftout import LeftOut
from twintide.listed import ListingRef
from twintide.modelspec import ModelSpec
from twintide.records import CheckpointName, Day, Instant, Position, Record
from twintide.rowstore import Parts, Saved
from twintide.storefile import LastSaved, StoreEntry, open_lists, open_store, share, write_store
from twintide.vectorstore import VectorsRef
from twintide.verified import Verified

CATALOGUE = "catalogue.parquet"
"""In checkpoints of older programs, what `Checkpoint.catalogue` is."""

STATE = "state."
"""What the names of the derived state's parts begin with."""

_NAME = re.compile(r"^(nightly|hourly)-(\d{6})$")
_NUMBERED = re.compile(r"^(?:nightly|hourly)-(\d{6})(?:\.|$)")
"""Also what was put aside, such as hourly-000012.damaged."""


class CheckpointManifest(Record):
    """manifest.json of a checkpoint; also its lineage."""

    format: int = 4
    name: str
    kind: Literal["nightly", "hourly"]
    parent: CheckpointName | None
    """The checkpoint whose weights it began with."""

    base: CheckpointName | None
    """The nightly checkpoint that its line stands on, if any; itself for a nightly one."""

    day: Day | None
    """The newest training day that the base has learnt in a nightly epoch."""

    position: Position
    """Partition -> next offset to learn. Inside the artifact, so that the two cannot disagree."""

    slices: tuple[str, ...]
    """Names of the slices that this run learnt, in order."""

    rows: int
    """Clicks that this run learnt, not counting those that it learnt again."""

    replayed_from: int | None = None
    """Number of the oldest slice that rows were drawn from, to be learnt again beside the new ones;
    that of the first new one where there was no other. None where nothing is learnt again.
    """

    newest_event_at: Instant | None
    """Event time of the newest click that it has learnt: how fresh it is."""

    as_of: Instant | None
    """The instant for which the catalogue's item statistics hold."""

    loss: float | None
    """Mean training loss of the run."""

    seed: int
    threads: int
    learning_hash: str
    """Of the configuration that shaped it."""

    events: EventSchema
    model: ModelSpec
    code_version: str = __version__
    vectors: dict[str, VectorsRef] = {}  # noqa: RUF012  pydantic gives each record its own
    """Table -> the fixed vectors that it was trained on; part of its lineage."""

    topic: str | None = None
    """Whose offsets its position is in; None: an older program made it."""

    anew: tuple[str, ...] = ()
    """Parts of the model that began anew with this run, since another declaration was given."""

    left_out: tuple[LeftOut, ...] = ()
    """What it and all that goes on from it does not learn, by `twintide rewind --leave-out`."""

    listing: ListingRef | None = None
    """What the source of items said of the items whose clicks it learnt; None without one."""

    stores: dict[str, StoreEntry] = {}  # noqa: RUF012  pydantic gives each record its own
    """Rows of which an hourly checkpoint writes the touched ones only. Format 1 has none."""

    files: Files = {}  # noqa: RUF012  pydantic gives each record its own

    @property
    def sequence(self) -> int:
        """The number in its name; both lines count together."""
        return sequence_of(self.name)

    @property
    def is_rewound(self) -> bool:
        """Whether `twintide rewind` made it: its parent anew, with nothing learnt since."""
        parent_kind = (self.parent or "").partition("-")[0]
        return parent_kind == self.kind and not self.slices and not self.rows


def sequence_of(name: str) -> int:
    """The number in the name of a checkpoint."""
    return int(name.rpartition("-")[2])


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, read and verified."""

    manifest: CheckpointManifest
    arrays: Arrays
    """`dense.*` and `table.*` as in TwoTower.arrays, `optimizer.*`, `estimator.*`, `state.*` as in
    DerivedState.arrays.
    """

    catalogue: pa.Table
    """One row per item, in the order of their first events: `item_id`, `first_seen_at`, and the
    candidate features as of the checkpoint, under the names of `features.column_name`.
    """


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint to go on from: rows are mapped, and checked where they are used."""

    manifest: CheckpointManifest
    parts: Parts
    catalogue: pa.Table | None
    """Where an older program made it."""

    def state(self, model: ModelSpec) -> DerivedState:
        """The derived state, of a model that asks for no more than the checkpoint's own."""
        if self.catalogue is not None:
            return DerivedState.from_arrays(model, self.parts.arrays, self.catalogue)
        return DerivedState.from_parts(model, self.manifest.events, self.parts)

    def learnt(self) -> Parts:
        """All but the derived state."""
        stores, arrays = self.parts.stores, self.parts.arrays
        return Parts(
            {name: each for name, each in stores.items() if not name.startswith(STATE)},
            {name: each for name, each in arrays.items() if not name.startswith(STATE)},
        )


def checkpoint_name(kind: Literal["nightly", "hourly"], sequence: int) -> str:
    """Such as nightly-000012: how a checkpoint's folder is called."""
    return f"{kind}-{sequence:06d}"


def publish_checkpoint(
    root: Path,
    manifest: CheckpointManifest,
    parts: Parts,
    *,
    catalogue: pa.Table | None = None,
    parents: Path | None = None,
) -> CheckpointManifest:
    """Make a checkpoint visible, whole. Raises FileExistsError where its name is taken.

    An hourly one is written as what changed since its parent, which lies below `parents`, where it
    is still there; `parts` know which of their rows were touched since. Then none counts as touched
    any more.
    """
    contents = {f"{name}.npy": array_file(array) for name, array in parts.arrays.items()}
    if catalogue is not None:
        contents[CATALOGUE] = table_file(catalogue)
    stores = parts.saved()
    try:
        made = _written(root, manifest, stores, contents, _parent_of(manifest, parents))
    except FileNotFoundError:  # gc took the parent away: all that it gave is in memory
        made = _written(root, manifest, stores, contents, None)
    for store in stores.values():
        store.saved()
    return made


def _written(
    root: Path,
    manifest: CheckpointManifest,
    stores: Mapping[str, Saved],
    contents: dict[str, bytes],
    parent: "_Parent | None",
) -> CheckpointManifest:
    entries, files = dict[str, StoreEntry](), dict[str, FileEntry]()
    last = None
    if parent is not None:
        last = LastSaved(parent.folder, parent.manifest.stores, parent.manifest.files)
    with publish_folder_once(root / manifest.name) as folder:
        for name, store in sorted(stores.items()):
            entries[name], written = write_store(
                folder, name, store, last=last, number=manifest.sequence
            )
            files |= written
        for name, data in sorted(contents.items()):
            files[name] = _write_unless_shared(folder, name, data, parent)
        complete = manifest.model_copy(update={"files": files, "stores": entries})
        write_and_fsync(folder / MANIFEST, complete.to_json())
    return complete


@dataclass(frozen=True)
class _Parent:
    """What an hourly checkpoint stands on."""

    folder: Path
    manifest: CheckpointManifest


def _parent_of(manifest: CheckpointManifest, parents: Path | None) -> _Parent | None:
    if manifest.kind == "nightly" or manifest.parent is None or parents is None:
        return None
    try:
        return _Parent(parents / manifest.parent, read_manifest(parents, manifest.parent))
    except Refused:  # gc took it away
        return None


def _write_unless_shared(folder: Path, name: str, data: bytes, parent: _Parent | None) -> FileEntry:
    entry = FileEntry.of(data)
    if parent is not None and parent.manifest.files.get(name) == entry:
        share(parent.folder, folder, {name: entry})
        return entry
    return write_file(folder, name, data)


def publish_again(old: Path, into: Path, manifest: CheckpointManifest) -> CheckpointManifest:
    """Make what the checkpoint in the folder `old` holds visible under this manifest, whose name is
    new: the files are the same ones, verified. Raises FileExistsError where the name is taken.
    """
    before = read_manifest(old.parent, old.name)
    verify(old, before.files)
    complete = manifest.model_copy(update={"files": before.files, "stores": before.stores})
    with publish_folder_once(into / manifest.name) as folder:
        share(old, folder, before.files)
        write_and_fsync(folder / MANIFEST, complete.to_json())
    return complete


def list_checkpoints(
    root: Path, *, read: Callable[[Path, str], CheckpointManifest] | None = None
) -> list[CheckpointManifest]:
    """All checkpoints by number. Their files are not verified here. One that is removed meanwhile
    is not among them. `read` gives a manifest where somebody has it already.
    """
    with damage_said(root):
        found = [
            _manifest_if_there(root, name, read or read_manifest) for name in checkpoint_names(root)
        ]
    return sorted((made for made in found if made is not None), key=lambda made: made.sequence)


def checkpoint_names(root: Path) -> list[str]:
    """What is called a checkpoint, sound or not."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if _NAME.match(path.name))


def next_sequence(root: Path) -> int:
    """The number of the next checkpoint. One that was put aside keeps its own: versions know it by
    that.
    """
    taken = (_NUMBERED.match(path.name) for path in root.iterdir()) if root.is_dir() else ()
    return max((int(found[1]) for found in taken if found), default=0) + 1


@contextmanager
def damage_said(root: Path) -> Iterator[None]:
    """What to do about a checkpoint in `root`, where the block says that it is damaged."""
    try:
        yield
    except Corrupt as error:
        named = re.search(rf"{re.escape(str(root))}/([a-z]+-\d{{6}})/", error.message)
        if named is None or error.hint:
            raise
        folder = root / named[1]
        raise Corrupt(
            error.message,
            hint=f"`mv {folder} {folder}.damaged` puts it aside: the next run goes on from the "
            "newest that is left, and learns again what this one had learnt",
        ) from error


def _manifest_if_there(
    root: Path, name: str, read: Callable[[Path, str], CheckpointManifest]
) -> CheckpointManifest | None:
    try:
        return read(root, name)
    except (Refused, Corrupt):
        if (root / name).exists():
            raise
        return None  # gc was at work


def read_manifest(root: Path, name: str) -> CheckpointManifest:
    """Raises Refused where there is no such checkpoint, Corrupt where its manifest is damaged."""
    if not _NAME.match(name) or not (root / name).is_dir():
        raise Refused(
            f"there is no checkpoint {name!r} in {root}", hint="`twintide checkpoints` lists them"
        )
    path = root / name / MANIFEST
    try:
        manifest = CheckpointManifest.from_json(path.read_bytes(), name=str(path))
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error}") from error
    if manifest.name != name:
        raise Corrupt(f"{path} describes {manifest.name}, not {name}")
    return manifest


def load_checkpoint(root: Path, name: str) -> Checkpoint:
    """All of it, every byte checked before it is used. Raises Refused or Corrupt."""
    found = open_checkpoint(root, name)
    if found.catalogue is not None:
        return Checkpoint(found.manifest, found.parts.whole(), found.catalogue)
    as_of = found.manifest.as_of or datetime.fromtimestamp(0, UTC)
    state = found.state(found.manifest.model)
    arrays = found.learnt().whole() | state.arrays() | state.users_as_of(as_of)
    return Checkpoint(found.manifest, arrays, state.catalogue_table(as_of))


def open_checkpoint(root: Path, name: str, *, verified: Verified | None = None) -> OpenCheckpoint:
    """What learning goes on from. Small files are hashed before they are parsed, of rows each page
    before it is first used, whoever uses it, but of files that are among `verified`: that raises
    Corrupt too. Raises Refused or Corrupt.
    """
    with damage_said(root):
        return open_folder(root / name, read_manifest(root, name), verified=verified)


def open_folder(
    folder: Path, manifest: CheckpointManifest, *, verified: Verified | None = None
) -> OpenCheckpoint:
    """The same of a folder whose manifest is known."""
    check_carried(manifest.events, manifest.model, by=f"checkpoint {folder}")
    files = manifest.files
    of_stores = {each for name, entry in manifest.stores.items() for each in entry.files_of(name)}
    contents = read_verified(folder, {n: e for n, e in files.items() if n not in of_stores})
    entries = manifest.stores.items()
    parts = Parts(
        {
            n: open_store(folder, n, e, files, verified=verified)
            for n, e in entries
            if e.cells is None
        },
        parse_arrays(contents),
        {
            n: open_lists(folder, n, e, files, verified=verified)
            for n, e in entries
            if e.cells is not None
        },
    )
    has_table = CATALOGUE in files
    return OpenCheckpoint(manifest, parts, parse_table(contents, CATALOGUE) if has_table else None)

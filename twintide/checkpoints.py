"""The checkpoint format: what training resumes from, and what a version is made of.

A checkpoint is an immutable folder: weights, optimizer rows, vocabularies, frequency estimator,
derived state, catalogue, and the position up to which all of that has learnt. `hourly-000042` and
`nightly-000043` share one numbering; the newest number is the head of training. Nothing in it
depends on when it was written, so the same inputs give the same bytes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from twintide import __version__
from twintide.arrays import (
    MANIFEST,
    Arrays,
    Files,
    parse_arrays,
    parse_table,
    read_verified,
    write_arrays,
    write_table,
)
from twintide.declaration import check_carried
from twintide.errors import Corrupt, Refused
from twintide.events import EventSchema
from twintide.files import publish_folder_once, write_and_fsync
from twintide.listed import ListingRef
from twintide.modelspec import ModelSpec
from twintide.records import CheckpointName, Day, Instant, Position, Record
from twintide.vectorstore import VectorsRef

CATALOGUE = "catalogue.parquet"
"""One row per item of the item table, in the order of their first clicks: `item_id` and the
candidate features as of the checkpoint, under the names of `features.column_name`.
"""

_NAME = re.compile(r"^(nightly|hourly)-(\d{6})$")


class CheckpointManifest(Record):
    """manifest.json of a checkpoint; also its lineage."""

    format: int = 1
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
    """Clicks that this run learnt."""

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

    listing: ListingRef | None = None
    """What the source of items said of the items whose clicks it learnt; None without one."""

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
    """`dense.*` and `table.*` as in TwoTower.arrays, `optimizer.*`, `estimator.*`, `state.*`."""

    catalogue: pa.Table


def checkpoint_name(kind: Literal["nightly", "hourly"], sequence: int) -> str:
    """Such as nightly-000012: how a checkpoint's folder is called."""
    return f"{kind}-{sequence:06d}"


def publish_checkpoint(
    root: Path, manifest: CheckpointManifest, *, arrays: Arrays, catalogue: pa.Table
) -> CheckpointManifest:
    """Make a checkpoint visible, whole. Raises FileExistsError where its name is taken."""
    with publish_folder_once(root / manifest.name) as folder:
        files = write_arrays(folder, arrays) | write_table(folder, CATALOGUE, catalogue)
        complete = manifest.model_copy(update={"files": files})
        write_and_fsync(folder / MANIFEST, complete.to_json())
    return complete


def list_checkpoints(root: Path) -> list[CheckpointManifest]:
    """All checkpoints by number. Their files are not verified here. One that is removed meanwhile
    is not among them.
    """
    found = [_manifest_if_there(root, name) for name in checkpoint_names(root)]
    return sorted((made for made in found if made is not None), key=lambda made: made.sequence)


def checkpoint_names(root: Path) -> list[str]:
    """What is called a checkpoint, sound or not."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if _NAME.match(path.name))


def _manifest_if_there(root: Path, name: str) -> CheckpointManifest | None:
    try:
        return read_manifest(root, name)
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
    """Every file hashed before it is parsed. Raises Refused or Corrupt."""
    manifest = read_manifest(root, name)
    check_carried(manifest.events, manifest.model, by=f"checkpoint {root / name}")
    contents = read_verified(root / name, manifest.files)
    return Checkpoint(manifest, parse_arrays(contents), parse_table(contents, CATALOGUE))

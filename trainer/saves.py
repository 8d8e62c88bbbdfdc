"""An epoch that is saved in its middle, so that a run that dies is not begun anew by the next.

A save is what the learner goes on from after so many batches: rows that were touched, on the
checkpoint that the epoch began with or on the save before, and the small arrays whole. All else of
an epoch follows from the log and the seed, and is made again: order, log Q, vocabularies. A save is
no artifact: it is of use to the very epoch that it was made in, and goes when that is over.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trainer.gathered import Gathered
from trainer.learner import Learner
from trainer.publishing import check_finite
from trainer.run import Begun
from twintide import __version__
from twintide.arrays import (
    MANIFEST,
    FileEntry,
    Files,
    array_file,
    parse_arrays,
    read_verified,
    verify,
    write_file,
)
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.files import publish_folder_once, write_and_fsync
from twintide.leftout import LeftOut
from twintide.listed import ListingRef
from twintide.records import CheckpointName, Day, Position, Record
from twintide.rowstore import Parts
from twintide.scratch import clear
from twintide.storefile import LastSaved, StoreEntry, open_store, write_store
from twintide.telemetry import get_log
from twintide.vectorstore import VectorsRef, open_stores

log = get_log("trainer")

LOSSES = "epoch.losses"


class Epoch(Record):
    """What an epoch is a function of: where all of it is the same, so is every step."""

    parent: CheckpointName | None
    day: Day
    seed: int
    position: Position
    """Where it begins."""

    slices: tuple[str, ...]
    rows: int
    learning_hash: str
    anew: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    vectors: dict[str, VectorsRef]
    listing: ListingRef | None
    code_version: str = __version__

    @classmethod
    def of(
        cls, deployment: Deployment, begun: Begun, gathered: Gathered, *, day: Day, seed: int
    ) -> "Epoch":
        """That of these slices on what was begun with."""
        return cls(
            parent=begun.parent.name if begun.parent else None,
            day=day,
            seed=seed,
            position=dict(begun.position),
            slices=tuple(each.slice_.name for each in gathered.slices),
            rows=gathered.rows,
            learning_hash=deployment.learning_hash(),
            anew=begun.anew,
            left_out=begun.left_out,
            vectors=begun.vectors,
            listing=begun.listing.ref if begun.listing else None,
        )


class SaveManifest(Record):
    """manifest.json of a save."""

    format: Literal[1] = 1
    epoch: Epoch
    batches: int
    """Learnt so far."""

    stores: dict[str, StoreEntry]
    files: Files


@dataclass(frozen=True)
class Save:
    """A save, read and verified."""

    batches: int
    losses: list[float]
    """Summed loss of each of them."""

    parts: Parts


class Saves:
    """The saves of one epoch, in a folder of its own, of which only the newest is kept."""

    def __init__(
        self, folder: Path, epoch: Epoch, *, every_rows: int | None, last: LastSaved | None
    ) -> None:
        """`every_rows`: after how many clicks one is due; None for never. `last`: where the rows
        were saved last, before the epoch began.
        """
        self._folder = folder
        self._epoch = epoch
        self._every_rows = every_rows
        self._last = last
        self._rows = 0

    def newest(self) -> Save | None:
        """What there is of this epoch. What is damaged, or of another epoch, is no use and goes."""
        found = None
        for path in self._paths():
            if (found := self._read(path)) is not None:
                break
        self._keep_only(None if found is None else found.batches)
        return found

    def has_learnt(self, rows: int, losses: list[float], learner: Learner) -> None:
        """So many more rows; `losses` are those of every batch so far. A save is made where one is
        due. Raises Refused where something is not finite.
        """
        self._rows += rows
        if self._every_rows is not None and self._rows >= self._every_rows:
            self._save(losses, learner.parts())
            self._rows = 0

    def clear(self) -> None:
        """The epoch is over."""
        clear(self._folder)

    def _save(self, losses: list[float], learnt: Parts) -> None:
        batches, arrays = len(losses), learnt.arrays | {LOSSES: np.array(losses, np.float64)}
        check_finite(Parts(learnt.stores, arrays))
        try:
            self._write(batches, Parts(learnt.stores, arrays))
        except FileNotFoundError:  # gc took away what it stands on: all of that is in memory
            self._last = None
            self._write(batches, Parts(learnt.stores, arrays))
        for store in learnt.stores.values():
            store.saved()
        self._keep_only(batches)
        log.info("epoch_saved", day=str(self._epoch.day), batches=batches)

    def _write(self, batches: int, parts: Parts) -> None:
        path, entries, files = self._path(batches), dict[str, StoreEntry](), dict[str, FileEntry]()
        with publish_folder_once(path) as folder:
            for name, store in sorted(parts.stores.items()):
                entries[name], written = write_store(
                    folder, name, store, last=self._last, number=batches
                )
                files |= written
            for name, array in sorted(parts.arrays.items()):
                files[f"{name}.npy"] = write_file(folder, f"{name}.npy", array_file(array))
            made = SaveManifest(epoch=self._epoch, batches=batches, stores=entries, files=files)
            write_and_fsync(folder / MANIFEST, made.to_json())
        self._last = LastSaved(path, entries, files)

    def _read(self, path: Path) -> Save | None:
        try:
            made = SaveManifest.from_json((path / MANIFEST).read_bytes(), name=str(path))
            if made.epoch != self._epoch or path != self._path(made.batches):
                return None
            verify(path, made.files)
            rows = {each for name, entry in made.stores.items() for each in entry.files_of(name)}
            small = {name: entry for name, entry in made.files.items() if name not in rows}
            arrays = parse_arrays(read_verified(path, small))
            stores = {n: open_store(path, n, e, made.files) for n, e in made.stores.items()}
        except (Corrupt, OSError) as error:
            log.warning("epoch_save_not_used", folder=str(path), why=str(error))
            return None
        self._last = LastSaved(path, made.stores, made.files)
        losses: list[float] = arrays.pop(LOSSES).tolist()
        return Save(made.batches, losses, Parts(stores, arrays))

    def _paths(self) -> list[Path]:
        """Newest first."""
        return sorted(self._folder.glob(f"{_NAME}*"), reverse=True)

    def _path(self, batches: int) -> Path:
        return self._folder / f"{_NAME}{batches:012d}"

    def _keep_only(self, batches: int | None) -> None:
        for path in self._paths():
            if batches is None or path != self._path(batches):
                clear(path)


_NAME = "nightly-at-"
"""What the lock of the line lets a run sweep."""


def going_on(deployment: Deployment, begun: Begun, save: Save) -> Learner:
    """The learner as it was when it was saved; what was new to the one before is new to it."""
    vectors = open_stores(deployment.vectors_dir, begun.vectors)
    return begun.learner.at(save.parts, vectors=vectors)

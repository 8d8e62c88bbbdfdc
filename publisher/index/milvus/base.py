"""Which index in Milvus the next version's goes on from."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from publisher.attributefiles import attributes_kept
from publisher.attributes import Attributes, attributes_in
from publisher.index.milvus.halves import BASE, WHOLE, Halves, halves_in
from publisher.index.searched import Vectors
from publisher.itemids import item_ids_in
from twintide.arrays import FileEntry
from twintide.checkpoints import CheckpointManifest
from twintide.config import PublishingConfig
from twintide.errors import Corrupt, Refused
from twintide.keys import Keys, keys_of
from twintide.verified import Verified
from twintide.versions import (
    IndexAt,
    VersionManifest,
    read_version_manifest,
    version_names,
)


@dataclass(frozen=True)
class MilvusBase:
    """The newest version that its collection holds."""

    version: str
    """Whose index it was first."""

    as_of: str
    at: IndexAt
    epochs: tuple[int, ...]
    """Of the versions that there are in its collection, ascending; the last is its own."""

    keys: Keys
    halves: Halves
    attributes: Attributes
    night: Path
    """The file of the vectors of a whole index, and its entry."""

    entry: FileEntry

    def vectors(self, *, room: int = 0) -> Vectors:
        """As Base.vectors."""
        found = np.empty((len(self.keys) + room, self.halves.base.shape[1]), np.float32)
        found[: len(self.keys)] = self.halves.at(np.arange(len(self.keys)))
        return found


def base_of(
    root: Path, checkpoint: CheckpointManifest, config: PublishingConfig, *, verified: Verified
) -> MilvusBase | None:
    """The index of the newest version of the same night, declaration and Milvus. None for a night,
    where there is none, and where something newer in its collection may be needed.
    """
    if checkpoint.kind == "nightly":
        return None
    return _newest_like(checkpoint, root, config, verified)


def base_in(
    root: Path, manifest: VersionManifest, config: PublishingConfig, *, verified: Verified
) -> MilvusBase | None:
    """The same for what takes the place of a version: also refreshes of it have their rows in its
    collection, and only the newest of all can be gone on from.
    """
    return _newest_like(manifest, root, config, verified)


def _newest_like(
    own: CheckpointManifest | VersionManifest,
    root: Path,
    config: PublishingConfig,
    verified: Verified,
) -> MilvusBase | None:
    with suppress(Corrupt, Refused):
        named = [each for each in _newest_first(root) if each.index_at]
        for manifest in named:
            at = manifest.index_at
            if (manifest.base, manifest.model) != (own.base, own.model):
                continue
            if at is None or config.milvus is None or at.service.place != config.milvus.place:
                return None
            epochs = _epochs_of(at.collection, named)
            if epochs[-1] != at.epoch:
                return None
            return _in_version(root / manifest.name, manifest, at, epochs, verified)
    return None


def _newest_first(root: Path) -> Iterator[VersionManifest]:
    """Raises Corrupt where one cannot be read: it may name any collection."""
    for name in reversed(version_names(root)):
        yield read_version_manifest(root, name)


def _epochs_of(collection: str, named: list[VersionManifest]) -> tuple[int, ...]:
    own = [each.index_at for each in named if each.index_at]
    return tuple(sorted(at.epoch for at in own if at.collection == collection))


def _in_version(
    folder: Path,
    manifest: VersionManifest,
    at: IndexAt,
    epochs: tuple[int, ...],
    verified: Verified,
) -> MilvusBase:
    name = f"{WHOLE if manifest.index_of is None else BASE}.npy"
    of_index = ("index.", "items.", "attributes.")
    own = {each: entry for each, entry in manifest.files.items() if each.startswith(of_index)}
    contents = verified.contents(folder, own)
    attributes: Attributes = {}
    told = attributes_kept(contents, items=manifest.items)
    if told is not None:
        attributes = attributes_in(told, manifest.model, items=manifest.items)
    return MilvusBase(
        version=manifest.index_of or manifest.name,
        as_of=manifest.name,
        at=at,
        epochs=epochs,
        keys=keys_of(item_ids_in(contents)),
        halves=halves_in(contents, width=manifest.dimension, items=manifest.items),
        attributes=attributes,
        night=folder / name,
        entry=manifest.files[name],
    )

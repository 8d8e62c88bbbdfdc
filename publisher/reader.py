"""Read a version: map and hash every file, then parse what is mapped, then see that the parts
belong together.

This is the half of the publisher that servers use. It changes nothing on the disk; what it returns
answers queries by itself, and what it cannot vouch for it refuses as Corrupt.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher import samples
from publisher.activity import UserNumbers, in_version
from publisher.attributefiles import attributes_kept
from publisher.attributes import Attributes, attributes_in, attributes_said
from publisher.histories import Memories, encoded, memories_in
from publisher.index.backends import backend_called
from publisher.index.faiss.index import search_in_one_thread
from publisher.index.searched import ItemIndex, Positions, Scores
from publisher.itemids import item_ids_in
from publisher.shared import Shared
from publisher.told import Told, told_in
from twintide.arrays import Arrays, Contents, view_arrays
from twintide.config import MilvusConfig
from twintide.declaration import check_carried
from twintide.errors import Corrupt, Retryable
from twintide.keys import Keys, distinct, keys_of, places_of
from twintide.model.exported.query import QueryTower
from twintide.ragged import Encoded
from twintide.rowstore import Parts
from twintide.vectorstore import Vectors
from twintide.verified import Verified
from twintide.versions import (
    VersionManifest,
    open_vectors,
    read_version_manifest,
)

__all__ = [
    "Attributes",
    "LoadedVersion",
    "attributes_said",
    "load_version",
    "load_where_declared",
    "prepare_to_answer",
]

HISTORY_PREFIX = "history"


@dataclass(frozen=True)
class LoadedVersion:
    """A version in memory, verified; nothing of it changes any more."""

    manifest: VersionManifest
    model: QueryTower

    index: ItemIndex
    item_ids: pa.Array
    """In index order."""

    item_keys: Keys
    """uint64 [items], in index order."""

    memories: Memories
    user_numbers: UserNumbers | None
    attributes: Attributes
    """By which requests may filter."""

    told: Told | None = None
    """What users last said of themselves, where it is remembered."""

    @property
    def name(self) -> str:
        """Such as v000001."""
        return self.manifest.name

    def remembered(self, user_keys: Keys, at_ms: npt.NDArray[np.int64]) -> Encoded:
        """What the model sees of what these users did before, as of an instant [B]."""
        before = encoded(self.memories, self.manifest.model, user_keys, at_ms)
        return before | self.activity_of(user_keys)

    def activity_of(self, user_keys: Keys) -> Encoded:
        """How active these users were at its last refresh, where the model asks."""
        return self.user_numbers.of(user_keys) if self.user_numbers else {}

    def positions_of(self, keys: Keys) -> Positions:
        """Where these items stand in the index, each once; unknown keys have no place."""
        return self.positions_in_order(distinct(keys)) if len(keys) else np.zeros(0, np.int64)

    def positions_in_order(self, keys: Keys) -> Positions:
        """The same of keys of which none comes twice, in their order."""
        ascending, places = self._places
        found, is_known = places_of(keys, ascending)
        known: Positions = places[found[is_known]]
        return known

    @cached_property
    def _places(self) -> tuple[Keys, Positions]:
        """The item keys in ascending order, and the position of each."""
        order = np.argsort(self.item_keys)
        return self.item_keys[order], order

    def search(self, encoded: Encoded, k: int) -> tuple[Scores, Positions]:
        """The k best items for each encoded query: scores and positions [B, k], best first."""
        return self.index.search(self.model.query_vectors(encoded), k)


def prepare_to_answer() -> None:
    """Once in a process that answers requests: each is searched in the thread that asks."""
    search_in_one_thread()


def load_version(root: Path, name: str, *, verified: Verified | None = None) -> LoadedVersion:
    """Map, verify and try a version; files that are among `verified` are not hashed again. Raises
    Refused where there is none of that name, Corrupt where any byte, count or sample answer of it
    is wrong.
    """
    manifest = read_version_manifest(root, name)  # 1. its seal fits
    if (root / name).is_symlink():
        raise Corrupt(f"{root / name} is a symbolic link, not a version")
    check_carried(manifest.events, manifest.model, by=f"version {root / name}")
    verified = verified or Verified()
    contents = verified.contents(root / name, manifest.files)  # 2. all is as it was written
    vectors = open_vectors(root, manifest)
    shared = Shared.of(manifest.model, manifest.stores, manifest.files)
    rows = shared.opened(root / name, verified=verified)
    own = {each: data for each, data in contents.items() if each not in shared.files}
    version = _parsed(manifest, own, rows, vectors)  # 3. the parts are what they should be
    _check_counts(version)  # 4. they fit together
    _replay_samples(version, view_arrays(own))  # 5. and answer as they did
    version.index.prepare()  # 6. many threads may ask from here on
    return version


def load_where_declared(
    root: Path, name: str, *, declared: MilvusConfig | None, verified: Verified | None = None
) -> LoadedVersion:
    """As `load_version`; and Corrupt where its index lies in another Milvus than is declared, and
    that is away: nobody waits for it.
    """
    try:
        return load_version(root, name, verified=verified)
    except Retryable as error:
        at = read_version_manifest(root, name).index_at
        if at is None or (declared and at.service.place == declared.place):
            raise
        raise Corrupt(f"version {name} lies where nothing answers: {error.message}") from error


def _parsed(
    manifest: VersionManifest, contents: Contents, rows: Parts, vectors: dict[str, Vectors]
) -> LoadedVersion:
    arrays = view_arrays(contents)
    parts = Parts(rows.stores, arrays, rows.lists)
    item_ids = item_ids_in(contents)
    return LoadedVersion(
        manifest=manifest,
        model=QueryTower(manifest.model, arrays, vectors, stores=parts.stores),
        index=backend_called(manifest.backend).open(manifest, contents, items=len(item_ids)),
        item_ids=item_ids,
        item_keys=keys_of(item_ids),
        memories=memories_in(
            parts, manifest.model, prefix=HISTORY_PREFIX, newest_at=manifest.newest_counted_at
        ),
        user_numbers=in_version(arrays, manifest.model),
        attributes=_attributes(manifest, contents),
        told=told_in(parts, manifest.model),
    )


def _attributes(manifest: VersionManifest, contents: Contents) -> Attributes:
    told = attributes_kept(contents, items=manifest.items)
    return {} if told is None else attributes_in(told, manifest.model, items=manifest.items)


def _check_counts(version: LoadedVersion) -> None:
    manifest = version.manifest
    items = {manifest.items, version.index.items, len(version.item_ids)}
    widths = {manifest.dimension, manifest.model.index_width()}
    if len(items) != 1 or len(widths) != 1:
        raise Corrupt(
            f"version {version.name}: manifest, index and item ids disagree on the number of items "
            f"{sorted(items)} or on the width of vectors {sorted(widths)}"
        )
    if not manifest.items or len(distinct(version.item_keys)) != manifest.items:
        raise Corrupt(f"version {version.name} has no items, or an item twice")


def _replay_samples(version: LoadedVersion, arrays: Arrays) -> None:
    expected = samples.Answers.from_arrays(arrays)
    asked = samples.queries(version.model, version.manifest.events, version.memories)
    samples.compare(
        expected, samples.answer(version.model, version.index, version.item_keys, asked)
    )

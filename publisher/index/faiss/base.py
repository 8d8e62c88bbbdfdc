"""Which index the next version's goes on from, and which of its vectors stay.

The hours of a day go on from the index of its night: centres and most vectors are the same, so an
hour assigns and writes those that moved by more than is declared, and what is new. Every hour is
compared with the night, not with the hour before, so small moves do not add up unseen. A whole
index is built at each night, where too many have moved, and where recall has suffered.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from publisher.index.backend import Wanted
from publisher.index.faiss.delta import Delta, laid_over, merged, vectors_in
from publisher.index.faiss.index import FaissIndex, parse
from publisher.index.faiss.kept import MOST_EARLIER, Linked, deltas_in, is_in_place, linked
from publisher.index.faiss.layout import InvertedFile, inverted_file
from publisher.index.moved import stay
from publisher.index.searched import Positions, Vectors
from publisher.itemids import item_ids_in
from twintide.arrays import Files
from twintide.checkpoints import CheckpointManifest
from twintide.config import PublishingConfig
from twintide.errors import Corrupt, Refused
from twintide.keys import GONE, NO_KEY, Keys, keys_of, standing
from twintide.verified import Verified
from twintide.versions import (
    INDEX,
    INDEX_BASE,
    VersionManifest,
    read_version_manifest,
    version_names,
)

MOST_RECALL_LOST = 0.01
"""Of a whole index that one goes on from, before another whole one is built."""


@dataclass(frozen=True)
class IndexBase:
    """A whole index that lies in the folder of a version."""

    version: str
    """Whose index it was first."""

    as_of: str
    path: Path
    files: Files
    """Its entry, under the name that it has in what goes on from it."""

    data: memoryview
    whole: FaissIndex
    keys: Keys
    """uint64 [items]: of each vector its item; NO_KEY for one that has left since."""

    recall: float | None
    first_probes: int
    """Lists that the oldest index of its line looks into which is left: that of the night."""

    earlier: Delta | None = None
    """What earlier versions have laid over it, where no item stands elsewhere for it."""

    links: Linked = field(default_factory=dict)
    """The files of that."""

    @property
    def alone(self) -> "IndexBase":
        """The whole index without what was laid over it."""
        return replace(self, keys=self.keys[: self.whole.items], earlier=None, links={})

    @property
    def overlaid(self) -> Positions:
        """Where vectors were laid over."""
        return self.earlier.positions if self.earlier else np.zeros(0, np.int64)

    @cached_property
    def file(self) -> InvertedFile:
        """Where its parts lie."""
        return inverted_file(self.data)

    def vectors(self, *, room: int = 0) -> Vectors:
        """As Base.vectors."""
        behind = len(self.keys) - self.whole.items
        found = vectors_in(self.file, width=self.whole.dimension, room=room + behind)
        found[self.overlaid] = self._overlay
        return found

    def at(self, places: Positions) -> Vectors:
        """The same at these places only."""
        newer = np.full(len(self.keys), GONE)
        newer[self.overlaid] = np.arange(len(self.overlaid))
        found = np.empty((len(places), self.whole.dimension), np.float32)
        is_newer = newer[places] != GONE
        found[is_newer] = self._overlay[newer[places[is_newer]]]
        found[~is_newer] = self.whole.vectors(places[~is_newer])
        return found

    @cached_property
    def _overlay(self) -> Vectors:
        """[vectors laid over, O · (D + 1)]"""
        if self.earlier is None:
            return np.zeros((0, self.whole.dimension), np.float32)
        file = inverted_file(self.earlier.newer, is_delta=True)
        return vectors_in(file, width=self.whole.dimension)


@dataclass(frozen=True)
class GoneOn:
    """An index that goes on from another."""

    base: IndexBase
    delta: Delta
    index: FaissIndex
    _stays: Positions
    _before: Vectors

    def kept(self, wanted: Wanted) -> Vectors:
        """float32 [items, O · (D + 1)]: as the index has them."""
        vectors = wanted.vectors.copy() if wanted.moved is None else wanted.vectors
        vectors[self._stays] = self._before
        return vectors


def base_of(
    root: Path, checkpoint: CheckpointManifest, config: PublishingConfig, *, verified: Verified
) -> IndexBase | None:
    """The index that a version of this checkpoint may go on from: that of the newest version of the
    same night and declaration, but for those that refresh another: they go as soon as the next one
    comes. None for a night, and where there is none.
    """
    if checkpoint.kind == "nightly" or config.index == "flat":
        return None
    for manifest in _newest_first(root):
        with suppress(Corrupt, Refused):
            is_of_line = (manifest.base, manifest.model) == (checkpoint.base, checkpoint.model)
            if is_of_line and manifest.counted is None:
                return _as_declared(root, manifest, config, verified)
    return None


def base_in(
    root: Path, manifest: VersionManifest, config: PublishingConfig, *, verified: Verified
) -> IndexBase | None:
    """The index of a version, where one that is declared now may go on from it; None also where it
    is damaged.
    """
    with suppress(Corrupt, Refused):
        return _as_declared(root, manifest, config, verified)
    return None


def _as_declared(
    root: Path, manifest: VersionManifest, config: PublishingConfig, verified: Verified
) -> IndexBase | None:
    """Raises Corrupt where it is damaged."""
    if config.index == "flat" or not _is_searched_as_declared(manifest.index, config):
        return None
    return _in_version(root / manifest.name, manifest, verified)


def gone_on(base: IndexBase, wanted: Wanted) -> GoneOn | None:
    """The index of what is wanted; None where too many have moved or are new."""
    places = standing(base.keys, wanted.keys)
    if base.earlier is not None and not is_in_place(places):
        wanted = _since_the_night(base, places, wanted)
        base = base.alone
        places = standing(base.keys, wanted.keys)
    keys, vectors, config = wanted.keys, wanted.vectors, wanted.config
    positions, stays, before = _newer(base, places, wanted)
    changed = len(np.union1d(base.overlaid, positions)) + int(np.count_nonzero(places == GONE))
    if changed > config.most_moved_ratio * len(keys) or len(keys) < base.whole.lists:
        return None
    numbers, codes = base.whole.lists_of(vectors[positions])
    newer = base.file.with_lists(numbers, [(each,) for each in codes])
    delta = Delta(places[: base.whole.items], newer, positions)
    all_of_them = merged([*([base.earlier] if base.earlier else []), delta])
    whole = laid_over(base.file, all_of_them, items=len(keys))
    return GoneOn(base, delta, parse(whole, dimension=vectors.shape[1]), stays, before)


def _since_the_night(base: IndexBase, places: Positions, wanted: Wanted) -> Wanted:
    """What is wanted, where also what was laid over the base may differ from it."""
    if wanted.moved is None:
        return wanted
    overlaid = places[base.overlaid]
    return replace(wanted, moved=np.union1d(wanted.moved, overlaid[overlaid != GONE]))


def _newer(
    base: IndexBase, places: Positions, wanted: Wanted
) -> tuple[Positions, Positions, Vectors]:
    """Of the items whose vectors may differ: which moved by more than is declared or are new,
    ascending; which stay, and as what.
    """
    place_in_base = np.full(len(wanted.keys), GONE)
    known = np.flatnonzero(places != GONE)
    place_in_base[places[known]] = known
    moved = np.arange(len(wanted.keys)) if wanted.moved is None else wanted.moved
    at = moved[place_in_base[moved] != GONE]
    now, before = wanted.vectors[at], base.at(place_in_base[at])
    stays = stay(before, now, moved_beyond=wanted.config.moved_beyond, items=len(wanted.keys))
    is_newer = place_in_base == GONE
    is_newer[at[~stays]] = True
    return np.flatnonzero(is_newer), at[stays], before[stays]


def _first_probes(root: Path, manifest: VersionManifest) -> int:
    for name in version_names(root):
        with suppress(Corrupt, Refused):
            one = read_version_manifest(root, name)
            is_of_line = manifest.base in {one.base, one.checkpoint} and one.model == manifest.model
            lists, probes = _lists_and_probes(one.index)
            if is_of_line and lists.isdigit():
                return int(probes)
    return int(_lists_and_probes(manifest.index)[1])


def _lists_and_probes(index: str) -> tuple[str, str]:
    """Of an inverted file its two numbers; of another index words."""
    kind, _, probes = index.partition(",nprobe")
    return kind.removeprefix("ivf"), probes


def _is_searched_as_declared(index: str, config: PublishingConfig) -> bool:
    lists, probes = _lists_and_probes(index)
    if config.nprobe == "auto":
        return lists.isdigit()
    return lists.isdigit() and int(probes) == min(config.nprobe, int(lists))


def _newest_first(root: Path) -> Iterator[VersionManifest]:
    for name in reversed(version_names(root)):
        with suppress(Corrupt, Refused):
            yield read_version_manifest(root, name)


def _in_version(folder: Path, manifest: VersionManifest, verified: Verified) -> IndexBase:
    listed = manifest.files
    name = INDEX if manifest.index_of is None else INDEX_BASE
    own = {each: entry for each, entry in listed.items() if each.startswith(("index.", "items."))}
    contents = verified.contents(folder, own)
    ids: pa.Array = item_ids_in(contents)
    base = IndexBase(
        version=manifest.index_of or manifest.name,
        as_of=manifest.name,
        path=folder / name,
        files={INDEX_BASE: listed[name]},
        data=contents[name],
        whole=parse(contents[name], dimension=manifest.dimension),
        keys=keys_of(ids),
        recall=_recall_when_whole(folder.parent, manifest),
        first_probes=_first_probes(folder.parent, manifest),
    )
    if manifest.index_of is None:
        return base
    deltas = deltas_in(contents)
    places = deltas[-1].places
    if is_in_place(places) and len(deltas) <= MOST_EARLIER:
        return replace(base, earlier=merged(deltas), links=linked(folder, listed))
    keys = np.where(places == GONE, np.uint64(NO_KEY), base.keys[places])
    return replace(base, keys=keys, as_of=base.version)


def _recall_when_whole(root: Path, manifest: VersionManifest) -> float | None:
    """Of the index that it goes on from, so that hours do not lose a little each; its own where the
    version of that is gone.
    """
    with suppress(Corrupt, Refused):
        if manifest.index_of is not None:
            return read_version_manifest(root, manifest.index_of).index_recall
    return manifest.index_recall

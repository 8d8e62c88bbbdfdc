"""The backend of Milvus: a collection for each whole index, and upserts for what goes on from it.

A crash between a collection and the manifest that names it leaves a collection that no version
needs, which the next publish or gc drops; a crash within an upsert leaves rows that no version
sees, which the next upsert takes back.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from publisher.index.backend import Indexed, Wanted, Write
from publisher.index.lists import lists_for
from publisher.index.milvus.base import MilvusBase, base_in, base_of
from publisher.index.milvus.columns import field, single_in
from publisher.index.milvus.found import MilvusIndex
from publisher.index.milvus.halves import BASE, Halves, halves_in
from publisher.index.milvus.rows import add, end, forget, rows_of, told_alike, undo_after
from publisher.index.milvus.service import Service
from publisher.index.moved import stay
from publisher.index.searched import Positions, Vectors
from publisher.itemids import item_ids_in
from publisher.tuning import tune
from twintide.arrays import Contents, Files
from twintide.config import MilvusConfig
from twintide.errors import Corrupt, Refused
from twintide.keys import GONE, keys_of, standing
from twintide.versions import IndexAt, VersionManifest

__all__ = ["base_in", "base_of", "drop", "go_on", "index", "made_live", "open", "unneeded"]

MOST_ROWS_RATIO = 4
"""Rows that a collection may have, for each item, before a whole index is built anew: those that
only earlier versions see are looked at by every search all the same.
"""


def go_on(wanted: Wanted, base: MilvusBase) -> Indexed | None:
    """None where too many have moved, or the collection of the base is gone."""
    if not np.isfinite(wanted.vectors).all():
        return None
    return _gone_on(Service(_config(wanted)), wanted, base)


def index(wanted: Wanted, base: MilvusBase | None) -> Indexed:
    """A collection of its own."""
    del base
    return _whole(Service(_config(wanted)), wanted)


def open(  # noqa: A001  of a backend
    manifest: VersionManifest, contents: Contents, *, items: int
) -> MilvusIndex:
    """The rows of its collection that are of this version. Raises Retryable where it is away."""
    if manifest.index_at is None:
        raise Corrupt(f"version {manifest.name} does not say where its index is")
    halves = halves_in(contents, width=manifest.dimension, items=items)
    service = Service(manifest.index_at.service)
    keys = keys_of(item_ids_in(contents))  # all was written when it was replayed, so none waits
    return MilvusIndex(service, manifest.index_at, keys, halves, reads="Bounded")


def made_live(at: IndexAt) -> None:
    """The alias stands for its collection, for whoever looks at Milvus; servers go by manifests."""
    Service(at.service).point(at.alias, at.collection)


def unneeded(config: MilvusConfig, *, known: Collection[str], needed: Collection[str]) -> list[str]:
    """Collections that begin with the prefix and are not needed. Raises Refused where another
    installation has the prefix: its alias stands for what no version here knows.
    """
    service = Service(config)
    alias = f"{config.prefix}_live"
    live = service.pointed(alias)
    if live is not None and live not in known:
        raise Refused(
            f"alias {alias} of the Milvus at {config.uri} stands for {live}, and no version here "
            "names that: another installation has the prefix",
            hint="give publishing.milvus another prefix; or drop the alias, if that is no more",
        )
    return [name for name in service.collections() if name not in needed]


def drop(config: MilvusConfig, names: Sequence[str]) -> None:
    """Remove these collections, and the alias where it stands for one."""
    service = Service(config)
    alias = f"{config.prefix}_live"
    if names and service.pointed(alias) in names:
        service.unpoint(alias)
    for name in names:
        service.drop(name)


def _whole(service: Service, wanted: Wanted) -> Indexed:
    halves = Halves.whole(wanted.vectors)
    vectors = halves.at(np.arange(len(wanted.keys)))
    at = IndexAt(
        kind="milvus",
        service=service.config,
        collection=_next_name(service),
        epoch=0,
        rows=len(vectors),
        lists=lists_for(len(vectors), wanted.config.index),
        probes=1,
        columns=tuple(wanted.attributes),
        single=single_in(wanted.attributes),
    )
    service.create(
        at.collection,
        width=vectors.shape[1],
        numbers=[field(at, name) for name in at.single],
        lists=[field(at, name) for name in at.columns if name not in at.single],
    )
    everything = np.arange(len(vectors))
    rows = rows_of(at, wanted.keys, vectors, wanted.attributes, everything, first=0)
    add(service, at.collection, rows)
    service.build(at.collection, lists=at.lists)
    made = MilvusIndex(service, at, wanted.keys, halves)
    return _tuned(made, wanted, vectors, halves.write_whole)


def _gone_on(service: Service, wanted: Wanted, base: MilvusBase) -> Indexed | None:
    kept, before, changed = _compared(wanted, base)
    at, gone = base.at, np.setdiff1d(base.keys, wanted.keys)
    left = len(changed) + len(gone)
    if left > wanted.config.most_moved_ratio * len(kept) or not _fits(wanted, base):
        return None
    if not service.has(at.collection):
        return None
    undo_after(service, at)
    forget(service, at, base.epochs)
    if service.count(at.collection) + len(changed) > MOST_ROWS_RATIO * len(kept):
        return None
    halves = base.halves.gone_on(kept, before)
    vectors = halves.at(np.arange(len(kept)))
    come_to = {"epoch": at.epoch + 1, "rows": at.rows + len(changed)}
    now = at.model_copy(update={"service": service.config, **come_to})
    new = rows_of(now, wanted.keys, vectors, wanted.attributes, changed, first=at.rows)
    add(service, at.collection, new)  # 1. what no version sees yet
    ended = np.concatenate((gone, wanted.keys[changed][before[changed] >= 0]))
    end(service, now, ended)  # 2. what this one sees not
    service.settle(at.collection)
    write = partial(_write_beside, base, halves)
    made = MilvusIndex(service, now, wanted.keys, halves)
    return replace(_tuned(made, wanted, vectors, write), index_of=base.version)


def _compared(wanted: Wanted, base: MilvusBase) -> tuple[Vectors, Positions, Positions]:
    """The vectors that are to be indexed, where each item stood before, and the items whose rows
    are others.
    """
    places = standing(base.keys, wanted.keys)
    before = np.full(len(wanted.keys), GONE)
    known = np.flatnonzero(places != GONE)
    before[places[known]] = known
    at, were = places[known], base.halves.at(known)
    declared, now = wanted.config.moved_beyond, wanted.vectors[at]
    stays = stay(were, now, moved_beyond=declared, items=len(wanted.keys))
    kept = wanted.vectors.copy()
    kept[at[stays]] = were[stays]
    is_same = np.zeros(len(kept), np.bool_)
    is_same[at[stays]] = True
    if _same_columns(wanted, base):
        is_same &= told_alike(wanted.attributes, base.attributes, before)
    return kept, before, np.flatnonzero(~is_same)


def _fits(wanted: Wanted, base: MilvusBase) -> bool:
    """Whether the collection has the columns that are wanted, and is indexed as is declared."""
    lists = lists_for(len(wanted.keys), wanted.config.index)
    is_alike = (lists == 1) == (base.at.lists == 1)
    is_held = set(base.at.single) <= set(single_in(wanted.attributes))
    return _same_columns(wanted, base) and is_held and is_alike


def _same_columns(wanted: Wanted, base: MilvusBase) -> bool:
    return base.at.columns == tuple(wanted.attributes) == tuple(base.attributes)


def _tuned(made: MilvusIndex, wanted: Wanted, vectors: Vectors, write: Write) -> Indexed:
    """Recall is measured at each, and as many lists are looked into as that takes."""
    recall, config = None, wanted.config
    if made.lists > 1:
        if config.nprobe == "auto":
            recall = tune(made, wanted.best, recall=config.index_recall)
        else:
            made.look_into(config.nprobe)
            recall = wanted.best.found_by(made)
    return Indexed(made, vectors, recall, write, at=made.at)


def _write_beside(base: MilvusBase, halves: Halves, folder: Path) -> Files:
    return {f"{BASE}.npy": base.entry} | halves.write_beside(base.night, folder)


def _next_name(service: Service) -> str:
    before = f"{service.config.prefix}_"
    taken = [name.removeprefix(before) for name in service.collections()]
    return f"{before}{max((int(each) for each in taken if each.isdigit()), default=0) + 1:06d}"


def _config(wanted: Wanted) -> MilvusConfig:
    if wanted.config.milvus is None:
        raise Refused("publishing.milvus says nothing", hint="it has the address of a Milvus")
    return wanted.config.milvus

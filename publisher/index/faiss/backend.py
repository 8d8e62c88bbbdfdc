"""The backend of Faiss: whole indexes, and those of hours that go on from their night's."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal

import numpy as np

from publisher.index.backend import Indexed, Wanted
from publisher.index.faiss.base import MOST_RECALL_LOST, IndexBase, base_in, base_of, gone_on
from publisher.index.faiss.index import FaissIndex, build, parse
from publisher.index.faiss.kept import whole_index, write_delta, write_whole
from publisher.index.lists import list_count
from publisher.tuning import Best, tune
from twintide.arrays import Contents
from twintide.config import MilvusConfig, PublishingConfig
from twintide.versions import IndexAt, VersionManifest

MOST_MORE_PROBES = 1.5
"""Times as many lists as by night an hour looks into before it learns centres of its own: one or
two steps of `tune`. With others it often looked into as many.
"""

__all__ = ["base_in", "base_of", "drop", "go_on", "index", "made_live", "open", "unneeded"]


def go_on(wanted: Wanted, base: IndexBase) -> Indexed | None:
    """None where too many have moved, or it finds too few of what an exact search would."""
    made = gone_on(base, wanted) if _kind(wanted) != "flat" else None
    if made is None:
        return None
    recall = wanted.best.found_by(made.index)
    if not is_as_good(recall, base, wanted):
        return None
    write = partial(write_delta, base.path, base.files, made.base.links, made.delta)
    return Indexed(made.index, made.kept(wanted), recall, write, base.version)


def index(wanted: Wanted, base: IndexBase | None) -> Indexed:
    """A whole one, of the centres of the base where these are as good as others."""
    kind = _kind(wanted)
    whole = _with_centres_of(base, wanted) if base and kind != "flat" else None
    whole = whole or build(wanted.vectors, kind=kind)
    return Indexed(whole, wanted.vectors, _tuned(whole, wanted), partial(write_whole, whole))


def _kind(wanted: Wanted) -> Literal["auto", "flat", "ivf"]:
    """k-means stops at NaN. The gate refuses such a version; a flat one can be kept for a look."""
    new = wanted.vectors if wanted.moved is None else wanted.vectors[wanted.moved]
    return wanted.config.index if np.isfinite(new).all() else "flat"


def open(  # noqa: A001  of a backend
    manifest: VersionManifest, contents: Contents, *, items: int
) -> FaissIndex:
    """The index whose bytes a version has, or gives by laying its delta over the other."""
    return parse(whole_index(contents, items=items), dimension=manifest.dimension)


def made_live(at: IndexAt) -> None:
    """Nothing: an index is a file of its version."""
    del at


def unneeded(config: MilvusConfig, *, known: Collection[str], needed: Collection[str]) -> list[str]:
    """Nothing lies outside of versions."""
    del config, known, needed
    return []


def drop(config: MilvusConfig, names: Sequence[str]) -> None:
    """Nothing: it goes with the folder of its version."""
    del config, names


def _with_centres_of(base: IndexBase, wanted: Wanted) -> FaissIndex | None:
    """A whole index of the centres that the base has, which takes a tenth of learning others; None
    where it must look into half more lists than that of the night to find as much.
    """
    whole = base.whole
    if wanted.config.nprobe != "auto" or whole.lists != list_count(len(wanted.keys)):
        return None
    made = whole.refilled(wanted.vectors)
    _tuned(made, wanted)
    return made if made.probes <= MOST_MORE_PROBES * base.first_probes else None


def is_as_good(recall: float, base: IndexBase, wanted: Wanted) -> bool:
    """Whether an index that goes on from another finds enough: as much as is declared, or as the
    other one finds of its own vectors for the same queries, which may be harder than those of its
    night.
    """
    least = least_recall(base, wanted.config)
    if recall >= least - MOST_RECALL_LOST:
        return True
    if base.recall is None or base.recall < least:
        return False
    same = Best.of(base.alone.vectors(), wanted.asked).found_by(base.whole)
    return recall >= same - MOST_RECALL_LOST


def least_recall(base: IndexBase, config: PublishingConfig) -> float:
    """What an index that goes on from another is measured by: also by what is declared, or it might
    lose a little each hour, and a larger `index_recall` would wait for the night.
    """
    could_find_more = config.nprobe == "auto" and not base.whole.looks_into_all
    return max(base.recall or 0.0, config.index_recall if could_find_more else 0.0)


def _tuned(whole: FaissIndex, wanted: Wanted) -> float | None:
    if whole.kind == "flat":
        return None
    config = wanted.config
    if config.nprobe == "auto":
        return tune(whole, wanted.best, recall=config.index_recall)
    whole.look_into(config.nprobe)
    return wanted.best.found_by(whole)

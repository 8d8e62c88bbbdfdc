"""Look into versions: is one sound, and what changed between two? Nothing here changes anything."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher import samples
from publisher.index.searched import Positions, directions
from publisher.reader import LoadedVersion, load_version, load_where_declared
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.versions import version_names

OVERLAP_K = 100
"""Answers are compared by their first so many items."""

NAMED = 10
"""Items that are named of those that came, went or moved."""


@dataclass(frozen=True)
class Moved:
    """An item that both versions have."""

    item_id: int | str
    cosine: float
    """Between its two vectors."""


@dataclass(frozen=True)
class Difference:
    """What changed from one version to another."""

    before: str
    after: str
    items_gained: int
    items_lost: int
    items_in_both: int
    gained: list[int | str]
    """The first of those that came, in index order."""

    lost: list[int | str]
    """The first of those that went."""

    mean_cosine: float | None
    """Between the two vectors of each item that both have: 1 where nothing moved. None where there
    is none, or where the widths differ.
    """

    moved: list[Moved]
    """Those that moved most, the furthest first."""

    overlap: float | None
    """Of the first 100 items that the older one answers to the newer one's sample queries, the
    share that the newer one answers too, in the mean. None where the older one cannot be asked
    them, as it reads other features.
    """


def verify(deployment: Deployment, name: str | None = None) -> dict[str, str | None]:
    """Version -> what is wrong with it, or None: every byte hashed, every sample query replayed.

    Raises Refused where there is no version of that name, or none at all.
    """
    root = deployment.versions_dir
    if name is not None:
        return {name: _damage(deployment, name)}
    names = version_names(root)
    if not names:
        raise Refused(f"there is no version in {root}", hint="`twintide publish -c FILE` makes one")
    found: dict[str, str | None] = {}
    for one in names:
        with suppress(Refused):  # gc may take one away meanwhile
            found[one] = _damage(deployment, one)
    return found


def diff(deployment: Deployment, before: str, after: str) -> Difference:
    """What changed between two versions. Raises Refused or Corrupt as load_version."""
    root = deployment.versions_dir
    old, new = load_version(root, before), load_version(root, after)
    _, *places = np.intersect1d(old.item_keys, new.item_keys, return_indices=True)
    old_places, new_places = (found.astype(np.int64) for found in places)
    cosines = _cosines(old, old_places, new, new_places)
    return Difference(
        before=before,
        after=after,
        items_gained=len(new.item_keys) - len(new_places),
        items_lost=len(old.item_keys) - len(old_places),
        items_in_both=len(old_places),
        gained=_without(new, new_places),
        lost=_without(old, old_places),
        mean_cosine=None if cosines is None else float(cosines.mean()),
        moved=[] if cosines is None else _furthest(new, new_places, cosines),
        overlap=_overlap(old, new),
    )


def _damage(deployment: Deployment, name: str) -> str | None:
    try:
        load_where_declared(deployment.versions_dir, name, declared=deployment.publishing.milvus)
    except Corrupt as error:
        return error.message
    return None


def _without(version: LoadedVersion, places: Positions) -> list[int | str]:
    """The ids of some items of a version that are not at these places."""
    is_other = np.ones(len(version.item_keys), np.bool_)
    is_other[places] = False
    return _ids(version, np.flatnonzero(is_other)[:NAMED])


def _ids(version: LoadedVersion, places: Positions) -> list[int | str]:
    found: list[int | str] = version.item_ids.take(pa.array(places)).to_pylist()
    return found


def _cosines(
    old: LoadedVersion, old_places: Positions, new: LoadedVersion, new_places: Positions
) -> npt.NDArray[np.float32] | None:
    """Of each item that both have, between its two vectors; None where there is none, or where
    their widths differ.
    """
    if not len(old_places) or old.index.dimension != new.index.dimension:
        return None
    before, after = (
        directions(version.index.vectors(places), output_width=version.manifest.model.output_width)
        for version, places in ((old, old_places), (new, new_places))
    )
    if before.shape != after.shape:
        return None
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines: npt.NDArray[np.float32] = np.einsum("nd,nd->n", before, after)
    cosines /= np.maximum(lengths, 1e-12)
    return cosines


def _furthest(
    version: LoadedVersion, places: Positions, cosines: npt.NDArray[np.float32]
) -> list[Moved]:
    furthest = np.argsort(cosines, kind="stable")[:NAMED]
    pairs = zip(_ids(version, places[furthest]), cosines[furthest].tolist(), strict=True)
    return [Moved(item_id, cosine) for item_id, cosine in pairs]


def _overlap(old: LoadedVersion, new: LoadedVersion) -> float | None:
    if old.manifest.model.query != new.manifest.model.query:
        return None
    encoded = samples.queries(new.model, new.manifest.events, new.memories)
    before, after = (
        samples.keys_at(each.item_keys, each.search(encoded, min(OVERLAP_K, each.index.items))[1])
        for each in (old, new)
    )
    shares = [np.isin(were, are).mean() for were, are in zip(before, after, strict=True)]
    return float(np.mean(shares))

"""Look into versions: is one sound, and what changed between two? Nothing here changes anything."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from publisher.index import Positions, directions
from publisher.reader import LoadedVersion, load_version
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.versions import version_names


@dataclass(frozen=True)
class Difference:
    """What changed from one version to another."""

    before: str
    after: str
    items_gained: int
    items_lost: int
    items_in_both: int
    mean_cosine: float | None
    """Between the two vectors of each item that both have: 1 where nothing moved. None where there
    is none, or where the widths differ.
    """


def verify(deployment: Deployment, name: str | None = None) -> dict[str, str | None]:
    """Version -> what is wrong with it, or None: every byte hashed, every sample query replayed.

    Raises Refused where there is no version of that name, or none at all.
    """
    root = deployment.versions_dir
    if name is not None:
        return {name: _damage(root, name)}
    names = version_names(root)
    if not names:
        raise Refused(f"there is no version in {root}", hint="`twintide publish -c FILE` makes one")
    found: dict[str, str | None] = {}
    for one in names:
        with suppress(Refused):  # gc may take one away meanwhile
            found[one] = _damage(root, one)
    return found


def diff(deployment: Deployment, before: str, after: str) -> Difference:
    """What changed between two versions. Raises Refused or Corrupt as load_version."""
    root = deployment.versions_dir
    old, new = load_version(root, before), load_version(root, after)
    _, *places = np.intersect1d(old.item_keys, new.item_keys, return_indices=True)
    old_places, new_places = (found.astype(np.int64) for found in places)
    return Difference(
        before=before,
        after=after,
        items_gained=len(new.item_keys) - len(new_places),
        items_lost=len(old.item_keys) - len(old_places),
        items_in_both=len(old_places),
        mean_cosine=_mean_cosine(old, old_places, new, new_places),
    )


def _damage(root: Path, name: str) -> str | None:
    try:
        load_version(root, name)
    except Corrupt as error:
        return error.message
    return None


def _mean_cosine(
    old: LoadedVersion, old_places: Positions, new: LoadedVersion, new_places: Positions
) -> float | None:
    if not len(old_places) or old.index.dimension != new.index.dimension:
        return None
    before, after = (
        directions(version.index.vectors(places), output_width=version.manifest.model.output_width)
        for version, places in ((old, old_places), (new, new_places))
    )
    if before.shape != after.shape:
        return None
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float((np.einsum("nd,nd->n", before, after) / np.maximum(lengths, 1e-12)).mean())

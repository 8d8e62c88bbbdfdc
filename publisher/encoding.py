"""The vectors of a version's items: those whose inputs changed since its index began are encoded,
all others are as that index has them.

Nothing is guessed: an item stays where the candidate tower would be told bit by bit what it was
told then. Checkpoints say which rows they touched. Where one cannot tell, every item is encoded: a
night trained the towers, a listing changed, or the model is told of an item what changes with time.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from publisher.catalogue import Items
from publisher.index.backend import Base
from publisher.index.searched import Positions, Vectors
from twintide.checkpoints import CheckpointManifest, OpenCheckpoint
from twintide.derived.catalogue import SAID
from twintide.derived.state import ITEMS, stateless
from twintide.keyedrows import KEYS
from twintide.keys import GONE, NO_KEYS, Keys, among, distinct, standing
from twintide.listed import ListingRef
from twintide.model.two_tower import TwoTower
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids, take
from twintide.rowstore import RowStore
from twintide.storefile import LastSaved, open_store, rows_between
from twintide.verified import Verified

Bools = npt.NDArray[np.bool_]
_OF_TOWERS = ("dense.", "scale.")


@dataclass(frozen=True)
class Since:
    """What the index of a base was built of."""

    folder: Path
    checkpoint: CheckpointManifest
    listing: ListingRef | None

    def saved(self) -> LastSaved:
        """Its rows."""
        return LastSaved(self.folder, self.checkpoint.stores, self.checkpoint.files)


@dataclass(frozen=True)
class Anew:
    """Vectors of now."""

    vectors: Vectors
    """float32 [items, O · (D + 1)]"""

    positions: Positions
    """Of those that were encoded, ascending; the others are as the base keeps them."""


def encoded_anew(model: TwoTower, items: Items, base: Base, moved: Bools) -> Anew:
    """The vectors of these items, of which `moved` [items] and those that are new are encoded."""
    places = standing(base.keys, items.keys)
    known = places != GONE
    stays = np.zeros(len(items.keys), np.bool_)
    stays[places[known]] = True
    stays &= ~moved
    positions = np.flatnonzero(~stays)
    if np.array_equal(places, np.arange(len(places))):
        vectors = base.vectors(room=len(stays) - len(places))
    else:
        vectors = np.empty((len(stays), model.spec.index_width()), np.float32)
        vectors[places[known]] = base.vectors()[known]
    vectors[positions] = model.candidate_vectors(take(items.encoded, positions))
    return Anew(vectors, positions)


def moved_since(
    since: Since,
    folder: Path,
    checkpoint: OpenCheckpoint,
    items: Items,
    listing: ListingRef | None,
    *,
    verified: Verified | None = None,
) -> Bools | None:
    """[items]: of which the tower of the checkpoint in `folder` is told something else than then,
    or may be; None where it may be of any. An item that was not there then may be among the others.
    """
    own, before = checkpoint.manifest, since.checkpoint
    if not _tower_is_the_same(before, own) or since.listing != listing or _grows_old(own.model):
        return None
    now = LastSaved(folder, own.stores, own.files)
    said = _said_anew(since.saved(), now, checkpoint)
    changed = {
        name: _changed(f"table.{name}", since.saved(), now, checkpoint, verified)
        for name in own.model.learning_tables(("candidate",))
    }
    if said is None or any(keys is None for keys in changed.values()):
        return None
    moved = among(items.keys, said)
    for feature in own.model.lookups("candidate"):
        keys = changed.get(feature.table)
        if keys is not None:
            moved |= _having(items.encoded, feature.name, keys)
    return moved


def _tower_is_the_same(before: CheckpointManifest, own: CheckpointManifest) -> bool:
    fixed, other = (
        (
            each.events,
            each.model,
            each.vectors,
            {name: one for name, one in each.files.items() if name.startswith(_OF_TOWERS)},
        )
        for each in (before, own)
    )
    return fixed == other


def _grows_old(model: ModelSpec) -> bool:
    """Whether the candidate is told what changes though nothing happens, as an item's age."""
    return any(each.derived_from is not None or each.reads_time for each in model.candidate)


def _said_anew(then: LastSaved, now: LastSaved, checkpoint: OpenCheckpoint) -> Keys | None:
    """Ascending keys of items of which events said something since, the same or not."""
    stores = checkpoint.parts.stores
    if ITEMS not in stores:
        return None  # as an older checkpoint has them
    found = [NO_KEYS]
    for feature in stateless(checkpoint.manifest.model.candidate):
        rows = rows_between(f"{ITEMS}{SAID}{feature.name}", then, now)
        if rows is None:
            return None
        found.append(_keys_at(stores[ITEMS], rows + 1))
    return distinct(np.concatenate(found))


def _changed(
    name: str,
    then: LastSaved,
    now: LastSaved,
    checkpoint: OpenCheckpoint,
    verified: Verified | None,
) -> Keys | None:
    """Ascending keys whose row in a table is another one, or was; None where the row of all that
    have none has changed.
    """
    rows = rows_between(name, then, now)
    if rows is None:
        return None
    before = open_store(then.folder, name, then.stores[name], then.files, verified=verified)
    after = checkpoint.parts.stores[name]
    in_both = rows < min(len(before), len(after))
    old, new = (store.contents(rows[in_both]) for store in (before, after))
    differs = (old[KEYS] != new[KEYS]) | (old["weights"] != new["weights"]).any(axis=1)
    if differs[rows[: len(differs)] == 0].any():
        return None
    in_one = (_keys_at(store, rows[~in_both]) for store in (before, after))
    return distinct(np.concatenate((old[KEYS][differs], new[KEYS][differs], *in_one)))


def _keys_at(store: RowStore, rows: Positions) -> Keys:
    """Of those of the rows that it has: one of an earlier time, or of another line, has fewer."""
    keys: Keys = store.contents(rows[rows < len(store)])[KEYS]
    return keys


def _having(encoded: Encoded, name: str, keys: Keys) -> Bools:
    """[items]: whether one of its ids is among these."""
    ids = encoded[name]
    found = np.zeros(len(ids), np.bool_)
    if isinstance(ids, Ids):
        found[ids.row_of_key()[among(ids.keys, keys)]] = True
    return found

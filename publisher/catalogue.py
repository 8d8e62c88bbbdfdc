"""Which items a version answers with, and what the candidate tower is told of each.

Those that were ever clicked, as the checkpoint knows them, and those that the source of items lists
beside; without those that are not to be had any more.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.itemids import ITEM_COLUMN
from twintide.checkpoints import CheckpointManifest
from twintide.clock import to_unix_ms
from twintide.errors import Refused
from twintide.features.columns import from_columns
from twintide.keys import NO_KEYS, Keys, keys_of
from twintide.listed import Listing
from twintide.ragged import Encoded, joined, take

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Items:
    """The items of a version, in index order: first those that were clicked."""

    ids: pa.Array
    keys: Keys
    encoded: Encoded
    clicked: int
    """How many of them were ever clicked."""

    idle: Keys
    """uint64 [n]: those that are left out, as no event was about them lately."""


def items_of(
    checkpoint: CheckpointManifest,
    catalogue: pa.Table,
    listing: Listing | None,
    is_active: Bools | None = None,
) -> Items:
    """Of what a checkpoint knows of items, one row each, but for those that are not active. Raises
    Refused where there is none.
    """
    known = _clicked(checkpoint, catalogue)
    clicked = known if is_active is None else _only(known, is_active)
    found = clicked if listing is None else _as_listed(checkpoint, clicked, listing)
    if not len(found.keys) and not clicked.clicked:
        raise Refused(
            f"checkpoint {checkpoint.name} knows no item, so there is nothing to publish",
            hint="ingest clicks and train first: `twintide train nightly -c FILE`",
        )
    if not len(found.keys):
        raise Refused(
            f"none of the {clicked.clicked:,} items that were clicked is to be had any more, and "
            "the source of items lists no other",
            hint="`items.complete` and `items.available_column` say what leaves the index",
        )
    return found


def _clicked(checkpoint: CheckpointManifest, catalogue: pa.Table) -> Items:
    ids = catalogue[ITEM_COLUMN].combine_chunks()
    encoded = from_columns(catalogue, checkpoint.model.candidate, "candidate")
    return Items(ids, keys_of(ids), encoded, len(ids), NO_KEYS)


def _only(known: Items, is_active: Bools) -> Items:
    stay = np.flatnonzero(is_active)
    return Items(
        ids=known.ids.take(pa.array(stay)),
        keys=known.keys[stay],
        encoded=take(known.encoded, stay),
        clicked=len(stay),
        idle=known.keys[~is_active],
    )


def _as_listed(manifest: CheckpointManifest, clicked: Items, listing: Listing) -> Items:
    features = manifest.model.candidate
    seen = listing.seen_by(manifest.events)
    # As of the checkpoint, so that the same checkpoint and listing give the same bytes.
    at_ms = to_unix_ms(manifest.as_of) if manifest.as_of else 0
    moments = np.full(len(clicked.keys), at_ms, np.int64)
    told = seen.overlaid(
        clicked.encoded, features, clicked.keys, at_ms=moments, refreshed_ms=moments
    )
    stay = np.flatnonzero(seen.may_be_answered(clicked.keys))
    beside = seen.unclicked(np.concatenate((clicked.keys, clicked.idle)))
    return Items(
        ids=pa.concat_arrays([clicked.ids.take(pa.array(stay)), seen.ids_of(beside)]),
        keys=np.concatenate((clicked.keys[stay], seen.keys[beside])),
        encoded=joined(take(told, stay), seen.encoded(features, beside, at_ms=at_ms)),
        clicked=len(stay),
        idle=clicked.idle[seen.may_be_answered(clicked.idle)],
    )

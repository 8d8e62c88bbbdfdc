"""Make a version from a checkpoint: all item vectors anew, their index, and what a query needs.

A draft is a version in memory, not judged yet; publishing writes it to a hidden folder and gives
that its name in one step. The same checkpoint and listing give the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from publisher import index as item_index
from publisher import samples
from publisher.activity import UserNumbers, in_checkpoint
from publisher.catalogue import Items, items_of
from publisher.histories import Memories, memories_in, memory_arrays
from publisher.index import ItemIndex, Positions, Scores, Vectors
from publisher.reader import HISTORY_PREFIX, ITEM_COLUMN
from twintide.arrays import MANIFEST, Arrays, write_arrays, write_file, write_table
from twintide.checkpoints import Checkpoint, CheckpointManifest
from twintide.config import PublishingConfig
from twintide.errors import Refused
from twintide.files import publish_folder_once, write_and_fsync
from twintide.keys import Keys
from twintide.listed import Listing
from twintide.model.two_tower import TwoTower, weights_in
from twintide.ragged import Encoded
from twintide.vectorstore import open_read
from twintide.versions import (
    INDEX,
    ITEM_IDS,
    GateReport,
    ServingState,
    VersionManifest,
    is_version_name,
    names_taken,
)


@dataclass(frozen=True)
class Draft:
    """A version that is not written yet."""

    checkpoint: CheckpointManifest
    model: TwoTower
    """Both sides."""

    items: Items
    """In index order."""

    vectors: Vectors
    """float32 [items, O · (D + 1)]."""

    index: ItemIndex
    memories: Memories
    user_numbers: UserNumbers | None
    catalogue_items: int
    """Items that were ever clicked, as the checkpoint knows, to be had or not."""

    listing: Listing | None
    """What the source of items said, where one is declared."""

    @property
    def item_keys(self) -> Keys:
        """uint64 [items], in index order."""
        return self.items.keys

    def search(self, encoded: Encoded, k: int) -> tuple[Scores, Positions]:
        """As LoadedVersion.search."""
        return self.index.search(self.model.query_vectors(encoded), k)


def draft_of(
    checkpoint: Checkpoint,
    config: PublishingConfig,
    *,
    vectors_dir: Path,
    listing: Listing | None = None,
) -> Draft:
    """Build a version in memory; its fixed vectors lie in `vectors_dir`. Raises Refused where there
    are no items, Corrupt where its parts do not fit or its vectors are not there.
    """
    manifest, spec = checkpoint.manifest, checkpoint.manifest.model
    items = items_of(checkpoint, listing)
    model = TwoTower.from_arrays(
        spec,
        weights_in(checkpoint.arrays),
        device=torch.device("cpu"),
        vectors=open_read(vectors_dir, spec, manifest.vectors, who=manifest.name),
    )
    vectors = model.candidate_vectors(items.encoded)
    return Draft(
        checkpoint=manifest,
        model=model,
        items=items,
        vectors=vectors,
        index=_indexed(vectors, config),
        memories=memories_in(checkpoint.arrays, checkpoint.manifest.model, prefix="state.history"),
        user_numbers=in_checkpoint(checkpoint.arrays, checkpoint.manifest.model),
        catalogue_items=len(checkpoint.catalogue),
        listing=listing,
    )


def publish_version(root: Path, name: str, draft: Draft, *, gate: GateReport) -> VersionManifest:
    """Make a version visible, whole; a crash leaves a hidden folder at most.

    Raises FileExistsError where the name is taken.
    """
    with publish_folder_once(root / name) as folder:
        files = write_arrays(folder, _arrays(draft))
        files |= write_table(folder, ITEM_IDS, pa.table({ITEM_COLUMN: draft.items.ids}))
        files |= {INDEX: write_file(folder, INDEX, draft.index.to_bytes())}
        checkpoint = draft.checkpoint
        manifest = VersionManifest(
            name=name,
            checkpoint=checkpoint.name,
            kind=checkpoint.kind,
            base=checkpoint.base,
            day=checkpoint.day,
            position=checkpoint.position,
            newest_event_at=checkpoint.newest_event_at,
            items=draft.index.items,
            dimension=draft.index.dimension,
            index=draft.index.kind,
            events=checkpoint.events,
            model=checkpoint.model,
            learning_hash=checkpoint.learning_hash,
            gate=gate,
            vectors=checkpoint.vectors,
            listing=draft.listing.ref if draft.listing else None,
            catalogue_items=draft.catalogue_items,
            files=files,
        )
        write_and_fsync(folder / MANIFEST, manifest.to_json())
    return manifest


def next_name(root: Path, state: ServingState) -> str:
    """The next free number. One that was ever live or is on the disk is not used again."""
    named = [*names_taken(root), *(change.current for change in state.history)]
    numbers = [int(name[1:]) for name in named if name is not None and is_version_name(name)]
    name = f"v{max(numbers, default=0) + 1:06d}"
    if not is_version_name(name):
        raise Refused(
            f"there is no number after v{max(numbers):06d} in {root}",
            hint="remove what is called so, if Twintide did not make it",
        )
    return name


def _indexed(vectors: Vectors, config: PublishingConfig) -> ItemIndex:
    # k-means stops at NaN. The gate refuses such a version; a flat one can be kept for a look.
    kind = config.index if np.isfinite(vectors).all() else "flat"
    return item_index.build(vectors, kind=kind, nprobe=config.nprobe)


def _arrays(draft: Draft) -> Arrays:
    encoded = samples.queries(draft.model, draft.checkpoint.events, draft.memories)
    answers = samples.answer(draft.model, draft.index, draft.item_keys, encoded)
    histories = memory_arrays(draft.memories, prefix=HISTORY_PREFIX)
    numbers = draft.user_numbers.to_arrays() if draft.user_numbers else {}
    return draft.model.arrays(("query",)) | histories | numbers | answers.to_arrays()

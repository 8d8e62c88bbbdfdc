"""Make a version from a checkpoint: all item vectors anew, their index, and what a query needs.

A draft is a version in memory, not judged yet; publishing writes it to a hidden folder and gives
that its name in one step. The same checkpoint and listing give the same bytes.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from publisher import samples
from publisher.activity import UserNumbers, in_checkpoint
from publisher.attributefiles import attribute_files
from publisher.attributes import Attributes, attribute_table, attributes_in
from publisher.catalogue import Items, items_of
from publisher.encoding import Bools, Since, encoded_anew, moved_since
from publisher.histories import Memories, memories_in, memory_arrays
from publisher.index.backend import Base, Indexed, Wanted
from publisher.index.backends import backend_called
from publisher.index.searched import ItemIndex, Positions, Scores, Vectors
from publisher.itemids import write_ids, write_ids_behind
from publisher.reader import HISTORY_PREFIX
from publisher.shared import Shared
from twintide.arrays import MANIFEST, Arrays, Files, write_arrays
from twintide.checkpoints import CheckpointManifest, OpenCheckpoint, open_checkpoint
from twintide.config import PublishingConfig
from twintide.derived.state import USERS
from twintide.errors import Corrupt, Refused
from twintide.files import publish_folder_once, write_and_fsync
from twintide.keys import Keys
from twintide.listed import Listing
from twintide.model.exported.query import QueryTower
from twintide.model.two_tower import TwoTower, weights_in
from twintide.ragged import Encoded
from twintide.records import Counted
from twintide.storefile import share
from twintide.vectorstore import open_read
from twintide.verified import Verified
from twintide.versions import (
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
    folder: Path
    """Of the checkpoint."""

    model: TwoTower
    """Both sides."""

    query: QueryTower
    """As a server will apply it."""

    items: Items
    """In index order."""

    indexed: Indexed
    memories: Memories
    user_numbers: UserNumbers | None
    catalogue_items: int
    """Items that were ever clicked, as the checkpoint knows, to be had or not."""

    filters: tuple[str, ...]
    """Event columns by which requests may filter."""

    listing: Listing | None
    """What the source of items said, where one is declared."""

    publishing_hash: str
    """Of what is declared of it."""

    counted: Counted | None = None
    """How far all but the weights has come beyond the checkpoint, if it has."""

    refreshes: str | None = None
    """The version that has the same weights and was judged, then."""

    @property
    def index(self) -> ItemIndex:
        """What it is searched with."""
        return self.indexed.index

    @property
    def vectors(self) -> Vectors:
        """float32 [items, O · (D + 1)], as they are indexed."""
        return self.indexed.vectors

    @property
    def item_keys(self) -> Keys:
        """uint64 [items], in index order."""
        return self.items.keys

    def search(self, encoded: Encoded, k: int) -> tuple[Scores, Positions]:
        """As LoadedVersion.search."""
        return self.index.search(self.model.query_vectors(encoded), k)


def draft_of(
    folder: Path,
    config: PublishingConfig,
    *,
    vectors_dir: Path,
    listing: Listing | None = None,
    base: Base | None = None,
    since: Since | None = None,
    verified: Verified | None = None,
) -> Draft:
    """Build a version in memory, of the checkpoint in `folder`; its fixed vectors lie in
    `vectors_dir`, and its index goes on from `base` where it can, which was made of `since`. Pages
    of files that are among `verified` are not checked again. Raises Refused where there are no
    items, Corrupt where its parts do not fit or its vectors are not there.
    """
    return draft_from(
        open_checkpoint(folder.parent, folder.name, verified=verified),
        folder,
        config,
        vectors_dir=vectors_dir,
        listing=listing,
        base=base,
        since=since,
        verified=verified,
    )


def draft_from(
    checkpoint: OpenCheckpoint,
    folder: Path,
    config: PublishingConfig,
    *,
    vectors_dir: Path,
    listing: Listing | None,
    base: Base | None,
    since: Since | None,
    verified: Verified | None,
    counted: Counted | None = None,
    refreshes: str | None = None,
) -> Draft:
    """The same of a checkpoint that is open, or of a count: then with how far that has come, and
    the version that it refreshes.
    """
    manifest, spec, parts = checkpoint.manifest, checkpoint.manifest.model, checkpoint.parts
    catalogue, of_users = _as_of(checkpoint)
    items = items_of(manifest, catalogue, listing, _active(checkpoint, config))
    fixed = open_read(vectors_dir, spec, manifest.vectors, who=manifest.name)
    model = TwoTower.from_arrays(
        spec,
        weights_in(parts.arrays),
        device=torch.device("cpu"),
        vectors=fixed,
        stores=parts.stores,
    )
    query = QueryTower(
        spec,
        model.small_arrays(("query",)) | _tables_apart(model, parts.stores),
        open_read(vectors_dir, spec, manifest.vectors, sides=("query",), who=manifest.name),
        stores=parts.stores,
    )
    newest_at = counted.newest_event_at if counted else manifest.newest_event_at
    memories = memories_in(parts, spec, prefix="state.history", newest_at=newest_at)
    asked = query.query_vectors(samples.queries(query, manifest.events, memories))
    moved = None
    if base is not None and since is not None:
        ref = listing.ref if listing else None
        moved = moved_since(since, folder, checkpoint, items, ref, verified=verified)
    return Draft(
        checkpoint=manifest,
        folder=folder,
        model=model,
        query=query,
        items=items,
        indexed=_indexed(model, items, asked, config, base, moved),
        memories=memories,
        user_numbers=in_checkpoint(of_users, spec),
        catalogue_items=len(catalogue),
        filters=config.filters,
        listing=listing,
        publishing_hash=config.publishing_hash(),
        counted=counted,
        refreshes=refreshes,
    )


def _active(checkpoint: OpenCheckpoint, config: PublishingConfig) -> npt.NDArray[np.bool_] | None:
    """[items]: which are in use, where that is declared; None where no day was counted."""
    days = config.active_within_days
    if days is None or checkpoint.catalogue is not None:
        return None
    return checkpoint.state(checkpoint.manifest.model).catalogue.active(within_days=days)


def _indexed(
    model: TwoTower,
    items: Items,
    asked: Vectors,
    config: PublishingConfig,
    base: Base | None,
    moved: Bools | None,
) -> Indexed:
    """What `moved` [items] since the base is encoded, or all: where nothing says what moved, and
    where no index goes on from the base, as what one is built of should not have been rounded.
    Vectors that are not finite the gate refuses; a version of them is kept for a look, in a file.
    """
    backend, told = backend_called(config.backend), _attributes(model, items, config)
    if base is not None and moved is not None:
        anew = encoded_anew(model, items, base, moved)
        some = Wanted(items.keys, anew.vectors, asked, config, anew.positions, told)
        if found := backend.go_on(some, base):
            return found
    wanted = Wanted(items.keys, model.candidate_vectors(items.encoded), asked, config, None, told)
    if not np.isfinite(wanted.vectors).all():
        return backend_called("faiss").index(wanted, None)
    return (backend.go_on(wanted, base) if base else None) or backend.index(wanted, base)


def _attributes(model: TwoTower, items: Items, config: PublishingConfig) -> Attributes:
    if not config.filters:
        return {}
    told = attribute_table(items.encoded, model.spec, config.filters)
    return attributes_in(told, model.spec, items=len(items.keys))


def _as_of(checkpoint: OpenCheckpoint) -> tuple[pa.Table, Arrays]:
    """What a checkpoint knows of items, and how active users are, as of its instant."""
    manifest = checkpoint.manifest
    if checkpoint.catalogue is not None:
        return checkpoint.catalogue, checkpoint.parts.arrays
    state = checkpoint.state(manifest.model)
    as_of = manifest.as_of or datetime.fromtimestamp(0, UTC)
    of_users = state.users_as_of(as_of)
    if of_users:
        of_users |= state.activity.arrays(prefix=USERS)
    return state.catalogue_table(as_of), of_users


def publish_version(root: Path, name: str, draft: Draft, *, gate: GateReport) -> VersionManifest:
    """Make a version visible, whole; a crash leaves a hidden folder at most.

    Raises FileExistsError where the name is taken.
    """
    checkpoint = draft.checkpoint
    shared = Shared.of(checkpoint.model, checkpoint.stores, checkpoint.files)
    with publish_folder_once(root / name) as folder:
        files = share(draft.folder, folder, shared.files)
        files |= write_arrays(folder, _arrays(draft))
        files |= _write_ids(root, folder, draft)
        if draft.filters:
            told = attribute_table(draft.items.encoded, draft.checkpoint.model, draft.filters)
            earlier = root / draft.indexed.index_of if draft.indexed.index_of else None
            files |= attribute_files(folder, told, earlier=earlier)
        files |= draft.indexed.write(folder)
        manifest = VersionManifest(
            name=name,
            checkpoint=checkpoint.name,
            kind=checkpoint.kind,
            base=checkpoint.base,
            day=checkpoint.day,
            position=checkpoint.position,
            newest_event_at=checkpoint.newest_event_at,
            counted=draft.counted,
            refreshes=draft.refreshes,
            items=draft.index.items,
            dimension=draft.index.dimension,
            index=draft.index.kind,
            index_of=draft.indexed.index_of,
            index_recall=draft.indexed.recall,
            index_at=draft.indexed.at,
            events=checkpoint.events,
            model=checkpoint.model,
            learning_hash=checkpoint.learning_hash,
            publishing_hash=draft.publishing_hash,
            gate=gate,
            vectors=checkpoint.vectors,
            listing=draft.listing.ref if draft.listing else None,
            catalogue_items=draft.catalogue_items,
            idle_items=len(draft.items.idle),
            stores=dict(shared.stores),
            files=files,
        )
        write_and_fsync(folder / MANIFEST, manifest.to_json())
    return manifest


def _write_ids(root: Path, folder: Path, draft: Draft) -> Files:
    ids, earlier = draft.items.ids, draft.indexed.index_of
    if earlier is not None:
        with suppress(Refused, Corrupt):  # gc took it away
            return write_ids_behind(root / earlier, folder, ids)
    return write_ids(folder, ids)


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


def _arrays(draft: Draft) -> Arrays:
    encoded = samples.queries(draft.query, draft.checkpoint.events, draft.memories)
    answers = samples.answer(draft.query, draft.index, draft.item_keys, encoded)
    histories = memory_arrays(draft.memories, prefix=HISTORY_PREFIX)
    numbers = draft.user_numbers.to_arrays() if draft.user_numbers else {}
    own = draft.model.small_arrays(("query",))
    own |= _tables_apart(draft.model, draft.checkpoint.stores)
    return own | histories | numbers | answers.to_arrays()


def _tables_apart(model: TwoTower, stores: Mapping[str, object]) -> Arrays:
    """Tables that the query tower reads and that do not lie among these, as an older checkpoint
    has them.
    """
    found: Arrays = {}
    for name in model.spec.learning_tables(("query",)):
        if f"table.{name}" not in stores:
            table = model.tables[name]
            found[f"table.{name}.weights"] = table.weights.numpy()
            found[f"table.{name}.keys"] = table.keys
    return found

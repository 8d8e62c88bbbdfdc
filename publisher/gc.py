"""Take away the versions, checkpoints, slices, vectors and listings that nothing needs any more.

What stays is decided by a pure plan: what is live or pinned, what one could go back to, the newest
of those that were never live or were left for good, what training stands on, and the newest of each
kind.
Folders lose their names while the state is locked, and go from the disk when it is free again: a
rollback waits for no deletion, and what was begun is finished by the next run. What cannot be read
or removed keeps nothing else from going.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from publisher import elsewhere, registry
from publisher.prune import unneeded
from twintide.checkpoints import CheckpointManifest, list_checkpoints
from twintide.clock import SystemClock
from twintide.config import Deployment
from twintide.counted import checkpoint_of, count_names, counts_dir
from twintide.errors import Retryable, TwintideError
from twintide.files import (
    exclusive_lock,
    hide_folder,
    make_folder,
    remove_hidden,
    sweep_temporaries,
)
from twintide.listings import listing_names
from twintide.telemetry import get_log
from twintide.vectorstore import store_names
from twintide.versions import (
    STATE,
    ServingState,
    VersionManifest,
    judged_live,
    read_state,
    read_version_manifest,
    version_names,
)

log = get_log("publisher")


UNNAMED_STAY_SECONDS = 48 * 3600.0
"""After a run has begun with them; no run takes as long."""

KEPT_FOR_A_LOOK = 3
"""Versions that stay besides those that one can go back to: refused, held, rolled back from."""


KEPT_WHILE_LOADED = 3
"""Versions that stay of those that refresh another: a server may just be loading the last but one.
"""

File = tuple[int, int]
"""A device, and a file on it, by whatever name."""

Sizes = Mapping[File, int]
NO_SIZES: Mapping[str, Sizes] = MappingProxyType({})


@dataclass(frozen=True)
class Keep:
    """How many of the newest of each kind stay."""

    versions: int
    """Those that a rollback can go back to."""

    hourly: int
    nightly: int
    bytes: int | None = None
    """Of all versions together, a file that several share counted once; None: as many as they
    have.
    """


@dataclass(frozen=True)
class Plan:
    """What may go, oldest first."""

    versions: tuple[str, ...]
    checkpoints: tuple[str, ...]
    vectors: tuple[str, ...] = ()
    """Stores that no version and no checkpoint names once these are gone."""

    listings: tuple[str, ...] = ()
    """The same of what a source of items said, but for the newest."""

    slices: tuple[str, ...] = ()
    """The first of the chain, and chains of other declarations; paths below `slices/`."""

    counts: tuple[str, ...] = ()
    """What was counted beyond checkpoints that go."""

    collections: tuple[str, ...] = ()
    """Of a Milvus: those of versions that go, and what a publish left that was killed."""


def plan(
    versions: Sequence[str],
    checkpoints: Sequence[CheckpointManifest],
    state: ServingState,
    *,
    served_from: Collection[str],
    servable: Collection[str],
    keep: Keep,
    files: Mapping[str, Sizes] = NO_SIZES,
    refreshing: Collection[str] = (),
) -> Plan:
    """What may go. Versions and checkpoints come oldest first; `served_from` are the checkpoints
    of the versions that `in_use` names, `servable` the versions that could be served again. `files`
    are those of each version, where their bytes are bounded. Those that are `refreshing` another
    one take no place of any else: nobody goes back to them.
    """
    pile = [name for name in dict.fromkeys(reversed(registry.live_pile(state))) if name in servable]
    others = [name for name in versions if name not in pile and name not in refreshing]
    passing = [name for name in versions if name in refreshing]
    must_stay = {*in_use(state, versions), *state.pins}
    newest = {*others[-KEPT_FOR_A_LOOK:], *passing[-KEPT_WHILE_LOADED:]}
    keeping = {*pile[: keep.versions], *newest, *must_stay}
    if keep.bytes is not None:
        in_turn = (*pile, *reversed(others), *reversed(passing))
        wanted = [name for name in in_turn if name in keeping - must_stay]
        keeping = must_stay | _within(keep.bytes, wanted, must_stay, files)
    needed = _needed(checkpoints, keep) | set(served_from)
    return Plan(
        versions=tuple(name for name in versions if name not in keeping),
        checkpoints=tuple(one.name for one in checkpoints if one.name not in needed),
    )


def _within(
    most_bytes: int, names: Sequence[str], must_stay: Collection[str], files: Mapping[str, Sizes]
) -> set[str]:
    """The first of the versions, as many as fit in beside what must stay."""
    taken: Sizes = {}
    for name in must_stay:
        taken = {**taken, **files.get(name, {})}
    found = set()
    for name in names:
        taken = {**taken, **files.get(name, {})}
        if sum(taken.values()) > most_bytes:
            break
        found.add(name)
    return found


def _sizes(folder: Path) -> Sizes:
    found: dict[File, int] = {}
    with suppress(OSError):  # what cannot be looked at takes no room that could be freed
        for path in folder.iterdir():
            stat = path.stat()
            found[stat.st_dev, stat.st_ino] = stat.st_size
    return found


def in_use(state: ServingState, versions: Collection[str]) -> set[str]:
    """The live version and the one that it refreshes, the one before it (after a rollback: the one
    held back), and the one of these versions that a rollback would go back to.
    """
    before = registry.target_among(versions, state)
    names = {state.current, state.previous, before, judged_live(state)}
    return {name for name in names if name is not None}


def run(deployment: Deployment, *, dry_run: bool = False) -> Plan:
    """Remove what the plan says, and finish what an earlier run began; returns what went or, in a
    dry run, what would go. Raises Retryable while a publish is at work or where the disk refuses,
    Corrupt where the state cannot be read.
    """
    root = deployment.versions_dir
    with registry.said_of_the_disk(root, who="gc"):
        return _run(deployment, dry_run=dry_run)


def _run(deployment: Deployment, *, dry_run: bool) -> Plan:
    root = deployment.versions_dir
    make_folder(root)
    with exclusive_lock(root / registry.PUBLISHER_LOCK, who="gc"):
        # The state is locked too: nobody may roll back to a version while it goes.
        with exclusive_lock(root / registry.LOCK, who="gc", wait_seconds=30.0):
            going = _planned(deployment)
            lost = _unneeded(deployment, going)
            hidden = _Hidden() if dry_run else _hidden(deployment, going)
        if not dry_run:
            _remove(deployment, going, hidden)  # before what they name: none must find it gone
            elsewhere.drop(lost)
    return replace(going, collections=tuple(name for names in lost.values() for name in names))


def _unneeded(deployment: Deployment, going: Plan) -> elsewhere.Unneeded:
    """Nothing where a version cannot be read, which may name any, or its Milvus is away: the next
    gc does it.
    """
    root, names = deployment.versions_dir, version_names(deployment.versions_dir)
    staying = [name for name in names if name not in going.versions]
    try:
        versions = [read_version_manifest(root, name) for name in names]
        elsewhere.name_live(registry.live_manifest(root, read_state(root)))
        return elsewhere.unneeded_by(versions, staying, declared=deployment.publishing.milvus)
    except TwintideError as error:
        log.warning("collections_kept", reason=error.message)
        return {}


def _planned(deployment: Deployment) -> Plan:
    root = deployment.versions_dir
    state = read_state(root)
    manifests = {name: _manifest(root, name) for name in version_names(root)}
    readable = {name: found for name, found in manifests.items() if found is not None}
    used = in_use(state, manifests) & set(manifests)
    checkpoints = _checkpoints(deployment) if used <= set(readable) else None
    going = plan(
        list(manifests),
        checkpoints or (),
        state,
        served_from={readable[name].checkpoint for name in used & set(readable)},
        servable={name for name, found in readable.items() if found.gate.passed},
        keep=Keep(
            versions=deployment.publishing.keep_versions,
            hourly=deployment.training.keep_hourly,
            nightly=deployment.training.keep_nightly,
            bytes=deployment.publishing.keep_bytes,
        ),
        files={name: _sizes(root / name) for name in manifests},
        refreshing={name for name, found in readable.items() if found.refreshes},
    )
    if checkpoints is None or len(readable) < len(manifests):
        return going  # what cannot be read may name any vectors
    kept = [each for each in checkpoints if each.name not in going.checkpoints]
    staying: list[VersionManifest | CheckpointManifest] = [
        *(found for name, found in readable.items() if name not in going.versions),
        *kept,
    ]
    named = {ref.name for each in staying for ref in each.vectors.values()}
    listed = {each.listing.name for each in staying if each.listing}
    listings = listing_names(deployment.items_dir)
    stores = store_names(deployment.vectors_dir)
    return replace(
        going,
        counts=_counts(deployment, {each.name for each in kept}),
        vectors=_unnamed(deployment.vectors_dir, stores, named),
        listings=_unnamed(deployment.items_dir, listings[:-1], listed),
        slices=_slices(deployment, kept),
    )


def _counts(deployment: Deployment, kept: Collection[str]) -> tuple[str, ...]:
    """Those beyond checkpoints that go; of the others a count keeps the newest itself."""
    names = count_names(deployment.checkpoints_dir)
    return tuple(name for name in names if checkpoint_of(name) not in kept)


def _slices(deployment: Deployment, kept: Sequence[CheckpointManifest]) -> tuple[str, ...]:
    """Nothing where the chain has a gap: `twintide verify` says which."""
    root = deployment.slices_dir
    try:
        found = unneeded(deployment, kept)
    except TwintideError as error:
        log.warning("slices_kept", reason=error.message)
        return ()
    chains = _unnamed(root, [each.name for each in found.chains], ())
    return tuple(str(path.relative_to(root)) for path in found.slices) + chains


def _unnamed(root: Path, names: Sequence[str], named: Collection[str]) -> tuple[str, ...]:
    """Those of `names` that go. What was used lately may be that of a run at work, which names it
    at its end.
    """
    newest = SystemClock().now().timestamp() - UNNAMED_STAY_SECONDS
    others = [name for name in names if name not in named]
    return tuple(name for name in others if (root / name).stat().st_mtime < newest)


def _manifest(root: Path, name: str) -> VersionManifest | None:
    """None where it is damaged: such a version goes when its turn comes, and blocks nothing."""
    try:
        return read_version_manifest(root, name)
    except TwintideError as error:
        log.warning("version_not_read", version=name, reason=error.message)
        return None


def _checkpoints(deployment: Deployment) -> Sequence[CheckpointManifest] | None:
    """None where one is damaged: what it stands on cannot be told, so all stay."""
    try:
        return list_checkpoints(deployment.checkpoints_dir)
    except TwintideError as error:
        log.warning("checkpoints_kept", reason=error.message)
        return None


def _needed(checkpoints: Sequence[CheckpointManifest], keep: Keep) -> set[str]:
    """The newest of each kind, the head, and the nightly ones that any of these stands on."""
    hourly = [one for one in checkpoints if one.kind == "hourly"][-keep.hourly :]
    nightly = [one for one in checkpoints if one.kind == "nightly"][-keep.nightly :]
    kept = [*hourly, *nightly, *checkpoints[-1:]]
    return {one.name for one in kept} | {one.base for one in kept if one.base is not None}


@dataclass
class _Hidden:
    """Folders without a name, and what the disk refused."""

    folders: list[Path] = field(default_factory=list)
    refused: list[OSError] = field(default_factory=list)


def _hidden(deployment: Deployment, going: Plan) -> _Hidden:
    """Take all folders from their names; one that is gone already is no error."""
    found = _Hidden()
    for root, names in (
        (deployment.versions_dir, going.versions),
        (deployment.checkpoints_dir, going.checkpoints),
        (counts_dir(deployment.checkpoints_dir), going.counts),
        (deployment.vectors_dir, going.vectors),
        (deployment.items_dir, going.listings),
        (deployment.slices_dir, [each for each in going.slices if not _is_slice(each)]),
    ):
        for name in names:
            try:
                found.folders.append(hide_folder(root / name))
            except FileNotFoundError:
                continue
            except OSError as error:
                found.refused.append(error)
                continue
            log.info("removed", name=name)
    return found


def _remove(deployment: Deployment, going: Plan, hidden: _Hidden) -> None:
    """Take from the disk what has no name any more, and slices, which the state says nothing of."""
    slices = [deployment.slices_dir / each for each in going.slices if _is_slice(each)]
    refused = [
        *hidden.refused,
        *(error for each in hidden.folders if (error := _gone(partial(remove_hidden, each)))),
        *(error for each in slices if (error := _gone(partial(_remove_slice, each)))),
    ]
    sweep(deployment.versions_dir)
    sweep_temporaries(deployment.checkpoints_dir)
    if refused:
        raise Retryable(
            f"the disk does not let {len(refused)} files or folders go, the first: {refused[0]}",
            hint="see to the rights of the folder; the next gc tries again",
        )


def sweep(root: Path) -> int:
    """Remove what killed writers left among versions; the caller holds the publisher's lock. Only
    the pointer's leftovers may be those of somebody at work.
    """
    with exclusive_lock(root / registry.LOCK, who="sweep", wait_seconds=30.0):
        swept = sweep_temporaries(root, older_than_seconds=0, name=STATE)
    return swept + sweep_temporaries(root, older_than_seconds=0, name="v*")


def _is_slice(path: str) -> bool:
    return path.endswith(".parquet")


def _remove_slice(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
        log.info("removed", name=path.name)
    with suppress(OSError):  # where other slices of that day stay
        path.parent.rmdir()


def _gone(remove: Callable[[], None]) -> OSError | None:
    """Why it could not be removed."""
    try:
        remove()
    except OSError as error:
        return error
    return None

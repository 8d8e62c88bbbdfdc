"""Publish: build a version from a checkpoint, judge it, and make it live.

The steps are in the order that lets any of them be the last one: what a crash leaves behind is
swept or taken up by the next publish, and servers see nothing before the pointer moves.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from publisher import elsewhere, registry
from publisher.build import next_name, publish_version
from publisher.drafting import drafted
from publisher.gc import sweep
from publisher.judging import judged, not_judged, rivals_of
from publisher.reader import load_version, load_where_declared
from publisher.second_look import look_again
from twintide import listings
from twintide.checkpoints import checkpoint_names, read_manifest, sequence_of
from twintide.clock import Clock
from twintide.config import Deployment, PublishingConfig
from twintide.errors import Corrupt, Refused
from twintide.files import exclusive_lock, make_folder
from twintide.listed import Listing
from twintide.telemetry import get_log
from twintide.verified import Verified
from twintide.versions import (
    GateReport,
    ServingState,
    VersionManifest,
    judged_live,
    read_state,
    read_version_manifest,
    version_names,
    was_rolled_back_from,
)

log = get_log("publisher")


@dataclass(frozen=True)
class Published:
    """What a publish came to."""

    version: str
    promoted: bool
    """Whether this call made it live."""

    why: str
    """In words, for a person."""

    gate: GateReport


def publish(
    deployment: Deployment,
    *,
    checkpoint: str | None = None,
    clock: Clock,
    judge: bool = True,
    verified: Verified | None = None,
) -> Published:
    """Make the newest checkpoint, or the named one, live, if the gate lets it and nothing is on
    hold. A version that is refused or on hold is built and kept, and not promoted.

    Without `judge` the gate is left out: an operator answers for it. Raises Refused where there is
    no checkpoint, Corrupt where it is damaged, Retryable while another publish or gc is at work and
    where the disk refuses. Files that are among `verified` are not hashed again.
    """
    root, verified = deployment.versions_dir, verified or Verified()
    with (
        registry.said_of_the_disk(root, who="publish"),
        the_only_publisher(root),
    ):
        sweep(root)  # 1. hidden leftovers of a publish that was killed
        sweep_elsewhere(root, deployment.publishing)
        chosen = _Chosen(
            checkpoint or _head(deployment),
            listing_of_now(deployment, clock),
            deployment.publishing.publishing_hash(),
        )
        state = read_state(root)
        if judge:  # what went live on too few clicks, before anything is held against it
            state = look_again(deployment, state, clock=clock, verified=verified)
        manifest = _built_before(deployment, chosen, state, judge=judge, verified=verified)
        if manifest is None or (judge and _judged_otherwise(manifest, state)):
            manifest = _build(  # 2. a version, not live yet
                deployment,
                chosen,
                state,
                judge=judge,
                before=manifest,
                clock=clock,
                verified=verified,
            )
        return _promote(  # 3. the pointer moves
            root, manifest, clock=clock, asked_for=checkpoint is not None, verified=verified
        )


@dataclass(frozen=True)
class _Chosen:
    """What a version is made of."""

    checkpoint: str
    listing: Listing | None
    """What the source of items says now; None where none is declared."""

    publishing_hash: str
    """Of what is declared now."""

    def made(self, manifest: VersionManifest) -> bool:
        """Whether that is what a version was made of, counted further or not."""
        ref = self.listing.ref if self.listing else None
        made_of = (manifest.checkpoint, manifest.listing)
        return made_of == (self.checkpoint, ref) and manifest.is_built_as(self.publishing_hash)


def listing_of_now(deployment: Deployment, clock: Clock) -> Listing | None:
    """What the source of items says; None where none is declared."""
    own = deployment
    return listings.refreshed(own.items_dir, own.items, own.events, own.model, clock=clock)


@contextmanager
def the_only_publisher(root: Path) -> Iterator[None]:
    """Raises Retryable while another one, or gc, is at work."""
    make_folder(root)
    with exclusive_lock(root / registry.PUBLISHER_LOCK, who="publish"):
        yield


def sweep_elsewhere(root: Path, config: PublishingConfig) -> None:
    """The same of indexes that are no files. Where a version cannot be read, nothing goes: it may
    name any.
    """
    if config.milvus is None:
        return
    names = version_names(root)
    with suppress(Corrupt):
        versions = [read_version_manifest(root, name) for name in names]
        elsewhere.name_live(registry.live_manifest(root, read_state(root)))
        elsewhere.drop(elsewhere.unneeded_by(versions, names, declared=config.milvus))


def _head(deployment: Deployment) -> str:
    names = checkpoint_names(deployment.checkpoints_dir)
    if not names:
        raise Refused(
            f"there is no checkpoint in {deployment.checkpoints_dir}, so nothing to publish",
            hint="`twintide train nightly -c FILE` makes one",
        )
    return max(names, key=sequence_of)


def _built_before(
    deployment: Deployment,
    chosen: _Chosen,
    state: ServingState,
    *,
    judge: bool,
    verified: Verified,
) -> VersionManifest | None:
    """The newest sound version that was made of the same, the live one before all others; of those
    that refresh another only that. Without `judge`, one that was refused is built anew, since what
    the gate found is part of a version.
    """
    root = deployment.versions_dir
    newest_first = sorted(version_names(root), reverse=True)
    for name in sorted(newest_first, key=lambda name: name != state.current):
        try:
            found = read_version_manifest(root, name)
            if not chosen.made(found) or (found.counted is not None and name != state.current):
                continue
            if not _is_of_what_is_there(deployment, found):
                continue
            manifest = registry.check_files(root, name, verified=verified)
            if manifest.index_at is not None:  # no hash vouches for what lies there
                declared = deployment.publishing.milvus
                load_where_declared(root, name, declared=declared, verified=verified)
        except Corrupt as error:
            log.warning("damaged_version_passed_over", version=name, reason=error.message)
            continue
        return manifest if manifest.gate.passed or judge else None
    return None


def _is_of_what_is_there(deployment: Deployment, manifest: VersionManifest) -> bool:
    """Whether the checkpoint of the name that it has is the one that it was made of: of one that
    somebody deleted the next has the number. True where there is none any more.
    """
    with suppress(Corrupt, Refused):
        own = read_manifest(deployment.checkpoints_dir, manifest.checkpoint)
        return own.position == manifest.position
    return True


def _judged_otherwise(manifest: VersionManifest, state: ServingState) -> bool:
    """Whether the gate's word may be another one today: what it refused, and what it could not
    decide, is judged again on newer clicks and against what is live now; and what passed against
    another version than the live one.
    """
    if _is_live(state, manifest.name) or was_rolled_back_from(state, manifest.name):
        return False
    report = manifest.gate
    is_open = not report.passed or not report.decided
    return is_open or (report.live is not None and report.live != judged_live(state))


def _is_live(state: ServingState, name: str) -> bool:
    """Whether it is what is served, or was before its statistics were refreshed."""
    return name in {state.current, judged_live(state)}


def _build(
    deployment: Deployment,
    chosen: _Chosen,
    state: ServingState,
    *,
    judge: bool,
    before: VersionManifest | None,
    clock: Clock,
    verified: Verified,
) -> VersionManifest:
    """A version with what the gate says of it; the one `before`, where it says the same of that."""
    root = deployment.versions_dir
    # Before the draft: what the live version shares with its checkpoint is hashed then.
    own = read_manifest(deployment.checkpoints_dir, chosen.checkpoint)
    beside = rivals_of(deployment, own, state, verified=verified) if judge else None
    draft = drafted(deployment, chosen.checkpoint, chosen.listing, verified=verified)
    report = judged(deployment, draft, beside, clock=clock) if beside else not_judged()
    if before is not None and before.gate == report:
        return before
    name = next_name(root, state)
    manifest = publish_version(root, name, draft, gate=report)
    log.info(
        "version_built",
        version=name,
        checkpoint=chosen.checkpoint,
        listing=_listing_name(manifest),
        items=manifest.items,
        idle_items=manifest.idle_items,
    )
    return manifest


def _promote(
    root: Path,
    manifest: VersionManifest,
    *,
    clock: Clock,
    asked_for: bool,
    verified: Verified,
) -> Published:
    name = manifest.name
    state = read_state(root)
    obstacle = _obstacle(root, state, manifest, asked_for=asked_for)
    if obstacle is None:
        # What was written is what servers will read, and it answers.
        load_version(root, name, verified=verified)
        try:
            registry.promote(root, name, clock=clock, reason=_made_of(manifest), verified=verified)
        except Refused as error:
            obstacle = error.message  # a hold that came in between
    if obstacle is not None:
        log.info("version_not_promoted", version=name, reason=obstacle)
        return Published(name, promoted=False, why=obstacle, gate=manifest.gate)
    log.info("version_promoted", version=name, checkpoint=manifest.checkpoint)
    why = f"version {name} of {_made_of(manifest)} is live"
    return Published(name, promoted=True, why=why, gate=manifest.gate)


def _made_of(manifest: VersionManifest) -> str:
    listing = _listing_name(manifest)
    return f"checkpoint {manifest.checkpoint}" + (f" and {listing}" if listing else "")


def _listing_name(manifest: VersionManifest) -> str | None:
    return manifest.listing.name if manifest.listing else None


def _obstacle(
    root: Path, state: ServingState, manifest: VersionManifest, *, asked_for: bool
) -> str | None:
    """Why a version must not be promoted now; None where nothing is against it."""
    name = manifest.name
    if _is_live(state, name):
        return f"nothing new: version {name} of {_made_of(manifest)} is live already"
    if not manifest.gate.passed:
        return f"the gate refused version {name}: {'; '.join(manifest.gate.reasons)}"
    if state.hold is not None:
        return f"version {name} is built and kept, but promotion is on hold: {state.hold.reason}"
    if not asked_for and (left := _rolled_back_from(root, state, manifest)):
        return (
            f"nothing new: version {left} was rolled back from; "
            f"naming its checkpoint {manifest.checkpoint} promotes it again"
        )
    return None


def _rolled_back_from(root: Path, state: ServingState, manifest: VersionManifest) -> str | None:
    """This version, or another one of its checkpoint, from which an operator went back: that other
    items are listed since makes the model no better.
    """
    for name in [manifest.name, *reversed(version_names(root))]:
        if was_rolled_back_from(state, name):
            with suppress(Corrupt, Refused):
                if read_version_manifest(root, name).checkpoint == manifest.checkpoint:
                    return name
    return None

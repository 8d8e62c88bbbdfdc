"""Refresh what is live: the same weights, with the statistics, histories and items of now.

The steps are those of a publish (`publisher/publish.py`), and so is what a crash after each leaves.
The version takes the place of the one that it refreshes: a rollback goes back to other weights.
"""

from contextlib import suppress
from dataclasses import dataclass

from publisher import gate, registry
from publisher.build import next_name, publish_version
from publisher.drafting import drafted_of_count
from publisher.gc import sweep
from publisher.publish import Published, listing_of_now, sweep_elsewhere, the_only_publisher
from publisher.reader import load_version
from twintide.clock import Clock, iso
from twintide.config import Deployment
from twintide.counted import CountManifest, newest_count
from twintide.errors import Corrupt, Refused
from twintide.listed import Listing
from twintide.telemetry import get_log
from twintide.verified import Verified
from twintide.versions import (
    ServingState,
    VersionManifest,
    judged_live,
    read_state,
    read_version_manifest,
    version_names,
)

log = get_log("publisher")


def refresh(deployment: Deployment, *, clock: Clock, verified: Verified | None = None) -> Published:
    """Make the newest count beyond the live version's checkpoint live, if the gate lets it and
    nothing is on hold. What is on hold is not built.

    Raises Refused where nothing is live, or nothing was counted beyond it, Corrupt where what it is
    made of is damaged, Retryable while another publish or gc is at work and where the disk refuses.
    Files that are among `verified` are not hashed again.
    """
    root, verified = deployment.versions_dir, verified or Verified()
    with registry.said_of_the_disk(root, who="refresh"), the_only_publisher(root):
        sweep(root)  # 1. hidden leftovers of a publish that was killed
        sweep_elsewhere(root, deployment.publishing)
        live, judged = _live(deployment, state := read_state(root))
        chosen = _Chosen(
            _count(deployment, live.checkpoint),
            listing_of_now(deployment, clock),
            deployment.publishing.publishing_hash(),
        )
        if obstacle := _obstacle(state, live, chosen):
            return Published(live.name, promoted=False, why=obstacle, gate=live.gate)
        manifest = _built_before(deployment, chosen, judged, verified=verified)
        if manifest is None:  # 2. a version, not live yet
            manifest = _build(deployment, chosen, live, judged, state=state, verified=verified)
        return _go_live(deployment, manifest, clock=clock, verified=verified)  # 3. the pointer


@dataclass(frozen=True)
class _Chosen:
    """What a version is made of."""

    count: CountManifest
    listing: Listing | None
    """What the source of items says now; None where none is declared."""

    publishing_hash: str
    """Of what is declared now."""

    def made(self, manifest: VersionManifest) -> bool:
        """Whether that is what a version was made of."""
        own, ref = self.count, self.listing.ref if self.listing else None
        made_of = (manifest.checkpoint, manifest.counted, manifest.listing)
        is_made = made_of == (own.checkpoint, own.counted, ref)
        return is_made and manifest.is_built_as(self.publishing_hash)


def _live(deployment: Deployment, state: ServingState) -> tuple[VersionManifest, VersionManifest]:
    """What is live, and the version of its weights that was judged: mostly the same one."""
    root, name = deployment.versions_dir, state.current
    if name is None:
        raise Refused(
            "no version is live, so there is nothing to refresh",
            hint="`twintide publish -c FILE` makes one",
        )
    judged = judged_live(state) or name
    return read_version_manifest(root, name), read_version_manifest(root, judged)


def _count(deployment: Deployment, checkpoint: str) -> CountManifest:
    count = newest_count(deployment.checkpoints_dir, checkpoint)
    if count is None:
        raise Refused(
            f"nothing was counted beyond checkpoint {checkpoint}, which is live",
            hint="`twintide refresh -c FILE` counts, and then publishes",
        )
    return count


def _obstacle(state: ServingState, live: VersionManifest, chosen: _Chosen) -> str | None:
    """Why nothing is to be built; None where nothing is against it."""
    if chosen.made(live):
        return f"nothing new: version {live.name} of count {chosen.count.name} is live already"
    if state.hold is not None:
        return f"promotion is on hold, and what is live stays as it is: {state.hold.reason}"
    return None


def _built_before(
    deployment: Deployment, chosen: _Chosen, judged: VersionManifest, *, verified: Verified
) -> VersionManifest | None:
    """The newest sound version of the same count that refreshes the same version, which a refresh
    that was killed has left, or the gate refused.
    """
    root = deployment.versions_dir
    for name in reversed(version_names(root)):
        with suppress(Corrupt, Refused):
            found = read_version_manifest(root, name)
            if chosen.made(found) and found.refreshes == judged.name:
                return registry.check_files(root, name, verified=verified)
    return None


def _build(
    deployment: Deployment,
    chosen: _Chosen,
    live: VersionManifest,
    judged: VersionManifest,
    *,
    state: ServingState,
    verified: Verified,
) -> VersionManifest:
    root, count = deployment.versions_dir, chosen.count
    draft = drafted_of_count(deployment, count, chosen.listing, refreshed=judged, verified=verified)
    report = gate.judge_refreshed(draft, live, deployment.publishing.gate)
    manifest = publish_version(root, next_name(root, state), draft, gate=report)
    log.info("version_built", version=manifest.name, count=count.name, items=manifest.items)
    return manifest


def _go_live(
    deployment: Deployment, manifest: VersionManifest, *, clock: Clock, verified: Verified
) -> Published:
    root, name, report = deployment.versions_dir, manifest.name, manifest.gate
    if not report.passed:
        why = f"the gate refused version {name}: {'; '.join(report.reasons)}"
        log.warning("version_not_promoted", version=name, reason=why)
        return Published(name, promoted=False, why=why, gate=report)
    load_version(root, name, verified=verified)  # it is what servers will read, and answers
    why = f"the weights of {manifest.refreshes}, {_counted(manifest)}"
    try:
        registry.refresh(
            root, name, of=manifest.refreshes or name, clock=clock, reason=why, verified=verified
        )
    except Refused as error:  # a hold, or other weights, that came in between
        return Published(name, promoted=False, why=error.message, gate=report)
    log.info("version_refreshed", version=name, refreshes=manifest.refreshes)
    return Published(name, promoted=True, why=f"version {name} is live: {why}", gate=report)


def _counted(manifest: VersionManifest) -> str:
    newest = manifest.newest_counted_at
    return f"counted to {iso(newest)}" if newest else "with nothing counted"

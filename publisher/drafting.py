"""A draft of a checkpoint, whose index goes on from an earlier version's where it can."""

from contextlib import suppress

from publisher.build import Draft, draft_from, draft_of
from publisher.encoding import Since
from publisher.index.backends import backend_called
from twintide.checkpoints import read_manifest
from twintide.config import Deployment
from twintide.counted import (
    CountManifest,
    as_counted,
    count_name,
    counts_dir,
    open_count,
    read_count,
)
from twintide.errors import Corrupt, Refused
from twintide.listed import Listing
from twintide.records import Counted
from twintide.verified import Verified
from twintide.versions import VersionManifest, read_version_manifest


def drafted(
    deployment: Deployment, checkpoint: str, listing: Listing | None, *, verified: Verified
) -> Draft:
    """Raises Refused and Corrupt as `draft_of`."""
    made_of = read_manifest(deployment.checkpoints_dir, checkpoint)
    base = backend_called(deployment.publishing.backend).base_of(
        deployment.versions_dir, made_of, deployment.publishing, verified=verified
    )
    return draft_of(
        deployment.checkpoints_dir / checkpoint,
        deployment.publishing,
        base=base,
        since=made_since(deployment, base.as_of) if base else None,
        vectors_dir=deployment.vectors_dir,
        listing=listing,
        verified=verified,
    )


def drafted_of_count(
    deployment: Deployment,
    count: CountManifest,
    listing: Listing | None,
    *,
    refreshed: VersionManifest,
    verified: Verified,
) -> Draft:
    """The same of a count; its index goes on from that of the version that is `refreshed`."""
    checkpoints, config = deployment.checkpoints_dir, deployment.publishing
    base = backend_called(config.backend).base_in(
        deployment.versions_dir, refreshed, config, verified=verified
    )
    return draft_from(
        open_count(checkpoints, count, verified=verified),
        counts_dir(checkpoints) / count.name,
        config,
        base=base,
        since=made_since(deployment, base.as_of) if base else None,
        vectors_dir=deployment.vectors_dir,
        listing=listing,
        verified=verified,
        counted=count.counted,
        refreshes=refreshed.name,
    )


def made_since(deployment: Deployment, version: str) -> Since | None:
    """What a version was made of, where that is still there, and not another of its name; None also
    where another one was declared, which may have let more vectors stay as they were.
    """
    with suppress(Refused, Corrupt):
        made = read_version_manifest(deployment.versions_dir, version)
        if not made.is_built_as(deployment.publishing.publishing_hash()):
            return None
        manifest = read_manifest(deployment.checkpoints_dir, made.checkpoint)
        if manifest.position != made.position:
            return None
        if made.counted is not None:
            return _counted_since(deployment, made, made.counted)
        return Since(deployment.checkpoints_dir / made.checkpoint, manifest, made.listing)
    return None


def _counted_since(deployment: Deployment, made: VersionManifest, counted: Counted) -> Since | None:
    checkpoints = deployment.checkpoints_dir
    count = read_count(checkpoints, count_name(made.checkpoint, counted.number))
    if count.counted != counted:
        return None
    folder = counts_dir(checkpoints) / count.name
    return Since(folder, as_counted(checkpoints, count), made.listing)

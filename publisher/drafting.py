"""A draft of a checkpoint, whose index goes on from an earlier version's where it can."""

from contextlib import suppress

from publisher.build import Draft, draft_of
from publisher.encoding import Since
from publisher.index.backends import backend_called
from twintide.checkpoints import read_manifest
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.listed import Listing
from twintide.verified import Verified
from twintide.versions import read_version_manifest


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
        since=_made_since(deployment, base.as_of) if base else None,
        vectors_dir=deployment.vectors_dir,
        listing=listing,
        verified=verified,
    )


def _made_since(deployment: Deployment, version: str) -> Since | None:
    """What a version was made of, where that is still there."""
    with suppress(Refused, Corrupt):
        made = read_version_manifest(deployment.versions_dir, version)
        manifest = read_manifest(deployment.checkpoints_dir, made.checkpoint)
        return Since(deployment.checkpoints_dir / made.checkpoint, manifest, made.listing)
    return None

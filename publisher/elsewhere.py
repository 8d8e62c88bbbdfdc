"""Indexes that are no files of their versions: the name of the live one, and what nobody needs."""

from collections.abc import Collection, Iterable, Mapping

from publisher.index.backends import backend_called
from twintide.config import MilvusConfig
from twintide.errors import TwintideError
from twintide.telemetry import get_log
from twintide.versions import IndexAt, VersionManifest

log = get_log("publisher")

Unneeded = Mapping[MilvusConfig, tuple[str, ...]]
"""By the Milvus that they lie in."""


def name_live(manifest: VersionManifest | None) -> None:
    """Let whoever looks at a Milvus see what is live. Servers go by the manifest, so where it
    cannot be told now the next publish or gc does.
    """
    if manifest is None or manifest.index_at is None:
        return
    try:
        backend_called(manifest.backend).made_live(manifest.index_at)
    except TwintideError as error:
        log.warning("alias_not_moved", version=manifest.name, reason=error.message)


def unneeded_by(
    versions: Iterable[VersionManifest], staying: Collection[str], *, declared: MilvusConfig | None
) -> Unneeded:
    """What lies in each Milvus that a version or the configuration names, and belongs to none of
    the versions that stay. Raises Retryable where the declared one is away, Refused where it is
    another's; of one that is not declared any more nothing is told then.
    """
    named = [(each.name, each.index_at) for each in versions if each.index_at]
    own = [declared] if declared else []
    services = {each.place: each for each in (*(at.service for _, at in named), *own)}
    found = {}
    for service in services.values():
        try:
            found[service] = _unneeded(service, named, staying)
        except TwintideError as error:
            if service == declared:
                raise
            log.warning("collections_kept", milvus=service.uri, reason=error.message)
    return found


def drop(unneeded: Unneeded) -> None:
    """Remove it. Raises Retryable where a Milvus is away."""
    for service, names in unneeded.items():
        if names:
            backend_called("milvus").drop(service, names)
            log.info("collections_dropped", milvus=service.uri, collections=names)


def _unneeded(
    service: MilvusConfig, named: list[tuple[str, IndexAt]], staying: Collection[str]
) -> tuple[str, ...]:
    own = [(name, at.collection) for name, at in named if at.service.place == service.place]
    needed = {collection for name, collection in own if name in staying}
    known = {collection for _, collection in own}
    return tuple(backend_called("milvus").unneeded(service, known=known, needed=needed))

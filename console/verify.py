"""Is everything on the disk as it was written? Shards, slices, checkpoints and versions.

Nothing here changes anything, and a damaged artifact does not hide the next one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from publisher import audit
from twintide.arrays import verify as verify_files
from twintide.checkpoints import checkpoint_names, read_manifest
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.listings import open_listing
from twintide.shards import Ledger
from twintide.slices import (
    all_paths,
    chain_dirs,
    chain_paths,
    is_of_another_format,
    read_slice,
)
from twintide.vectorstore import open_stores
from twintide.versions import version_names


@dataclass(frozen=True)
class Breach:
    """One artifact that must not be used."""

    what: str
    problem: str


@dataclass
class Verified:
    """How many of each kind were looked at, and what is wrong."""

    looked_at: dict[str, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.breaches

    def counted(self) -> str:
        """12 shards, 3 slices."""
        return ", ".join(f"{count:,} {kind}" for kind, count in self.looked_at.items())


def verify_version(deployment: Deployment, name: str) -> Verified:
    """One version. Raises Refused where there is none of that name."""
    return _versions(Verified(), audit.verify(deployment, name))


def verify_all(deployment: Deployment, *, on_stage: Callable[[str], None]) -> Verified:
    """Everything that the deployment has."""
    found = Verified()
    for kind, look in _KINDS.items():
        on_stage(kind)
        try:
            look(found, deployment)
        except Corrupt as error:
            found.breaches.append(Breach(kind, error.message))
    return found


def _shards(found: Verified, deployment: Deployment) -> None:
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    found.looked_at["shards"] = sum(1 for _ in ledger.names())
    found.breaches += [Breach("ledger", breach) for breach in ledger.check()]


def _slices(found: Verified, deployment: Deployment) -> None:
    """The chains of all declarations."""
    found.looked_at["slices"] = 0
    for root in chain_dirs(deployment.slices_dir):
        paths = all_paths(root)
        if paths and is_of_another_format(paths[0]):
            continue
        _note(found, f"slices of {root.name}", partial(chain_paths, root))
        for path in paths:
            found.looked_at["slices"] += 1
            _note(found, f"slice {path}", partial(_verify_slice, path))


def _verify_slice(path: Path) -> None:
    read_slice(path).read()


def _checkpoints(found: Verified, deployment: Deployment) -> None:
    root = deployment.checkpoints_dir
    names = checkpoint_names(root)
    found.looked_at["checkpoints"] = len(names)
    for name in names:
        _note(found, f"checkpoint {name}", partial(_verify_checkpoint, deployment, name))


def _verify_checkpoint(deployment: Deployment, name: str) -> None:
    root = deployment.checkpoints_dir
    try:
        manifest = read_manifest(root, name)
        verify_files(root / name, manifest.files)
        open_stores(deployment.vectors_dir, manifest.vectors)
        open_listing(deployment.items_dir, manifest.listing, manifest.events)
    except (Corrupt, Refused):
        if (root / name).exists():  # else gc was at work
            raise


def _all_versions(found: Verified, deployment: Deployment) -> None:
    if version_names(deployment.versions_dir):
        _versions(found, audit.verify(deployment))
    else:
        found.looked_at["versions"] = 0


def _versions(found: Verified, problems: dict[str, str | None]) -> Verified:
    found.looked_at["versions"] = len(problems)
    found.breaches += [
        Breach(f"version {name}", problem) for name, problem in problems.items() if problem
    ]
    return found


def _note(found: Verified, what: str, look: Callable[[], object]) -> None:
    try:
        look()
    except Corrupt as error:
        found.breaches.append(Breach(what, error.message))


_KINDS: dict[str, Callable[[Verified, Deployment], None]] = {
    "shards": _shards,
    "slices": _slices,
    "checkpoints": _checkpoints,
    "versions": _all_versions,
}

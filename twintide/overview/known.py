"""What one program has read of files that do not change: shards, and the manifests of folders."""

from dataclasses import dataclass, field
from pathlib import Path

from twintide.arrays import MANIFEST
from twintide.checkpoints import CheckpointManifest, read_manifest
from twintide.overview.recent import Facts, facts
from twintide.overview.remembered import Remembered
from twintide.versions import VersionManifest, read_version_manifest


@dataclass(frozen=True)
class Known:
    """For one look, or for many by the same program."""

    shards: Facts = field(default_factory=facts)
    _checkpoints: Remembered[CheckpointManifest] = field(
        default_factory=lambda: Remembered(
            lambda path: read_manifest(path.parents[1], path.parent.name)
        )
    )
    _versions: Remembered[VersionManifest] = field(
        default_factory=lambda: Remembered(
            lambda path: read_version_manifest(path.parents[1], path.parent.name)
        )
    )

    def checkpoint(self, root: Path, name: str) -> CheckpointManifest:
        """As `read_manifest`."""
        return self._checkpoints.of(root / name / MANIFEST)

    def version(self, root: Path, name: str) -> VersionManifest:
        """As `read_version_manifest`."""
        return self._versions.of(root / name / MANIFEST)

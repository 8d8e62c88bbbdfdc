"""The list of versions, and what is known of one: from manifests alone, so it is fast."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.records import Instant
from twintide.versions import (
    GateReport,
    ServingState,
    VersionManifest,
    read_state,
    read_version_manifest,
    version_names,
    was_rolled_back_from,
)


@dataclass(frozen=True)
class VersionRow:
    """One version, as a list of them shows it."""

    name: str
    checkpoint: str
    kind: str
    items: int
    newest_event_at: Instant | None
    """Of the newest click learnt."""

    recall: float | None
    """Recall@k that the gate measured; None where it could not."""

    state: str
    """live, previous, refused (by the gate), rolled back, damaged, or nothing."""

    gate: GateReport | None = None
    """What the gate found; None of a damaged one."""

    newest_counted_at: Instant | None = None
    """Of the newest click counted in statistics and histories, where these have come further."""

    is_pinned: bool = False
    """Whether gc leaves it, whatever becomes of it."""

    def standing(self) -> str:
        """Its state and whether it is pinned, in words."""
        return ", ".join(filter(None, (self.state, "pinned" if self.is_pinned else "")))


Read = Callable[[Path, str], VersionManifest]


def list_versions(
    deployment: Deployment, *, read: Read = read_version_manifest
) -> list[VersionRow]:
    """Every version, oldest first; a damaged one is listed as such. `read` gives a manifest where
    somebody has it already.
    """
    root = deployment.versions_dir
    state = read_state(root)
    rows = (_row(root, name, state, read) for name in version_names(root))
    return [row for row in rows if row is not None]


def show(deployment: Deployment, name: str) -> VersionManifest:
    """All that is known of a version. Raises Refused where there is none of that name."""
    return read_version_manifest(deployment.versions_dir, name)


def _row(root: Path, name: str, state: ServingState, read: Read) -> VersionRow | None:
    """None where gc has taken it away since it was listed."""
    try:
        manifest = read(root, name)
    except Refused:
        return None
    except Corrupt:
        is_pinned = name in state.pins
        return VersionRow(name, "?", "?", 0, None, None, state="damaged", is_pinned=is_pinned)
    return VersionRow(
        name=name,
        checkpoint=manifest.checkpoint,
        kind=manifest.kind,
        items=manifest.items,
        newest_event_at=manifest.newest_event_at,
        newest_counted_at=manifest.counted.newest_event_at if manifest.counted else None,
        recall=manifest.gate.recall,
        state=_role(name, state, passed=manifest.gate.passed),
        gate=manifest.gate,
        is_pinned=name in state.pins,
    )


def _role(name: str, state: ServingState, *, passed: bool) -> str:
    if name == state.current:
        return "live"
    if not passed:
        return "refused"
    if was_rolled_back_from(state, name):
        return "rolled back"
    return "previous" if name == state.previous else ""

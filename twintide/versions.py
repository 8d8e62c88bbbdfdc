"""The version format and the serving state: what the publisher writes and the server reads.

A version is an immutable folder `v000001`, all of one checkpoint: query tower, tables that the
query tower reads, users' histories, item index, item ids, sample queries, and a manifest with the
sha256 of each. What is served is named by one small file, `state.json`; never by the newest folder.
"""

import re
from datetime import date
from pathlib import Path
from typing import Literal

from twintide import __version__
from twintide.arrays import MANIFEST, Files
from twintide.errors import Corrupt, Refused
from twintide.events import EventSchema
from twintide.features import ModelSpec
from twintide.records import Instant, Position, Record, Sealed

INDEX = "index.faiss"
ITEM_IDS = "items.parquet"
"""One column `item_id`, in index order."""

STATE = "state.json"
_NAME = re.compile(r"^v\d{6}$")


class GateReport(Record):
    """What the gate found. A version that did not pass is kept for a look, and never promoted by
    itself.
    """

    passed: bool
    reasons: tuple[str, ...] = ()
    """Why it was refused; empty where it passed."""

    notes: tuple[str, ...] = ()
    """What could not be judged, and why."""

    events: int = 0
    """Clicks that recall was measured on; neither version had learnt any of them."""

    k: int = 0
    recall: float | None = None
    live_recall: float | None = None
    live: str | None = None


class VersionManifest(Sealed):
    """manifest.json of a version; with its lineage."""

    format: int = 1
    name: str
    checkpoint: str
    kind: Literal["nightly", "hourly"]
    base: str | None
    day: date | None
    position: Position
    newest_event_at: Instant | None
    """Event time of the newest click in it."""

    items: int
    dimension: int
    """Width of the indexed vectors: output width + 1."""

    index: str
    """flat, or ivf with its number of lists."""

    events: EventSchema
    model: ModelSpec
    learning_hash: str
    gate: GateReport
    code_version: str = __version__
    files: Files


class Hold(Record):
    """Automatic promotion is stopped."""

    reason: str
    since: Instant


class Change(Record):
    """One change of the serving state, for the history."""

    generation: int
    at: Instant
    action: Literal["promote", "rollback", "hold", "release"]
    current: str | None
    """What was live after the change."""

    reason: str = ""


class ServingState(Record):
    """state.json: the pointer that moves last."""

    format: int = 1
    generation: int = 0
    current: str | None = None
    previous: str | None = None
    hold: Hold | None = None
    history: tuple[Change, ...] = ()
    """Oldest first."""


def read_state(root: Path) -> ServingState:
    """The serving state; an empty one before the first promotion. Raises Corrupt."""
    path = root / STATE
    try:
        return ServingState.from_json(path.read_bytes(), name=str(path))
    except FileNotFoundError:
        return ServingState()


def is_version_name(name: str) -> bool:
    """Whether it looks like v000123."""
    return bool(_NAME.match(name))


def version_names(root: Path) -> list[str]:
    """Every visible version, oldest first."""
    names = (path.name for path in root.iterdir()) if root.is_dir() else iter(())
    return sorted(filter(is_version_name, names))


def read_version_manifest(root: Path, name: str) -> VersionManifest:
    """Raises Refused where there is no such version, Corrupt where its manifest is damaged."""
    if not is_version_name(name) or not (root / name).is_dir():
        raise Refused(
            f"there is no version {name!r} in {root}", hint="`twintide versions` lists them"
        )
    path = root / name / MANIFEST
    try:
        manifest = VersionManifest.from_json(path.read_bytes(), name=str(path))
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error}") from error
    if manifest.name != name:
        raise Corrupt(f"{path} describes {manifest.name}, not {name}")
    return manifest

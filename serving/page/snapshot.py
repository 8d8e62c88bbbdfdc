"""One look at a deployment: what `twintide status` sees, and what the page draws beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from twintide.checkpoints import CheckpointManifest, list_checkpoints
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.errors import TwintideError
from twintide.overview.known import Known
from twintide.overview.recent import newest_shards
from twintide.overview.rejected import Reason, Reasons, known_reasons, quarantine_files, reasons
from twintide.overview.seen import LogEnds, gather
from twintide.overview.status import Status
from twintide.overview.wrong import Problem, notes, problems
from twintide.shards import Ledger
from twintide.versions import ServingState, read_state

T = TypeVar("T")

QUARANTINE_FILES = 20
"""As many of the newest ones are read, so that a flood of bad messages costs a bounded time."""


@dataclass(frozen=True)
class Snapshot:
    """What was seen at one moment."""

    seen: Status
    problems: list[Problem]
    notes: list[str]
    checkpoints: list[CheckpointManifest] = field(default_factory=list)
    state: ServingState = field(default_factory=ServingState)
    reasons: list[Reason] = field(default_factory=list)
    more_quarantine: bool = False
    """Whether older quarantine files were not read."""


class Looker:
    """Looks at one deployment again and again; what does not change is read once."""

    def __init__(self, deployment: Deployment, config: Path, *, clock: Clock) -> None:
        self._deployment = deployment
        self._config = config
        self._clock = clock
        self._known = Known()
        self._reasons: Reasons = known_reasons()

    def look(self) -> Snapshot:
        """What is there now; what cannot be read is a problem and hides nothing else."""
        seen = gather(
            self._deployment,
            self._config,
            clock=self._clock,
            ends=LogEnds(),
            known=self._known,
        )
        rejected, more = _or((list[Reason](), False), lambda: self._rejected(seen))
        return Snapshot(
            seen,
            problems(seen),
            notes(seen),
            _or([], self._checkpoints),
            _or(ServingState(), lambda: read_state(self._deployment.versions_dir)),
            rejected,
            more_quarantine=more,
        )

    def _checkpoints(self) -> list[CheckpointManifest]:
        root = self._deployment.checkpoints_dir
        return list_checkpoints(root, read=self._known.checkpoint)

    def _rejected(self, seen: Status) -> tuple[list[Reason], bool]:
        """Why messages of the newest shards were rejected."""
        until = max(
            (each.newest_shard_at for each in seen.partitions if each.newest_shard_at), default=None
        )
        if not seen.recent.rejected or until is None:
            return [], False
        shards = newest_shards(self._deployment, until=until, known=self._known.shards)
        ledger = Ledger(self._deployment.shards_dir, self._deployment.kafka.topic)
        files = quarantine_files(ledger, shards)
        found = reasons(files[:QUARANTINE_FILES], known=self._reasons)
        return found, len(files) > QUARANTINE_FILES


def _or(otherwise: T, read: Callable[[], T]) -> T:
    """What `read` gives; `gather` has read the same files and named the fault."""
    try:
        return read()
    except (TwintideError, OSError):
        return otherwise

"""Take away the versions and checkpoints that nothing needs any more.

What stays is decided by a pure plan: what is live, what one could go back to, what training stands
on, and the newest of each kind. Removing hides a folder first, so that what was begun is finished
by the next run.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from publisher import registry
from twintide.checkpoints import CheckpointManifest, list_checkpoints
from twintide.config import Deployment
from twintide.files import exclusive_lock, make_folder, remove_folder, sweep_temporaries
from twintide.telemetry import get_log
from twintide.versions import ServingState, read_state, read_version_manifest, version_names

log = get_log("publisher")


@dataclass(frozen=True)
class Keep:
    """How many of the newest of each kind stay."""

    versions: int
    hourly: int
    nightly: int


@dataclass(frozen=True)
class Plan:
    """What may go, oldest first."""

    versions: tuple[str, ...]
    checkpoints: tuple[str, ...]


def plan(
    versions: Sequence[str],
    checkpoints: Sequence[CheckpointManifest],
    state: ServingState,
    *,
    served_from: Collection[str],
    keep: Keep,
) -> Plan:
    """What may go. Versions and checkpoints come oldest first; `served_from` are the checkpoints
    of the versions that `in_use` names.
    """
    newest = set(versions[-keep.versions :])
    keeping = newest | in_use(state)
    needed = _needed(checkpoints, keep) | set(served_from)
    return Plan(
        versions=tuple(name for name in versions if name not in keeping),
        checkpoints=tuple(one.name for one in checkpoints if one.name not in needed),
    )


def in_use(state: ServingState) -> set[str]:
    """The live version, the one before it (after a rollback: the one held back), and the one that
    a rollback would go back to.
    """
    names = {state.current, state.previous, registry.rollback_target(state)}
    return {name for name in names if name is not None}


def run(deployment: Deployment, *, dry_run: bool = False) -> Plan:
    """Remove what the plan says, and finish what an earlier run began; returns what went or, in a
    dry run, what would go. Raises Retryable while a publish is at work, Corrupt where it cannot be
    told what is in use.
    """
    root = deployment.versions_dir
    make_folder(root)
    # The state is locked too: nobody may roll back to a version while it goes.
    with (
        exclusive_lock(root / registry.PUBLISHER_LOCK, who="gc"),
        exclusive_lock(root / registry.LOCK, who="gc", wait_seconds=30.0),
    ):
        going = _planned(deployment)
        if not dry_run:
            _remove(deployment, going)
    return going


def _planned(deployment: Deployment) -> Plan:
    root = deployment.versions_dir
    state = read_state(root)
    names = version_names(root)
    return plan(
        names,
        list_checkpoints(deployment.checkpoints_dir),
        state,
        served_from=_checkpoints_of(root, in_use(state) & set(names)),
        keep=Keep(
            versions=deployment.publishing.keep_versions,
            hourly=deployment.training.keep_hourly,
            nightly=deployment.training.keep_nightly,
        ),
    )


def _checkpoints_of(root: Path, names: Collection[str]) -> set[str]:
    return {read_version_manifest(root, name).checkpoint for name in names}


def _needed(checkpoints: Sequence[CheckpointManifest], keep: Keep) -> set[str]:
    """The newest of each kind, the head, and the nightly ones that any of these stands on."""
    hourly = [one for one in checkpoints if one.kind == "hourly"][-keep.hourly :]
    nightly = [one for one in checkpoints if one.kind == "nightly"][-keep.nightly :]
    kept = [*hourly, *nightly, *checkpoints[-1:]]
    return {one.name for one in kept} | {one.base for one in kept if one.base is not None}


def _remove(deployment: Deployment, going: Plan) -> None:
    for name in going.versions:
        remove_folder(deployment.versions_dir / name)
        log.info("version_removed", version=name)
    for name in going.checkpoints:
        remove_folder(deployment.checkpoints_dir / name)
        log.info("checkpoint_removed", checkpoint=name)
    sweep_temporaries(deployment.versions_dir, older_than_seconds=0)
    sweep_temporaries(deployment.checkpoints_dir)

"""What a run has learnt becomes a checkpoint, under the next number."""

from datetime import UTC, date, datetime
from typing import Literal

import numpy as np
import pyarrow as pa

from trainer import line
from trainer.run import Begun
from twintide.arrays import Arrays
from twintide.checkpoints import (
    CheckpointManifest,
    checkpoint_name,
    list_checkpoints,
    publish_checkpoint,
)
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.files import exclusive_lock
from twintide.slices import Slice
from twintide.telemetry import get_log

log = get_log("trainer")


def manifest_of(
    deployment: Deployment,
    begun: Begun,
    *,
    kind: Literal["nightly", "hourly"],
    base: str | None,
    day: date | None,
    learnt: list[Slice],
    losses: list[float],
    seed: int,
) -> CheckpointManifest:
    parent = begun.parent
    rows = begun.rows
    newest = [each.footer.newest_event_at for each in learnt if each.footer.newest_event_at]
    newest += [parent.newest_event_at] if parent and parent.newest_event_at else []
    ends = [each.footer.until for each in learnt] + (
        [parent.as_of] if parent and parent.as_of else []
    )
    return CheckpointManifest(
        name="",
        kind=kind,
        parent=parent.name if parent else None,
        base=base,
        day=day,
        position=begun.position,
        slices=tuple(each.name for each in learnt),
        rows=rows,
        newest_event_at=max(newest, default=None),
        as_of=begun.state.statistics_instant(max(ends)) if ends else None,
        loss=sum(losses) / begun.taught if begun.taught else None,
        seed=seed,
        threads=deployment.training.threads,
        learning_hash=deployment.learning_hash(),
        events=deployment.events,
        model=begun.learner.model.spec,
        topic=deployment.kafka.topic,
        anew=begun.anew,
        vectors=begun.vectors,
        listing=begun.listing.ref if begun.listing else None,
    )


def publish(
    deployment: Deployment, begun: Begun, unnamed: CheckpointManifest
) -> CheckpointManifest:
    return publish_next(deployment, unnamed, *parts_of(begun, unnamed))


def parts_of(begun: Begun, manifest: CheckpointManifest) -> tuple[Arrays, pa.Table]:
    """What a checkpoint holds. Nothing that is not finite becomes one."""
    as_of = manifest.as_of or datetime.fromtimestamp(0, UTC)
    arrays = begun.learner.arrays() | begun.state.arrays() | begun.state.users_as_of(as_of)
    _check_finite(arrays)
    return arrays, begun.state.catalogue_table(as_of)


def publish_next(
    deployment: Deployment, unnamed: CheckpointManifest, arrays: Arrays, catalogue: pa.Table
) -> CheckpointManifest:
    """Under the next number, which both lines count: the lock keeps the other from taking it."""
    folder = deployment.checkpoints_dir
    with exclusive_lock(folder / ".publish.lock", who="publishing", wait_seconds=600):
        name = checkpoint_name(unnamed.kind, line.next_sequence(list_checkpoints(folder)))
        base = name if unnamed.kind == "nightly" else unnamed.base
        manifest = unnamed.model_copy(update={"name": name, "base": base})
        published = publish_checkpoint(folder, manifest, arrays=arrays, catalogue=catalogue)
    log.info(
        "checkpoint_published",
        checkpoint=name,
        parent=published.parent,
        rows=published.rows,
        loss=published.loss,
    )
    return published


def _check_finite(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise Refused(
                f"{name} holds numbers that are not finite; no checkpoint was written",
                hint="lower the learning rates, or look for extreme numbers in the newest clicks",
            )

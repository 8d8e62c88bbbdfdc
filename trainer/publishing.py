"""What a run has learnt becomes a checkpoint, under the next number."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Literal

import numpy as np
import numpy.typing as npt

from trainer.run import Begun
from twintide.checkpoints import (
    CheckpointManifest,
    checkpoint_name,
    next_sequence,
    publish_checkpoint,
)
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.files import exclusive_lock
from twintide.rowstore import Parts
from twintide.telemetry import get_log

log = get_log("trainer")


def manifest_of(
    deployment: Deployment,
    begun: Begun,
    *,
    kind: Literal["nightly", "hourly"],
    base: str | None,
    day: date | None,
    losses: list[float],
    seed: int,
) -> CheckpointManifest:
    parent, learnt, rows = begun.parent, begun.slices, begun.rows
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
        replayed_from=begun.replayed_from,
        rows=rows,
        newest_event_at=begun.newest_event_at,
        as_of=begun.state.statistics_instant(max(ends)) if ends else None,
        loss=sum(losses) / begun.taught if begun.taught else None,
        seed=seed,
        threads=deployment.training.threads,
        learning_hash=deployment.learning_hash(),
        events=deployment.events,
        model=begun.learner.model.spec,
        topic=deployment.kafka.topic,
        anew=begun.anew,
        left_out=begun.left_out,
        vectors=begun.vectors,
        listing=begun.listing.ref if begun.listing else None,
    )


def publish(
    deployment: Deployment, begun: Begun, unnamed: CheckpointManifest
) -> CheckpointManifest:
    """Under the next number."""
    folder = deployment.checkpoints_dir
    parts = parts_of(begun)
    with named_next(deployment, unnamed) as manifest:
        return publish_checkpoint(folder, manifest, parts, parents=folder)


def parts_of(begun: Begun) -> Parts:
    """What a checkpoint holds. Nothing that is not finite becomes one."""
    parts = begun.learner.parts().and_also(begun.state.parts())
    check_finite(parts)
    return parts


@contextmanager
def named_next(deployment: Deployment, unnamed: CheckpointManifest) -> Iterator[CheckpointManifest]:
    """The next number, which both lines count: the lock keeps the other from taking it until the
    block, which publishes a checkpoint of that name, is over.
    """
    folder = deployment.checkpoints_dir
    with exclusive_lock(folder / ".publish.lock", who="publishing", wait_seconds=600):
        name = checkpoint_name(unnamed.kind, next_sequence(folder))
        base = name if unnamed.kind == "nightly" else unnamed.base
        manifest = unnamed.model_copy(update={"name": name, "base": base})
        yield manifest
    log.info(
        "checkpoint_published",
        checkpoint=name,
        parent=manifest.parent,
        rows=manifest.rows,
        loss=manifest.loss,
    )


def check_finite(parts: Parts) -> None:
    """Raises Refused where a number is not finite: of rows those that were touched, as the others
    were finite when they were saved.
    """
    for name, store in parts.saved().items():
        for column, values in store.contents(store.touched()).items():
            if np.issubdtype(values.dtype, np.floating):
                _refuse_unless_finite(f"{name}.{column}", values)
    for name, array in parts.arrays.items():
        if np.issubdtype(array.dtype, np.floating):
            _refuse_unless_finite(name, array)


def _refuse_unless_finite(name: str, numbers: npt.NDArray[np.generic]) -> None:
    if not np.isfinite(numbers).all():
        raise Refused(
            f"{name} holds numbers that are not finite; no checkpoint was written",
            hint="lower the learning rates, or look for extreme numbers in the newest clicks",
        )

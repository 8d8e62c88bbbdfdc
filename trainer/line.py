r"""The two lines of training, and which checkpoint a run begins with.

    nightly:  N(1) ── N(2) ── N(3)        each on yesterday's N
                \        \
    hourly:      h h h h   h h h          on the newest N, thrown away when the next N is there

These are pure functions over manifests: the checkpoints on the disk say what is due.
"""

from collections.abc import Sequence

from twintide.checkpoints import CheckpointManifest
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.slices import fingerprint_of
from twintide.vectorstore import VectorsRefs


def newest_nightly(checkpoints: Sequence[CheckpointManifest]) -> CheckpointManifest | None:
    return next((each for each in reversed(checkpoints) if each.kind == "nightly"), None)


def hourly_parent(
    checkpoints: Sequence[CheckpointManifest], *, nights_to_come: bool = False
) -> CheckpointManifest | None:
    """The newest hourly if it stands on the newest nightly; else that nightly: the hand-over.

    What came after the nightly's day is then replayed on it, since its position says so. While a
    nightly run still has `nights_to_come` the hand-over waits: each night would be replayed anew.
    """
    nightly = newest_nightly(checkpoints)
    hourly = next((each for each in reversed(checkpoints) if each.kind == "hourly"), None)
    if hourly and (nights_to_come or hourly.base == (nightly.name if nightly else None)):
        return hourly
    return nightly


def next_sequence(checkpoints: Sequence[CheckpointManifest]) -> int:
    return checkpoints[-1].sequence + 1 if checkpoints else 1


def check_same_declaration(deployment: Deployment, parent: CheckpointManifest) -> None:
    """Whether learning may go on from `parent`: what it does not depend on may have changed.

    Raises Refused where it may not.
    """
    before = fingerprint_of(parent.events, parent.model)
    now = fingerprint_of(deployment.events, deployment.model)
    models = parent.model.learnt(), deployment.model.learnt()
    if models[0] == models[1] and before == now:
        return
    what = "another model" if models[0] != models[1] else "other events"
    raise Refused(
        f"checkpoint {parent.name} was trained for {what} than the configuration declares",
        hint="the new declaration begins anew, from the same shards: give it a data_dir of its own "
        f"and `folders: {{shards: {deployment.shards_dir}}}`, and run `twintide train nightly`",
    )


def check_same_widths(
    deployment: Deployment, parent: CheckpointManifest, vectors: VectorsRefs
) -> None:
    """Whether learning may go on from `parent` with these vectors: other ones may come, but not
    wider or narrower ones. Raises Refused where it may not.
    """
    for table, now in vectors.items():
        before = parent.vectors.get(table, now)
        if before.width != now.width:
            raise Refused(
                f"the vectors of table {table} have {now.width} numbers now, and checkpoint "
                f"{parent.name} was trained on vectors of {before.width}",
                hint=f"bring the file back with vectors of {before.width}; or the new ones begin "
                "anew, from the same shards: give them a data_dir of their own and "
                f"`folders: {{shards: {deployment.shards_dir}}}`, and run `twintide train nightly`",
            )

r"""The two lines of training, and which checkpoint a run begins with.

    nightly:  N(1) ── N(2) ── N(3)        each on yesterday's N
                \        \
    hourly:      h h h h   h h h          on the newest N, thrown away when the next N is there

These are pure functions over manifests: the checkpoints on the disk say what is due.
"""

from collections.abc import Sequence

from twintide.carried import carried
from twintide.checkpoints import CheckpointManifest
from twintide.columns import changes_of_newest
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.modelspec import ModelSpec
from twintide.shards import Ledger


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


def check_goes_on(deployment: Deployment, parent: CheckpointManifest) -> None:
    """Raises Refused where nothing that is declared now can go on from what `parent` has learnt."""
    topic = deployment.kafka.topic
    if parent.topic not in {None, topic}:
        raise Refused(
            f"checkpoint {parent.name} has learnt the topic {parent.topic!r} up to certain "
            f"offsets, which mean nothing in {topic!r}",
            hint=f"`kafka: {{topic: {parent.topic}}}` goes on with it; the other topic begins "
            "anew, in a data_dir of its own",
        )
    if parent.events.columns != deployment.events.columns:
        changes_of_newest(Ledger(deployment.shards_dir, topic), deployment.events)


def check_by_the_hour(deployment: Deployment, parent: CheckpointManifest, model: ModelSpec) -> None:
    """Raises Refused where an hourly pass cannot teach what `model` begins anew with."""
    if deployment.training.hourly.learns == "everything":
        return
    waits = [each for each in carried(parent.model, model).anew if each.holds_up_hours]
    if waits:
        raise Refused(
            f"the declaration was changed since checkpoint {parent.name}: "
            f"{', '.join(map(str, waits))} must begin anew, and an hourly pass changes ID tables "
            "only",
            hint="the next nightly retrain begins them, and hours go on from there; "
            "training.hourly.learns: everything lets hours teach them until then",
        )

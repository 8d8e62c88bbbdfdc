"""Going back: an older checkpoint is published anew, and the lines go on from it."""

from collections.abc import Sequence

from trainer.publishing import named_next
from trainer.run import line_lock
from twintide import line
from twintide.checkpoints import (
    CheckpointManifest,
    list_checkpoints,
    open_checkpoint,
    publish_again,
)
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.leftout import LeftOut


def rewind(
    deployment: Deployment, to: str, *, leave_out: Sequence[LeftOut] = ()
) -> CheckpointManifest:
    """Make the lines go on from an older checkpoint: it is published anew, as the newest. What is
    left out neither line learns again, whatever comes after.

    An hourly one brings its nightly base along, so that the next hourly run stays on it; killed
    between the two, the base is the newest, and the same rewind may be asked for again. Nothing is
    removed, and nothing copied: the files are the same ones. Raises Refused where there is no such
    checkpoint, or where no run would go on from it.
    """
    with line_lock(deployment, "hourly"), line_lock(deployment, "nightly"):
        target = open_checkpoint(deployment.checkpoints_dir, to).manifest
        base = target.base
        nightly = line.newest_nightly(list_checkpoints(deployment.checkpoints_dir))
        if base is None and nightly is not None:
            raise Refused(
                f"{to} stands on no nightly checkpoint, and {nightly.name} has come since: the "
                "next hourly run would begin from that one all the same",
                hint=f"`twintide rewind --to {nightly.name}`, or to an hourly that stands on a "
                "nightly: `twintide checkpoints` lists them",
            )
        for each in leave_out:
            _check_not_learnt(each, target)
        if target.kind == "hourly" and base is not None:
            beneath = open_checkpoint(deployment.checkpoints_dir, base).manifest
            base = _again(deployment, beneath, base=None, leave_out=leave_out).name
        return _again(deployment, target, base=base, leave_out=leave_out)


def _check_not_learnt(each: LeftOut, target: CheckpointManifest) -> None:
    """Raises Refused where leaving it out would be too late."""
    if each.is_behind(target.position, as_of=target.as_of):
        return
    raise Refused(
        f"{target.name} has learnt of {each} already, so that leaving it out changes nothing there",
        hint="go back further: `twintide checkpoints` says what the newest click of each is",
    )


def _again(
    deployment: Deployment,
    old: CheckpointManifest,
    *,
    base: str | None,
    leave_out: Sequence[LeftOut],
) -> CheckpointManifest:
    folder = deployment.checkpoints_dir
    left_out = tuple(dict.fromkeys((*old.left_out, *leave_out)))
    again = as_parent(old, base=base).model_copy(update={"left_out": left_out})
    with named_next(deployment, again) as manifest:
        return publish_again(folder / old.name, folder, manifest)


def as_parent(old: CheckpointManifest, *, base: str | None) -> CheckpointManifest:
    """The manifest of what is `old` anew."""
    nothing = {"slices": (), "rows": 0, "replayed_from": None, "anew": ()}
    return old.model_copy(update={"parent": old.name, "base": base, **nothing})

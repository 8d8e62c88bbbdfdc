"""Which slices nothing needs any more.

Of a line's own chain the first ones go: what every checkpoint that stays has learnt, and none of
them is rebuilt from, which takes its parent too. So `training.keep_nightly` says for how many days
slices are kept. None goes before the first night, which learns its day from the begin, nor while a
checkpoint of another declaration stays, from which the derived state would be made anew, along the
whole chain. The chain of another declaration goes whole, once
no checkpoint that stays was made from it: whoever goes back to that declaration has it made anew
from the shards.

What an hourly pass may learn again (`training.hourly.replay`) stays as well: the hours before what
some checkpoint has still to learn, and those that one is rebuilt from.

Where `folders.slices` names a folder, others may learn from it too, whose checkpoints are not known
here: of it nothing goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twintide.checkpoints import CheckpointManifest
from twintide.config import Deployment
from twintide.positions import combined
from twintide.recentslices import slices_of_hours
from twintide.slices import all_paths, chain_dir, chain_dirs, fingerprint_of, read_tail


@dataclass(frozen=True)
class Unneeded:
    """What may go."""

    slices: tuple[Path, ...] = ()
    """The first ones of the own chain, oldest first."""

    chains: tuple[Path, ...] = ()
    """Folders of other declarations. They may be in use, by a run that has no checkpoint yet."""


def unneeded(deployment: Deployment, staying: Sequence[CheckpointManifest]) -> Unneeded:
    """What may go where these checkpoints stay. Raises Corrupt where the chain has a gap."""
    if deployment.folders.slices is not None:
        return Unneeded()
    own = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    made_from = {each.name: fingerprint_of(each.events, each.model) for each in staying}
    chains = [
        root
        for root in chain_dirs(deployment.slices_dir)
        if root != own and root.name not in made_from.values()
    ]
    has_night = any(each.kind == "nightly" for each in staying)
    # Who goes on from another declaration needs the chain from its begin on, and so does the first
    # night, which learns what hours before it have learnt already.
    if not has_night or set(made_from.values()) != {own.name}:
        return Unneeded(chains=tuple(chains))
    rebuilt = [each for each in staying if (each.parent or each.name) in made_from]
    rebuilt_from = [
        *(int(name) for each in rebuilt for name in each.slices),
        *(each.replayed_from for each in rebuilt if each.replayed_from is not None),
    ]
    # The newest slice that all have learnt stays as well: it says where the chain stood behind it.
    learnt_by_all = combined([each.position for each in staying], min)
    last_learnt = read_tail(own, learnt_by_all).before
    first_needed = min([last_learnt, *rebuilt_from, *_replayed(deployment, own, last_learnt)])
    slices = [path for path in all_paths(own) if int(path.stem) < first_needed]
    return Unneeded(tuple(slices), tuple(chains))


def _replayed(deployment: Deployment, root: Path, last_learnt: int) -> list[int]:
    """Numbers of slices that may be learnt again beside those behind that one, or later ones."""
    declared = deployment.training.hourly.replay
    if declared is None:
        return []
    recent = slices_of_hours(root, before=last_learnt + 1, hours=declared.hours)
    return [each.footer.sequence for each in recent]

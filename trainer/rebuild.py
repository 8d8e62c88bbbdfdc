"""Making a checkpoint again, from its lineage alone."""

from collections.abc import Iterator
from pathlib import Path

from trainer.gathered import Gathered
from trainer.passes import learn_in_order, learn_shuffled
from trainer.publishing import manifest_of, parts_of
from trainer.rewind import as_parent
from trainer.run import Begun, begin
from trainer.slicing import Taken
from twintide.checkpoints import (
    CheckpointManifest,
    publish_again,
    publish_checkpoint,
    read_manifest,
)
from twintide.clock import SystemClock
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.listings import open_listing
from twintide.slices import Slice, all_paths, chain_dir, read_slice


def rebuild(deployment: Deployment, name: str, *, into: Path) -> CheckpointManifest:
    """Make a checkpoint again below `into`, from its lineage alone: parent, slices and seed.

    With the code, threads and machine that made it, it is the same to the byte. Raises Refused
    where parent, slices or configuration are not those that its manifest names.
    """
    wanted = read_manifest(deployment.checkpoints_dir, name)
    if wanted.learning_hash != deployment.learning_hash():
        raise Refused(
            f"{name} was trained with another configuration than this",
            hint="events, model and training must be as they were",
        )
    parent = read_manifest(deployment.checkpoints_dir, wanted.parent) if wanted.parent else None
    if parent is not None and parent.kind == wanted.kind and not wanted.slices:  # by `rewind`
        again = as_parent(parent, base=wanted.base).model_copy(
            update={"name": name, "left_out": wanted.left_out}
        )
        return publish_again(deployment.checkpoints_dir / parent.name, into, again)
    listing = open_listing(deployment.items_dir, wanted.listing, deployment.events)
    begun = begin(deployment, parent, wanted.vectors, listing, SystemClock())
    begun.left_out = wanted.left_out
    taken = _taken(begun, _slices_named(deployment, wanted))
    if wanted.day is not None and wanted.kind == "nightly" and wanted.slices:
        gathered = Gathered(begun, deployment.training.nightly.memory_rows)
        for each in taken:
            gathered.add(each)
        losses = learn_shuffled(
            deployment,
            begun,
            gathered,
            day=wanted.day,
            seed=wanted.seed,
            folder=into / f".{name}.rows",
            saves=None,
            on_step=None,
        )
    else:
        losses = learn_in_order(deployment, begun, taken, None, replayed_from=wanted.replayed_from)
    manifest = manifest_of(
        deployment,
        begun,
        kind=wanted.kind,
        base=wanted.base,
        day=wanted.day,
        losses=losses,
        seed=wanted.seed,
    )
    named = manifest.model_copy(update={"name": name})
    return publish_checkpoint(into, named, parts_of(begun), parents=deployment.checkpoints_dir)


def _taken(begun: Begun, slices: list[Slice]) -> Iterator[Taken]:
    """One after the other; the state takes in each as it comes."""
    position = dict(begun.position)
    for each in slices:
        before, contents = begun.state.item_clicks.copy(), each.contents(after=position)
        begun.state.fold(contents)
        yield Taken(each, contents.rows, before, position)


def _slices_named(deployment: Deployment, wanted: CheckpointManifest) -> list[Slice]:
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    found = {path.stem: path for path in all_paths(root)}
    if missing := [each for each in wanted.slices if each not in found]:
        raise Refused(
            f"{wanted.name} learnt slices that are not below {root}: {', '.join(missing)}",
            hint="a training run makes slices anew from the shards, where those are still there",
        )
    return [read_slice(found[each]) for each in wanted.slices]

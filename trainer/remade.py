"""The derived state at a position, made anew from slices: where a declaration asks for what no
checkpoint carries, such as the attribute that a new feature reads.
"""

from trainer.slicing import Slicer, begin_anew_where_cut
from twintide.checkpoints import CheckpointManifest
from twintide.clock import Clock, floor_to_minutes
from twintide.config import Deployment
from twintide.derived.state import DerivedState
from twintide.records import Position
from twintide.slices import chain_dir, fingerprint_of


def carries_state(deployment: Deployment, parent: CheckpointManifest) -> bool:
    """Whether the state of a checkpoint is all that the declaration asks for."""
    before = fingerprint_of(parent.events, parent.model)
    is_of_same_rows = before == fingerprint_of(deployment.events, deployment.model)
    counts = parent.model.counts_clicks() or not deployment.model.counts_clicks()
    return is_of_same_rows and counts


def state_at(deployment: Deployment, position: Position, *, clock: Clock) -> DerivedState:
    """The state behind `position`, of slices that are made for it where they are not there."""
    begin_anew_where_cut(chain_dir(deployment.slices_dir, deployment.events, deployment.model))
    slicer = Slicer(deployment, DerivedState.empty(deployment), {}, clock=clock)
    slicer.extend(floor_to_minutes(slicer.sealed_until(clock.now()), 1))
    state = DerivedState.empty(deployment)
    for each in slicer.chain:
        if each.begins_before(position):
            state.fold(each.contents(until=position))
    return state

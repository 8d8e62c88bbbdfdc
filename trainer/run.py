"""What every run of a line has in common: what it goes on from, and that a line has one at a time.

A run that dies leaves slices (which the next one takes up) and hidden leftovers (which it sweeps);
the checkpoint is the one atomic step, and progress lies inside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import torch

from trainer.epoch import Rows, as_listed
from trainer.learner import Learner
from trainer.remade import carries_state, state_at
from trainer.slicing import Slicer
from trainer.warm import warm_arrays
from twintide import line
from twintide.carried import carried
from twintide.checkpoints import (
    CheckpointManifest,
    OpenCheckpoint,
    damage_said,
    open_checkpoint,
)
from twintide.clock import Clock, from_unix_ms
from twintide.config import Deployment
from twintide.declaration import fitting_towers, misfits
from twintide.derived.state import DerivedState
from twintide.errors import Refused, Retryable
from twintide.files import exclusive_lock, sweep_temporaries
from twintide.leftout import LeftOut, without
from twintide.listed import Listing
from twintide.listings import refreshed
from twintide.modelspec import ModelSpec, TableSpec
from twintide.records import Position
from twintide.rowstore import Parts
from twintide.slices import EVENT_TIME, IS_CLICK, Slice
from twintide.telemetry import get_log
from twintide.vectorstore import VectorsRefs, make_stores, open_stores, store_names, widths_of

log = get_log("trainer")

OnStep = Callable[[int, int, float], None]
"""Called after each step with clicks learnt, clicks to learn, loss."""


@dataclass(frozen=True)
class Outcome:
    """What a run did. Without a checkpoint there was nothing to learn, and `why` says so."""

    checkpoint: CheckpointManifest | None
    why: str


@dataclass
class Begun:
    """What a run goes on from, and how far it has come."""

    parent: CheckpointManifest | None
    learner: Learner
    state: DerivedState
    """It has taken in what is learnt, and while it is learnt."""

    position: Position
    vectors: VectorsRefs
    listing: Listing | None
    """What the source of items says of the items whose clicks are learnt."""

    slices: list[Slice] = field(default_factory=list)
    """Those learnt since the parent."""

    newest_event_at: datetime | None = None
    """Event time of the newest click that was learnt, here or before."""

    rows: int = 0
    """Clicks learnt since the parent."""

    taught: int = 0
    """The same, each counted as often as it was learnt."""

    replayed_from: int | None = None
    """Number of the oldest slice that rows could be drawn from since the parent, to be learnt
    again; None where none is.
    """

    anew: tuple[str, ...] = ()
    """Parts of the model that begin anew here."""

    left_out: tuple[LeftOut, ...] = ()
    """What is not to be learnt."""

    def goes_on(self, parent: CheckpointManifest) -> None:
        """What was learnt is in `parent` now."""
        self.parent, self.slices, self.rows, self.taught, self.anew = parent, [], 0, 0, ()

    def to_teach(self, table: pa.Table) -> pa.Table:
        """Of rows of slices those that are learnt from."""
        return without(table, self.left_out)

    def rows_of(self, table: pa.Table, *, name: str) -> Rows:
        """Clicks of slices, encoded; their items as the index has them."""
        model = self.learner.model.spec
        rows = Rows.of(table, model, name=name)
        return rows if self.listing is None else as_listed(rows, self.listing, model)

    def has_learnt(self, each: Slice, rows: int, newest_at: datetime | None) -> None:
        """So many rows of a slice, the newest click of that time: the position is behind it now, as
        the state is.
        """
        self.slices.append(each)
        self.rows += rows
        if newest_at is not None:
            self.newest_event_at = max(newest_at, self.newest_event_at or newest_at)
        self.position |= {p: next_ for p, (_, next_) in each.footer.ranges.items()}


def newest_click(taught: pa.Table) -> datetime | None:
    """When the newest click of these rows of slices happened, as manifests have it."""
    newest_ms = pc.max(taught.filter(taught[IS_CLICK])[EVENT_TIME].cast(pa.int64())).as_py()
    return None if newest_ms is None else from_unix_ms(newest_ms).replace(microsecond=0)


def declared_vectors(deployment: Deployment) -> VectorsRefs:
    """Stores of the files of vectors as they are now. Raises Refused where one does not fit."""
    events, model = deployment.events, deployment.model
    made = make_stores(deployment.vectors_dir, model.tables)
    problems = [
        *(p for t, ref in made.items() for p in misfits(events, model, t, ref.ids)),
        *(fitting_towers(model.with_widths(widths_of(made))) if made else ()),
    ]
    for problem in problems:
        raise Refused(str(problem), hint=problem.hint)
    return made


def hourly_vectors(deployment: Deployment, parent: CheckpointManifest | None) -> VectorsRefs:
    """Those of the night, which the towers know; of tables that are new, those of now."""
    known = parent.vectors if parent else {}
    tables = deployment.model.vector_tables()
    if set(tables) <= set(known):
        return {table: known[table] for table in tables}
    return {table: known.get(table, ref) for table, ref in declared_vectors(deployment).items()}


def _heal(deployment: Deployment, vectors: VectorsRefs) -> None:
    """A store that is missing is made anew, where its file is as it was."""
    there = store_names(deployment.vectors_dir)
    if any(ref.name not in there for ref in vectors.values()):
        with suppress(Refused):
            declared_vectors(deployment)


def declared_listing(deployment: Deployment, clock: Clock) -> Listing | None:
    """What the source of items says now; None where none is declared."""
    own = deployment
    return refreshed(own.items_dir, own.items, own.events, own.model, clock=clock)


def begin(
    deployment: Deployment,
    parent: CheckpointManifest | None,
    vectors: VectorsRefs,
    listing: Listing | None,
    clock: Clock,
    *,
    by_the_hour: bool = False,
) -> Begun:
    """Weights and state of the parent, as the declaration goes on with them, or fresh ones. Raises
    Refused where it cannot, before anything is written.
    """
    torch.set_num_threads(deployment.training.threads)
    model = deployment.model.with_widths(widths_of(vectors))
    if parent is not None:
        line.check_goes_on(deployment, parent)
        if by_the_hour:
            line.check_by_the_hour(deployment, parent, model)
    _heal(deployment, vectors)
    opened = open_stores(deployment.vectors_dir, vectors)
    if parent is None:
        learner = Learner.untrained(model, seed=deployment.training.seed, vectors=opened)
        return Begun(None, learner, DerivedState.empty(deployment), {}, vectors, listing)
    checkpoint = open_checkpoint(deployment.checkpoints_dir, parent.name)
    parts = checkpoint.parts
    anew = tuple(str(each) for each in carried(parent.model, model).anew)
    if anew or model.learnt() != parent.model.learnt():
        arrays = warm_arrays(
            parent.model,
            model,
            checkpoint.learnt().whole(),
            seed=deployment.training.seed,
            vectors=opened,
        )
        parts = Parts({}, arrays)
        log.info("warm_started", checkpoint=parent.name, anew=anew)
    learner = Learner.from_parts(model, parts, vectors=opened)
    state = _state_of(deployment, checkpoint, model, clock=clock)
    if anew:  # an item of the catalogue has a row, also in a table that begins anew
        item = model.item_feature(deployment.events).table
        if item in learner.model.tables and not model.tables.get(item, TableSpec()).is_rule():
            learner.model.tables[item].grow(state.catalogue.keys)
    return Begun(
        parent,
        learner,
        state,
        dict(parent.position),
        vectors,
        listing,
        anew=anew,
        left_out=parent.left_out,
        newest_event_at=parent.newest_event_at,
    )


def _state_of(
    deployment: Deployment, checkpoint: OpenCheckpoint, model: ModelSpec, *, clock: Clock
) -> DerivedState:
    """Of a checkpoint, or where the declaration asks for more, made anew up to its position."""
    if carries_state(deployment, checkpoint.manifest):
        return checkpoint.state(model)
    return state_at(deployment, checkpoint.manifest.position, clock=clock)


def slicer_of(deployment: Deployment, begun: Begun, *, clock: Clock) -> Slicer:
    """What goes along the chain with a run, and takes its state along."""
    parent, model = begun.parent, begun.learner.model.spec

    def anew() -> DerivedState:
        if parent is None:
            return DerivedState.empty(deployment)
        checkpoint = open_checkpoint(deployment.checkpoints_dir, parent.name)
        return _state_of(deployment, checkpoint, model, clock=clock)

    slicer = Slicer(deployment, begun.state, begun.position, clock=clock, anew=anew)
    begun.state = slicer.state
    return slicer


def is_at_work(deployment: Deployment, kind: str) -> bool:
    """Whether a run of that line holds its lock at this moment."""
    try:
        with exclusive_lock(deployment.checkpoints_dir / f".{kind}.lock", who="a look"):
            return False
    except Retryable:
        return True


@contextmanager
def line_lock(deployment: Deployment, kind: str) -> Iterator[None]:
    """Raises Busy while another run of the line is at work."""
    folder = deployment.checkpoints_dir
    # Waiting a moment outlasts one who only looks.
    path = folder / f".{kind}.lock"
    with exclusive_lock(path, who=f"this {kind} run", wait_seconds=0.2):
        sweep_temporaries(folder, older_than_seconds=0, name=f"{kind}-*")
        with damage_said(folder):  # rows are looked at when they are used
            yield

"""One run of a line: what is due is read off the files, learnt, and published as a checkpoint.

A run that dies leaves slices (which the next one takes up) and hidden leftovers (which it sweeps);
the checkpoint is the one atomic step, and progress lies inside it. A line has one run at a time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch

from trainer import line
from trainer.days import Calendar, complete_until
from trainer.epoch import Rows, in_order, shuffled, windows_of
from trainer.learner import Learner
from trainer.rates import Rates, hourly_rates, nightly_rates
from trainer.slicing import Slicer
from trainer.state import DerivedState
from twintide.arrays import Arrays
from twintide.checkpoints import (
    Checkpoint,
    CheckpointManifest,
    checkpoint_name,
    list_checkpoints,
    load_checkpoint,
    publish_checkpoint,
    read_manifest,
)
from twintide.clock import Clock, floor_to_minutes, from_unix_ms, iso
from twintide.config import Deployment
from twintide.declaration import fitting_towers, misfits
from twintide.errors import Refused, Retryable
from twintide.events import EARLIEST_MS
from twintide.files import exclusive_lock, sweep_temporaries
from twintide.records import Position
from twintide.shards import Ledger
from twintide.slices import Slice, chain_dir, read_chain
from twintide.telemetry import get_log
from twintide.vectorstore import VectorsRefs, make_stores, open_stores, store_names, widths_of

log = get_log("trainer")

EARLIEST_DAY = from_unix_ms(EARLIEST_MS).date()
"""No event that is accepted is older."""

OnStep = Callable[[int, int, float], None]
"""Called after each step with clicks learnt, clicks to learn, loss."""


@dataclass(frozen=True)
class Outcome:
    """What a run did. Without a checkpoint there was nothing to learn, and `why` says so."""

    checkpoint: CheckpointManifest | None
    why: str


@dataclass
class _Begun:
    """What a run goes on from."""

    parent: CheckpointManifest | None
    learner: Learner
    state: DerivedState
    position: Position
    vectors: VectorsRefs
    rows: int = 0
    """Clicks learnt since the parent."""

    def to_learn(self, each: Slice) -> pa.Table:
        """The rows of a slice that are not learnt: all, or those behind where a slice that was
        remade with other ends goes on.
        """
        return each.read(after=self.position)

    def has_learnt(self, each: Slice, rows: pa.Table) -> None:
        """State and position move together, behind the slice."""
        self.rows += len(rows)
        self.state = self.state.with_slice(rows)
        self.position |= {p: next_ for p, (_, next_) in each.footer.ranges.items()}


def hourly(deployment: Deployment, *, clock: Clock, on_step: OnStep | None = None) -> Outcome:
    """One ordered pass over everything that is sealed and not yet learnt.

    The newest `holdback_minutes` are sliced and left to the next run: the gate judges a version on
    them. Raises Refused where there is nothing to begin with, Retryable while another hourly run
    is at work.
    """
    hourly_config = deployment.training.hourly
    with _line_lock(deployment, "hourly"):
        checkpoints = list_checkpoints(deployment.checkpoints_dir)
        at_work = _is_at_work(deployment, "nightly")
        parent = line.hourly_parent(checkpoints, nights_to_come=at_work)
        if parent is None and hourly_config.learns != "everything":
            raise Refused(
                "there is no nightly checkpoint yet, and an hourly pass changes ID tables only",
                hint="run `twintide train nightly -c FILE` once a day is complete; for a model on "
                "the first day set training.hourly.learns: everything, and id_tables again after "
                "the first nightly",
            )
        # The towers do not learn here, and they know the vectors of the night: these stay.
        vectors = parent.vectors if parent else _declared_vectors(deployment)
        begun = _begin(deployment, parent, vectors)
        slicer = Slicer(deployment, begun.state, begun.position, clock=clock)
        sealed = floor_to_minutes(slicer.sealed_until(clock.now()), 1)
        learn_until = sealed - timedelta(minutes=hourly_config.holdback_minutes)
        slicer.extend(learn_until)
        slicer.extend(sealed)
        waiting = [each for each in slicer.chain if not each.is_covered_by(begun.position)]
        # In chain order without a gap: all that lies before the position must have been learnt.
        due = list(takewhile(lambda each: each.footer.until <= learn_until, waiting))
        if not due and (parent is None or parent.kind == "hourly"):
            return Outcome(None, f"nothing new before {iso(learn_until)}")
        losses = _learn_in_order(deployment, begun, due, on_step)
        manifest = _manifest(
            deployment,
            begun,
            kind="hourly",
            base=parent.base if parent else None,
            day=parent.day if parent else None,
            learnt=due,
            losses=losses,
            seed=deployment.training.seed,
        )
        return Outcome(_publish(deployment, begun, manifest), "learnt what was new")


def nightly(
    deployment: Deployment,
    *,
    clock: Clock,
    day: date | None = None,
    on_step: OnStep | None = None,
    on_day: Callable[[date], None] | None = None,
) -> list[Outcome]:
    """Make up every complete day that no nightly has learnt, in order, up to yesterday (or `day`).

    Raises Refused where the day asked for is not complete, has no clicks or is learnt already.
    """
    calendar = Calendar.of(deployment.training)
    yesterday = calendar.before(calendar.day_of(clock.now()))
    if day is not None and day > yesterday:
        raise Refused(
            f"day {day} is not over: the newest that is over is {yesterday}",
            hint="leave --date out to learn every day that is complete",
        )
    if day is not None and day < EARLIEST_DAY:
        raise _no_clicks_on(day)
    with _line_lock(deployment, "nightly"):
        parent = line.newest_nightly(list_checkpoints(deployment.checkpoints_dir))
        last_day = day or yesterday
        last_day = _last_complete(
            deployment, calendar, last_day, asked=day is not None, clock=clock
        )
        vectors = _declared_vectors(deployment)
        begun = _begin(deployment, parent, vectors)
        slicer = Slicer(deployment, begun.state, begun.position, clock=clock)
        slicer.extend(calendar.end_of(last_day))
        due = [
            each
            for each in slicer.chain
            if each.footer.day <= last_day and not each.is_covered_by(begun.position)
        ]
        _check_clicks(due, day, parent)
        outcomes = []
        for due_day in _nights(due, parent, last_day, calendar):
            if on_day:
                on_day(due_day)
            outcomes.append(_one_night(deployment, begun, due, due_day, on_step))
        return outcomes or [Outcome(None, f"no complete day up to {last_day} is waiting")]


def _nights(
    due: list[Slice], parent: CheckpointManifest | None, last_day: date, calendar: Calendar
) -> list[date]:
    """The days to learn, in order; what came late for a day that is learnt joins the next night."""
    first_open = calendar.after(parent.day) if parent and parent.day else date.min
    days = {max(each.footer.day, first_open) for each in due if each.footer.rows}
    return sorted(day for day in days if day <= last_day)


def _one_night(
    deployment: Deployment,
    begun: _Begun,
    due: list[Slice],
    day: date,
    on_step: OnStep | None,
) -> Outcome:
    """One shuffled epoch over what is due up to `day`, on the weights that `begun` holds."""
    today = [
        each for each in due if each.footer.day <= day and not each.is_covered_by(begun.position)
    ]
    seed = deployment.training.seed * 1_000_003 + day.toordinal()
    losses = _learn_shuffled(deployment, begun, today, day=day, seed=seed, on_step=on_step)
    manifest = _manifest(
        deployment,
        begun,
        kind="nightly",
        base=None,
        day=day,
        learnt=today,
        losses=losses,
        seed=seed,
    )
    begun.parent, begun.rows = _publish(deployment, begun, manifest), 0
    return Outcome(begun.parent, f"learnt {day}")


def rewind(deployment: Deployment, to: str) -> CheckpointManifest:
    """Make the lines go on from an older checkpoint: it is published anew, as the newest.

    An hourly one brings its nightly base along, so that the next hourly run stays on it; killed
    between the two, the base is the newest, and the same rewind may be asked for again. Nothing is
    removed. Raises Refused where there is no such checkpoint, or where no run would go on from it.
    """
    with _line_lock(deployment, "hourly"), _line_lock(deployment, "nightly"):
        target = load_checkpoint(deployment.checkpoints_dir, to)
        base = target.manifest.base
        nightly = line.newest_nightly(list_checkpoints(deployment.checkpoints_dir))
        if base is None and nightly is not None:
            raise Refused(
                f"{to} stands on no nightly checkpoint, and {nightly.name} has come since: the "
                "next hourly run would begin from that one all the same",
                hint=f"`twintide rewind --to {nightly.name}`, or to an hourly that stands on a "
                "nightly: `twintide checkpoints` lists them",
            )
        if target.manifest.kind == "hourly" and base is not None:
            base = _again(
                deployment, load_checkpoint(deployment.checkpoints_dir, base), base=None
            ).name
        return _again(deployment, target, base=base)


def _again(
    deployment: Deployment, checkpoint: Checkpoint, *, base: str | None
) -> CheckpointManifest:
    unnamed = _as_parent(checkpoint.manifest, base=base)
    return _publish_next(deployment, unnamed, checkpoint.arrays, checkpoint.catalogue)


def _as_parent(old: CheckpointManifest, *, base: str | None) -> CheckpointManifest:
    """The manifest of what is `old` anew."""
    return old.model_copy(update={"parent": old.name, "base": base, "slices": (), "rows": 0})


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
        old = load_checkpoint(deployment.checkpoints_dir, parent.name)
        again = _as_parent(parent, base=wanted.base).model_copy(update={"name": name})
        return publish_checkpoint(into, again, arrays=old.arrays, catalogue=old.catalogue)
    begun = _begin(deployment, parent, wanted.vectors)
    slices = _slices_named(deployment, wanted)
    if wanted.day is not None and wanted.kind == "nightly" and slices:
        losses = _learn_shuffled(
            deployment, begun, slices, day=wanted.day, seed=wanted.seed, on_step=None
        )
    else:
        losses = _learn_in_order(deployment, begun, slices, None)
    manifest = _manifest(
        deployment,
        begun,
        kind=wanted.kind,
        base=wanted.base,
        day=wanted.day,
        learnt=slices,
        losses=losses,
        seed=wanted.seed,
    )
    named = manifest.model_copy(update={"name": name})
    arrays, catalogue = _parts(begun, named)
    return publish_checkpoint(into, named, arrays=arrays, catalogue=catalogue)


def _slices_named(deployment: Deployment, wanted: CheckpointManifest) -> list[Slice]:
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    found = {each.name: each for each in read_chain(root)}
    if missing := [each for each in wanted.slices if each not in found]:
        raise Refused(
            f"{wanted.name} learnt slices that are not below {root}: {', '.join(missing)}",
            hint="a training run makes slices anew from the shards, where those are still there",
        )
    return [found[each] for each in wanted.slices]


def _declared_vectors(deployment: Deployment) -> VectorsRefs:
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


def _heal(deployment: Deployment, vectors: VectorsRefs) -> None:
    """A store that is missing is made anew, where its file is as it was."""
    there = store_names(deployment.vectors_dir)
    if any(ref.name not in there for ref in vectors.values()):
        with suppress(Refused):
            _declared_vectors(deployment)


def _begin(
    deployment: Deployment, parent: CheckpointManifest | None, vectors: VectorsRefs
) -> _Begun:
    """Weights and state of the parent, or fresh ones."""
    torch.set_num_threads(deployment.training.threads)
    if parent is not None:
        line.check_same_declaration(deployment, parent)
        line.check_same_widths(deployment, parent, vectors)
    model = deployment.model.with_widths(widths_of(vectors))
    _heal(deployment, vectors)
    opened = open_stores(deployment.vectors_dir, vectors)
    if parent is None:
        learner = Learner.untrained(model, seed=deployment.training.seed, vectors=opened)
        return _Begun(None, learner, DerivedState.empty(deployment), {}, vectors)
    checkpoint = load_checkpoint(deployment.checkpoints_dir, parent.name)
    return _Begun(
        parent,
        Learner.from_arrays(model, checkpoint.arrays, vectors=opened),
        DerivedState.from_arrays(model, checkpoint.arrays, checkpoint.catalogue),
        dict(parent.position),
        vectors,
    )


def _learn_in_order(
    deployment: Deployment, begun: _Begun, due: list[Slice], on_step: OnStep | None
) -> list[float]:
    """Slice by slice, first click to last. What is in memory is one slice."""
    config = deployment.training.hourly
    rates = hourly_rates(deployment)
    to_learn = sum(each.footer.rows for each in due)
    losses: list[float] = []
    learnt = 0
    for each in due:
        table = begun.to_learn(each)
        rows = Rows.of(table, deployment.model, name=f"slice {each.name}")
        order = list(in_order(len(rows), batch_rows=config.batch_rows))
        counted = _counted(on_step, learnt, to_learn)
        losses += _steps(
            begun.learner, rows, order, rates, seed=deployment.training.seed, on_step=counted
        )
        learnt += len(rows)
        begun.has_learnt(each, table)
    return losses


def _learn_shuffled(
    deployment: Deployment,
    begun: _Begun,
    due: list[Slice],
    *,
    day: date,
    seed: int,
    on_step: OnStep | None,
) -> list[float]:
    """Every click of the slices once, in an order given by the seed."""
    config = deployment.training.nightly
    tables = [begun.to_learn(each) for each in due]
    rows = Rows.of(pa.concat_tables(tables), deployment.model, name=f"day {day}")
    windows = windows_of(rows, deployment.model)
    order = shuffled(windows, batch_rows=config.batch_rows, seed=seed)
    by_time = sorted(order, key=lambda numbers: int(windows[numbers[0]]))
    log_q = begun.learner.estimate_log_q(rows, by_time)
    begun.learner.model.observe(rows.query, "query")
    begun.learner.model.observe(rows.candidate, "candidate")
    losses = _steps(
        begun.learner,
        replace(rows, log_q=log_q),
        order,
        nightly_rates(deployment),
        seed=seed,
        on_step=_counted(on_step, 0, len(rows)),
    )
    for table, each in zip(tables, due, strict=True):
        begun.has_learnt(each, table)
    return losses


def _steps(
    learner: Learner,
    rows: Rows,
    order: list[np.ndarray],
    rates: Rates,
    *,
    seed: int,
    on_step: Callable[[int, float], None],
) -> list[float]:
    learner.grow(rows.query, "query", rates)
    learner.grow(rows.candidate, "candidate", rates)
    losses: list[float] = []
    learnt = 0
    steps = learner.learn(rows, order, rates, seed=seed)
    for numbers, loss in zip(order, steps, strict=True):
        learnt += len(numbers)
        losses.append(loss * len(numbers))
        on_step(learnt, loss)
    return losses


def _counted(on_step: OnStep | None, before: int, to_learn: int) -> Callable[[int, float], None]:
    def step(learnt: int, loss: float) -> None:
        if on_step:
            on_step(before + learnt, to_learn, loss)

    return step


def _manifest(
    deployment: Deployment,
    begun: _Begun,
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
        loss=sum(losses) / rows if rows else None,
        seed=seed,
        threads=deployment.training.threads,
        learning_hash=deployment.learning_hash(),
        events=deployment.events,
        model=begun.learner.model.spec,
        vectors=begun.vectors,
    )


def _publish(
    deployment: Deployment, begun: _Begun, unnamed: CheckpointManifest
) -> CheckpointManifest:
    return _publish_next(deployment, unnamed, *_parts(begun, unnamed))


def _parts(begun: _Begun, manifest: CheckpointManifest) -> tuple[Arrays, pa.Table]:
    """What a checkpoint holds. Nothing that is not finite becomes one."""
    arrays = begun.learner.arrays() | begun.state.arrays()
    _check_finite(arrays)
    as_of = manifest.as_of or datetime.fromtimestamp(0, UTC)
    return arrays, begun.state.catalogue_table(as_of)


def _publish_next(
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


def _last_complete(
    deployment: Deployment, calendar: Calendar, day: date, *, asked: bool, clock: Clock
) -> date:
    """`day`, or the newest complete day before it; Refused where `day` itself was asked for."""
    until = complete_until(Ledger(deployment.shards_dir, deployment.kafka.topic), clock=clock)
    if until is None:
        raise Refused(
            "no day is complete: ingest has not yet looked at every partition of "
            f"{deployment.kafka.topic!r}",
            hint="start `twintide ingest -c FILE`, and look at `twintide status -c FILE`",
        )
    newest = calendar.before(calendar.day_of(until))
    if day <= newest:
        return day
    if asked:
        raise Refused(
            f"day {day} is not complete: shards are known to be complete until {iso(until)} only, "
            f"and the day ends at {iso(calendar.end_of(day))}",
            hint="wait until ingest has passed its end",
        )
    return newest


def _check_clicks(due: list[Slice], asked: date | None, parent: CheckpointManifest | None) -> None:
    if asked is None or any(each.footer.rows and each.footer.day == asked for each in due):
        return
    if parent and parent.day and asked <= parent.day:
        raise Refused(
            f"day {asked} is learnt already: {parent.name} stands at {parent.day}",
            hint="`twintide rewind --to CHECKPOINT` goes back",
        )
    raise _no_clicks_on(asked)


def _no_clicks_on(day: date) -> Refused:
    return Refused(
        f"there are no clicks on day {day}", hint="leave --date out to learn every complete day"
    )


def _is_at_work(deployment: Deployment, kind: str) -> bool:
    """Whether a run of that line holds its lock at this moment."""
    try:
        with exclusive_lock(deployment.checkpoints_dir / f".{kind}.lock", who="a look"):
            return False
    except Retryable:
        return True


@contextmanager
def _line_lock(deployment: Deployment, kind: str) -> Iterator[None]:
    folder = deployment.checkpoints_dir
    # Waiting a moment outlasts one who only looks.
    path = folder / f".{kind}.lock"
    with exclusive_lock(path, who=f"this {kind} run", wait_seconds=0.2):
        sweep_temporaries(folder, older_than_seconds=0, name=f"{kind}-*")
        yield

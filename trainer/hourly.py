"""The hourly run: one ordered pass over what is new, published as a checkpoint."""

from datetime import timedelta
from functools import partial

from trainer.passes import learn_in_order
from trainer.publishing import manifest_of, publish
from trainer.run import (
    OnStep,
    Outcome,
    begin,
    declared_listing,
    hourly_vectors,
    is_at_work,
    line_lock,
    slicer_of,
)
from twintide import line
from twintide.checkpoints import list_checkpoints
from twintide.clock import Clock, floor_to_minutes, iso
from twintide.config import Deployment
from twintide.days import check_history
from twintide.errors import Refused
from twintide.holdback import minutes_held_back, said_by_the_gate
from twintide.shards import Ledger


def hourly(deployment: Deployment, *, clock: Clock, on_step: OnStep | None = None) -> Outcome:
    """One ordered pass over everything that is sealed and not yet learnt.

    The newest `holdback_minutes` are sliced and left to the next run: the gate judges a version on
    them. Raises Refused where there is nothing to begin with, Retryable while another hourly run
    is at work.
    """
    hourly_config = deployment.training.hourly
    with line_lock(deployment, "hourly"):
        checkpoints = list_checkpoints(deployment.checkpoints_dir)
        at_work = is_at_work(deployment, "nightly")
        parent = line.hourly_parent(checkpoints, nights_to_come=at_work)
        if parent is None:
            check_history(Ledger(deployment.shards_dir, deployment.kafka.topic))
        if parent is None and hourly_config.learns != "everything":
            raise Refused(
                "there is no nightly checkpoint yet, and an hourly pass changes ID tables only",
                hint="run `twintide train nightly -c FILE` once a day is complete; for a model on "
                "the first day set training.hourly.learns: everything, and id_tables again after "
                "the first nightly",
            )
        # The towers do not learn here, and they know the vectors of the night: these stay.
        vectors = hourly_vectors(deployment, parent)
        begun = begin(
            deployment,
            parent,
            vectors,
            declared_listing(deployment, clock),
            clock,
            by_the_hour=True,
        )
        slicer = slicer_of(deployment, begun, clock=clock)
        sealed = floor_to_minutes(slicer.sealed_until(clock.now()), 1)
        said = said_by_the_gate(deployment.versions_dir)
        held_back = minutes_held_back(hourly_config, deployment.shards, said)
        learn_until = sealed - timedelta(minutes=held_back)
        losses = learn_in_order(
            deployment,
            begun,
            slicer.in_order(learn_until),
            on_step,
            rows_to_come=partial(slicer.rows_to_come, learn_until),
        )
        outcome = Outcome(None, f"nothing new before {iso(learn_until)}")
        if begun.slices or (parent is not None and parent.kind != "hourly"):
            manifest = manifest_of(
                deployment,
                begun,
                kind="hourly",
                base=parent.base if parent else None,
                day=parent.day if parent else None,
                losses=losses,
                seed=deployment.training.seed,
            )
            outcome = Outcome(publish(deployment, begun, manifest), "learnt what was new")
        # The state goes on along what is held back, and nothing that was learnt knows of it.
        slicer.extend(learn_until)
        slicer.extend(sealed)
        return outcome

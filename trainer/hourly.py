"""The hourly run: one ordered pass over what is new, published as a checkpoint."""

from datetime import timedelta
from itertools import takewhile

from trainer import line
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
)
from trainer.slicing import Slicer
from twintide.checkpoints import list_checkpoints
from twintide.clock import Clock, floor_to_minutes, iso
from twintide.config import Deployment
from twintide.errors import Refused


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
        losses = learn_in_order(deployment, begun, due, on_step)
        manifest = manifest_of(
            deployment,
            begun,
            kind="hourly",
            base=parent.base if parent else None,
            day=parent.day if parent else None,
            learnt=due,
            losses=losses,
            seed=deployment.training.seed,
        )
        return Outcome(publish(deployment, begun, manifest), "learnt what was new")

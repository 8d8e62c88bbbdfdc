"""The second half of the demo: a deployment that lives, answers, goes back, and comes forth again.

Everything here goes through the functions that `twintide train`, `publish`, `rollback`, `release`
and `recommend` call, on the demo's own folder, with the clock held at virtual instants.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickworld import ClickWorld
from publisher import registry
from publisher.publish import Published, publish
from serving.server import recommend
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide.clock import HeldClock, floor_to_minutes, to_unix_ms
from twintide.config import Deployment
from twintide.days import Calendar
from twintide.errors import Refused
from twintide.output import Update
from twintide.overview.versions import VersionRow, list_versions
from twintide.versions import ServingState

LIVE_HOURS = 5
"""Hours at the end of the data that the deployment goes through one by one."""

K = 10


@dataclass(frozen=True)
class Suggested:
    """One item of an answer; what is true of it is known in the click world only."""

    item_id: Any
    score: float
    age_hours: float | None = None
    click_chance: float | None = None
    """The true probability that this user clicks on it, shown now."""

    true_place: int | None = None
    """Its place among all living items, were they ordered by that probability."""


@dataclass(frozen=True)
class Answered:
    """One answer for one user."""

    user_id: Any
    version: str | None
    at: datetime
    clicked_before: list[Any]
    items: list[Suggested]
    living_items: int | None = None
    mean_chance: float | None = None
    """Of the items in the answer."""

    best_mean_chance: float | None = None
    """Of the best items that there are."""

    random_mean_chance: float | None = None
    """Of all living items."""


@dataclass(frozen=True)
class WentBack:
    """A rollback, and what came after it."""

    after_rollback: ServingState
    held: Published
    """The publish of the next run: built, and not made live."""

    after_release: Published
    """The publish after `release`: live."""


def instants(deployment: Deployment, first_at: datetime, last_at: datetime) -> list[datetime]:
    """When something is due: the newest day's end, then the last full hours. Raises Refused where
    no day is complete.
    """
    calendar = Calendar.of(deployment.training)
    day_end = calendar.start_of(calendar.day_of(last_at))
    if day_end <= first_at:
        raise Refused(
            f"no day is complete between {first_at:%F %H:%M} and {last_at:%F %H:%M}",
            hint="the demo needs a whole day and some hours more",
        )
    end_at = floor_to_minutes(last_at, 60) + timedelta(hours=1)
    hours = [end_at - timedelta(hours=back) for back in reversed(range(LIVE_HOURS))]
    return [day_end, *(at for at in hours if at > day_end)]


def go_live(deployment: Deployment, whens: list[datetime], update: Update) -> list[Published]:
    """Retrain every day up to the first instant, then pass, judge and publish at each."""
    published = []
    for done, at in enumerate(whens):
        clock = HeldClock(at)
        show = partial(_show, update, done, len(whens), f"{at:%F %H:%M}")
        show(0, 1, 0.0)
        if done == 0:
            nightly(deployment, clock=clock, on_step=show)
        hourly(deployment, clock=clock, on_step=show)
        published.append(publish(deployment, clock=clock))
    return published


def _show(
    update: Update, done: int, total: int, when: str, learnt: int, to_learn: int, _: float
) -> None:
    """Hundredths of a run, so that the bar moves within it."""
    share = learnt / to_learn if to_learn else 0.0
    update(round(100 * (done + share)), 100 * total, f"{when}, {learnt:,} clicks learnt")


def go_back(deployment: Deployment, at: datetime) -> WentBack:
    """Roll back; the next run's publish leaves that as it is; `release` lets it through."""
    root, clock = deployment.versions_dir, HeldClock(at)
    state = registry.rollback(root, reason="shown in the demo", clock=clock)
    hourly(deployment, clock=clock)
    held = publish(deployment, clock=clock)
    registry.release(root, clock=clock, reason="shown in the demo")
    return WentBack(state, held, publish(deployment, clock=clock))


def newest_first(deployment: Deployment) -> list[VersionRow]:
    """The versions."""
    return list_versions(deployment)[::-1]


def answer(
    deployment: Deployment, events: pa.Table, at: datetime, *, world: ClickWorld | None
) -> Answered:
    """What the live version recommends to a user who clicks a lot, with the truth where known."""
    schema = deployment.events
    clicks = events.filter(schema.is_click(events))
    clicks = clicks.filter(pc.less(clicks[schema.time], pa.scalar(at, clicks[schema.time].type)))
    own = clicks.filter(pc.equal(clicks[schema.user], _busy_user(clicks, schema.user)))
    last = own.slice(len(own) - 1).to_pylist()[0]
    read = set(deployment.model.columns_read("query")) - {schema.user, schema.time}
    found = recommend(
        deployment,
        user_id=str(last[schema.user]),
        k=K,
        clock=HeldClock(at),
        features={name: last[name] for name in sorted(read)},
    )
    items = [Suggested(*pair) for pair in zip(found.item_ids, found.scores, strict=True)]
    answered = Answered(
        user_id=last[schema.user],
        version=found.version,
        at=at,
        clicked_before=own[schema.item].to_pylist()[-5:],
        items=items,
    )
    return answered if world is None else _with_truth(answered, world)


def _busy_user(clicks: pa.Table, user: str) -> pa.Scalar:
    """Who clicked most, among those who are known."""
    counts = clicks.group_by(user).aggregate([(user, "count")])
    counts = counts.filter(pc.is_valid(counts[user]))
    order = pc.sort_indices(
        counts, sort_keys=[(f"{user}_count", "descending"), (user, "ascending")]
    )
    return counts[user][order[0].as_py()]


def _with_truth(answered: Answered, world: ClickWorld) -> Answered:
    at = answered.at - timedelta(milliseconds=1)  # the last moment that the world has come to
    at_ms = to_unix_ms(at)
    living = world.items.living(at_ms)
    chances = world.affinity(np.full(len(living), answered.user_id), living, at)
    place = {int(item): n for n, item in enumerate(living[np.argsort(-chances)], start=1)}
    ids = np.array([each.item_id for each in answered.items])
    own = world.affinity(np.full(len(ids), answered.user_id), ids, at)
    items = [
        Suggested(
            item_id=each.item_id,
            score=each.score,
            age_hours=_age_hours(world, each.item_id, at_ms),
            click_chance=float(chance),
            true_place=place.get(each.item_id),
        )
        for each, chance in zip(answered.items, own, strict=True)
    ]
    return Answered(
        user_id=answered.user_id,
        version=answered.version,
        at=answered.at,
        clicked_before=answered.clicked_before,
        items=items,
        living_items=len(living),
        mean_chance=float(own.mean()),
        best_mean_chance=float(np.sort(chances)[-len(ids) :].mean()),
        random_mean_chance=float(chances.mean()),
    )


def _age_hours(world: ClickWorld, item: int, at_ms: int) -> float | None:
    """Since its birth; None for what was always there."""
    born_at = int(world.items.born_at[item])
    return (at_ms - born_at) / 3_600_000 if born_at > 0 else None

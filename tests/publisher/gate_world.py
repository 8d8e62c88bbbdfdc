"""A click world whose line has learnt a day and a morning, and candidates for its gate at noon.

What is live has learnt until nine, a good candidate until eleven, and the clicks from eleven to
noon are those that nobody has learnt. Bad candidates are a good one with something broken, or what
another stream has taught; floods of clicks are in the stream itself, the judged hour included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from publisher import registry
from publisher.build import Draft, draft_of, next_name, publish_version
from publisher.gate import Rivals
from publisher.judging import judged, rivals_of
from publisher.publish import publish
from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in
from twintide.arrays import Arrays
from twintide.checkpoints import Checkpoint, open_checkpoint, publish_checkpoint
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment
from twintide.model.two_tower import TwoTower, weights_in
from twintide.rowstore import Parts
from twintide.verified import Verified
from twintide.versions import GateReport, ServingState, read_state

NOON = HeldClock(at(1, 12))
USERS = 600
GROUPS = 20
ITEMS = 800
BORN_AN_HOUR = 8
NEW_TASTE_AT = 28
EVENTS_AN_HOUR = 3_000
MODEL: dict[str, Any] = {
    "embedding_width": 16,
    "output_width": 16,
    "query": [
        {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
        {"kind": "history", "name": "history", "table": "item", "length": 20},
    ],
    "candidate": [
        {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
        {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
        {"kind": "item_statistics", "name": "statistics"},
    ],
}
TRAINING = {
    "nightly": {"row_learning_rate": 0.2, "dense_learning_rate": 0.005},
    "hourly": {"holdback_minutes": 60},
}

Stream = Callable[[pa.Table], pa.Table]
Ints = npt.NDArray[np.int64]


def events_of(seed: int, *, since_hour: int = 8, until_hour: int = 36) -> pa.Table:
    """What users are shown and click who like items of two groups and hardly any other: half of
    what they see is of these. Some items are liked more, new ones come by the hour, and at four in
    the morning each user forgets both groups for others.
    """
    rng = np.random.default_rng(seed)
    count = (until_hour - since_hour) * EVENTS_AN_HOUR
    hour = np.sort(rng.uniform(since_hour, until_hour, count))
    user = (USERS * rng.random(count) ** 1.5).astype(np.int64)
    which = rng.integers(0, 2, count) + 2 * (hour >= NEW_TASTE_AT)
    liked = rng.integers(0, GROUPS, (USERS, 4))[user, which]
    group = np.where(rng.random(count) < 0.5, liked, rng.integers(0, GROUPS, count))
    there = ITEMS + (BORN_AN_HOUR * hour).astype(np.int64)
    rank = (there // GROUPS * rng.random(count) ** 2).astype(np.int64)
    clicked = rng.random(count) < np.where(group == liked, 0.8, 0.05)
    item = rank * GROUPS + group
    return pa.table(
        {
            "event_id": np.arange(count),
            "user_id": user,
            "item_id": item,
            "event_at": pa.array(to_unix_ms(at(0)) + (hour * 3_600_000).astype(np.int64)).cast(
                pa.timestamp("ms", tz="UTC")
            ),
            "clicked": clicked,
            "watch_seconds": np.zeros(count),
            "liked": np.zeros(count, np.bool_),
            "category": item % 7,
            "topics": pa.array([[0]] * count),
            "region": user % 4,
        }
    )


def as_it_is(events: pa.Table) -> pa.Table:
    """No change of a stream."""
    return events


@dataclass(frozen=True)
class Learnt:
    """A checkpoint that lies in `root`, or one with weights changed since it was read."""

    root: Path
    checkpoint: Checkpoint

    def written(self, root: Path) -> Path:
        """The folder of it in another place."""
        manifest = self.checkpoint.manifest
        weights = weights_in(self.checkpoint.arrays)
        model = TwoTower.from_arrays(manifest.model, weights, device=torch.device("cpu"))
        parts = open_checkpoint(self.root, manifest.name).parts
        changed = Parts(
            {**parts.stores, **model.stores()}, parts.arrays | model.small_arrays(), parts.lists
        )
        publish_checkpoint(root, manifest, changed)
        return root / manifest.name


@dataclass(frozen=True)
class World:
    """A deployment at noon."""

    deployment: Deployment

    @classmethod
    def made(
        cls,
        folder: Path,
        events: pa.Table,
        changed: Stream = as_it_is,
        *,
        hours: Sequence[int] = (10,),
    ) -> "World":
        """Published in the night and at these hours, each time learnt until an hour before."""
        own = {"model": MODEL, "training": TRAINING, "shards": {"minutes": 20}}
        own |= {"publishing": {"gate": {"k": 20}}}
        world = cls(deployment_in(folder, own))
        columns = world.deployment.events.arrow_schema().names
        write_shards(
            world.deployment,
            changed(events).select(columns).sort_by("event_at"),
            complete_until=at(1, 12),
        )
        world.line.night(0)
        publish(world.deployment, clock=HeldClock(at(1, 0, 5)))
        for hour in hours:
            world.line.hour(1, hour)
            publish(world.deployment, clock=HeldClock(at(1, hour)))
        return world

    @property
    def line(self) -> Line:
        return Line(self.deployment)

    @property
    def live(self) -> str:
        """What is live."""
        name = read_state(self.deployment.versions_dir).current
        assert name is not None
        return name

    def candidate(self) -> Learnt:
        """What noon's hourly pass makes: learnt until eleven."""
        return self.learnt(self.line.hour(1, 12).manifest.name)

    def learnt(self, name: str) -> Learnt:
        """A checkpoint of its line."""
        return Learnt(self.deployment.checkpoints_dir, self.line.load(name))

    def draft(self, learnt: Learnt, **publishing: Any) -> Draft:
        """A version of it, not written yet; publishing as it is configured but for some keys."""
        config = self.deployment.publishing.model_copy(update=publishing)
        folder = learnt.written(Path(mkdtemp(dir=self.deployment.data_dir)))
        return draft_of(folder, config, vectors_dir=self.deployment.vectors_dir)

    def judged(self, draft: Draft) -> GateReport:
        """What the gate says of it at noon."""
        return self._judged_as_of(draft, read_state(self.deployment.versions_dir))

    def rivals(self, draft: Draft) -> Rivals:
        """What it is held against."""
        state = read_state(self.deployment.versions_dir)
        return rivals_of(self.deployment, draft.checkpoint, state, verified=Verified())[0]

    def judged_first(self, draft: Draft) -> GateReport:
        """What it would say, had nothing ever been live."""
        return self._judged_as_of(draft, ServingState())

    def _judged_as_of(self, draft: Draft, state: ServingState) -> GateReport:
        beside = rivals_of(self.deployment, draft.checkpoint, state, verified=Verified())
        return judged(self.deployment, draft, beside, clock=NOON)

    def promoted(self, draft: Draft) -> GateReport:
        """The same, and live if it passes."""
        report = self.judged(draft)
        if report.passed:
            self.put_live(draft, report)
        return report

    def put_live(self, draft: Draft, report: GateReport) -> None:
        """Write it with this report, and make it live."""
        root = self.deployment.versions_dir
        name = next_name(root, read_state(root))
        publish_version(root, name, draft, gate=report)
        registry.promote(root, name, clock=NOON)


def with_arrays(learnt: Learnt, **changed: Callable[[Any], Any]) -> Learnt:
    """The checkpoint with arrays changed, `__` in their names for a dot."""
    arrays: Arrays = dict(learnt.checkpoint.arrays)
    for name, change in changed.items():
        key = name.replace("__", ".")
        arrays[key] = change(np.array(arrays[key], copy=True))
    return replace(learnt, checkpoint=replace(learnt.checkpoint, arrays=arrays))


def in_place_of(good: Learnt, bad: Learnt) -> Learnt:
    """What `bad` has learnt, said to be as new as `good`."""
    own, wanted = bad.checkpoint, good.checkpoint.manifest
    newest = {"position": wanted.position, "newest_event_at": wanted.newest_event_at}
    manifest = own.manifest.model_copy(update=newest)
    return replace(bad, checkpoint=replace(own, manifest=manifest))


def flood(
    events: pa.Table,
    *,
    share: float,
    users: Ints,
    items: int | Ints,
    since_hour: float = 9.0,
    growing: bool = False,
    seed: int = 1,
) -> pa.Table:
    """The stream with clicks of these users on one item or a few, which are `share` as many as all
    events there are after that hour of the second day; growing from nothing to that if so asked.
    """
    rng = np.random.default_rng(seed)
    since = to_unix_ms(at(1)) + int(since_hour * 3_600_000)
    times = np.asarray(events["event_at"].cast(pa.int64()))
    after = np.flatnonzero(times >= since)
    if growing:
        after = after[rng.random(len(after)) < (times[after] - since) / (times[-1] - since)]
    drawn = np.sort(rng.choice(after, int(share * len(after))))
    rows = events.take(pa.array(drawn))
    columns = {
        "user_id": rng.choice(users, len(rows)),
        "item_id": rng.choice(np.atleast_1d(items), len(rows)),
        "clicked": np.ones(len(rows), np.bool_),
    }
    for name, values in columns.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.array(values))
    return pa.concat_tables([events, rows]).sort_by("event_at")


def flipped(events: pa.Table) -> pa.Table:
    """Whoever clicked did not, and the other way round; half of it."""
    clicked = np.asarray(events["clicked"])
    place = events.schema.get_field_index("clicked")
    return events.set_column(place, events.schema.field(place), pa.array(~clicked))


def first_hours(events: pa.Table) -> pa.Table:
    """Nothing after the first three hours."""
    times = np.asarray(events["event_at"].cast(pa.int64()))
    return events.filter(pa.array(times < times[0] + 3 * 3_600_000))


def of_others(events: pa.Table) -> pa.Table:
    """Each click is of somebody else."""
    users = np.random.default_rng(1).permutation(np.asarray(events["user_id"]))
    place = events.schema.get_field_index("user_id")
    return events.set_column(place, events.schema.field(place), pa.array(users))

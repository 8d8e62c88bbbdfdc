"""A click world that the line has learnt, asked for what the world knows to be right.

The source of items names what is alive at the end, with what it is about; so nothing that is dead
is answered, and items that nobody has clicked may be.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from clickworld import ClickWorld, WorldConfig
from clickworld.catalogue import NO_TOPIC, TOPIC_SHARES
from clickworld.population import Ids
from publisher.publish import publish
from publisher.reader import load_version
from serving.request import RecommendRequest
from serving.retriever import Retriever
from streaming.offline import write_shards
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.clock import HeldClock, to_unix_ms
from twintide.config import Deployment

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
START_AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
HOURS = 30
AT = START_AT + timedelta(hours=HOURS + 2)
"""When answers are asked for: what was born in the last two hours, nobody has clicked."""

K = 100
WRONG_TAGS = 4
TAGS: dict[str, dict[str, Any]] = {
    "varlen": {"kind": "varlen", "name": "tags", "column": "tags", "table": "topic"},
    "weighted_varlen": {
        "kind": "weighted_varlen",
        "name": "tags",
        "column": "tags",
        "weights": "confidences",
        "table": "topic",
    },
}
"""The same list of an item, told with and without how sure each tag is."""

DROPPED = ("dropped_by_pre_ranking", "dropped_by_ranking")
HARD: dict[str, Any] = {"kind": "hard", "from_columns": list(DROPPED), "at_most": 10}
SMALL = WorldConfig(users=2_000, impressions_per_hour=3_000, items_per_hour=20, evergreen_items=600)


@dataclass(frozen=True)
class World:
    """A simulated world and what happened in it until `AT`."""

    truth: ClickWorld
    events: pa.Table
    later: pa.Table
    """Those of the two hours before `AT`, which nobody learns."""

    @classmethod
    def of(cls, made: WorldConfig = SMALL) -> "World":
        """With tags of each item and their confidence; each event says what its request dropped."""
        truth = ClickWorld(made)
        hours = list(truth.hours(START_AT, HOURS + 2))
        learnt, later = (
            pa.concat_tables(some).combine_chunks() for some in (hours[:HOURS], hours[HOURS:])
        )
        return cls(truth, _with_tags(_with_lists(learnt), truth.items.topics), later)

    def clicks(self) -> pa.Table:
        """Those that are learnt."""
        return self.events.filter(self.events["clicked"])

    def clicks_later(self) -> pa.Table:
        return self.later.filter(self.later["clicked"])

    def unclicked(self) -> Ids:
        """Living items that no event of those that are learnt names a click on."""
        clicked = self.clicks()["item_id"].to_numpy()
        return self.living()[~np.isin(self.living(), clicked)]

    def living(self) -> Ids:
        return self.truth.items.living(to_unix_ms(AT))

    def write_items(self, path: Path) -> None:
        """The source: what is alive, when it was born, what it is about."""
        items = self.living()
        about = self.truth.items.topics[items]
        born_at = np.maximum(self.truth.items.born_at[items], to_unix_ms(START_AT) - 86_400_000)
        columns = {
            "item_id": items,
            "category": self.truth.items.category[items],
            "topics": [row[row != NO_TOPIC].tolist() for row in about],
            **tagged(items, about),
            "born_at": pa.array(born_at).cast(pa.timestamp("ms", tz="UTC")),
        }
        pq.write_table(pa.table(columns), path)


def tagged(items: Ids, about: Ids) -> dict[str, pa.Array]:
    """What a tagger that is not sure says of each item: its topics by their shares, and with little
    confidence some that it is not about.
    """
    tags, confidences = [], []
    for item, row in zip(items.tolist(), about, strict=True):
        topics = row[row != NO_TOPIC]
        wrong = np.random.default_rng([7, item]).integers(SMALL.topics, size=WRONG_TAGS)
        tags.append([*topics.tolist(), *wrong.tolist()])
        confidences.append([*TOPIC_SHARES[: len(topics)].tolist(), *[0.05] * WRONG_TAGS])
    return {
        "tags": pa.array(tags, pa.list_(pa.int64())),
        "confidences": pa.array(confidences, pa.list_(pa.float64())),
    }


def _with_tags(events: pa.Table, about: Ids) -> pa.Table:
    items = np.arange(len(about))
    said, of_event = tagged(items, about), pa.array(events["item_id"].to_numpy())
    for name, column in said.items():
        events = events.append_column(name, column.take(of_event))
    return events


def _with_lists(events: pa.Table) -> pa.Table:
    """A request is one user at one moment; its first event has the lists."""
    user, at_ms = events["user_id"].to_numpy(), events["event_at"].cast(pa.int64()).to_numpy()
    begins = np.concatenate(([True], (np.diff(user) != 0) | (np.diff(at_ms) != 0)))
    first = pa.array(np.flatnonzero(begins)[np.cumsum(begins) - 1])
    for name in DROPPED:
        place = events.schema.get_field_index(name)
        events = events.set_column(place, events.field(place), events[name].take(first))
    return events


@dataclass(frozen=True)
class Learnt:
    """What a declaration has made of a world."""

    world: World
    retriever: Retriever

    @classmethod
    def by(cls, world: World, folder: Path, says: Mapping[str, Any] | None = None) -> "Learnt":
        """A night and the hours after it, of the quickstart with these keys."""
        deployment = declared(folder, says or {})
        world.write_items(folder / "items.parquet")
        write_shards(deployment, world.events)
        clock = HeldClock(AT)
        nightly(deployment, clock=clock)
        hourly(deployment, clock=clock)
        publish(deployment, clock=clock, judge=False)
        version = load_version(deployment.versions_dir, "v000001")
        return cls(world, Retriever(version, clock=clock, max_k=10_000))

    def answers(self, user: int, k: int = K, **more: Any) -> Ids:
        """Item ids, best first."""
        region = int(self.world.truth.population.region[user])
        features = {"region": msgspec.Raw(json.dumps(region).encode())}
        request = RecommendRequest(user_id=user, k=k, features=features, **more)
        return np.array([int(i) for i in self.retriever.answer(request).item_ids], np.int64)

    def of_the_best(
        self,
        users: Ids,
        *,
        k: int = K,
        among: Ids | None = None,
        liked: bool = False,
        **asked: Any,
    ) -> float:
        """Share of each user's k truly best items, of these or of all, in their first k answers to
        a request that says this beside the user.
        """
        hits, wanted = 0, 0
        for user in users.tolist():
            best = self.world.truth.best_items(user, AT, k, liked=liked)
            best = best if among is None else best[np.isin(best, among)]
            hits += int(np.isin(best, self.answers(user, k, **asked)).sum())
            wanted += len(best)
        return hits / wanted

    def finds(self, *, k: int = K, every: int = 4) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """Of some clicks of the two hours that nobody has learnt: the category of the item, and
        whether it is among the first k answers to its user.
        """
        clicks, place = self.places(k=k, every=every)
        return clicks["category"].to_numpy(), place < k

    def places(self, *, k: int = K, every: int = 4) -> tuple[pa.Table, Ids]:
        """Some clicks of the two hours that nobody has learnt, and the place of each one's item
        among the first k answers to its user; k where it is not among them.
        """
        clicks = self.world.clicks_later()
        clicks = clicks.take(np.arange(0, len(clicks), every))
        pairs = zip(clicks["user_id"].to_pylist(), clicks["item_id"].to_pylist(), strict=True)
        found = [np.flatnonzero(self.answers(user, k) == item) for user, item in pairs]
        return clicks, np.array([each[0] if len(each) else k for each in found], np.int64)

    def agreement(self, users: Ids) -> float:
        """How the order of all living items agrees with that of the truth: the mean over users of
        Spearman's rank correlation.
        """
        return float(np.mean([self._agreement(int(user)) for user in users]))

    def _agreement(self, user: int) -> float:
        items = self.answers(user, 10_000)
        affinity = self.world.truth.affinity(np.full(len(items), user), items, AT)
        place_of_truth = np.argsort(np.argsort(-affinity))
        return float(np.corrcoef(np.arange(len(items)), place_of_truth)[0, 1])


def declared(folder: Path, says: Mapping[str, Any]) -> Deployment:
    """The quickstart, smaller and learning faster, with its items from a file, and no negatives but
    those of the batch.
    """
    small: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "items": {
            "file": str(folder / "items.parquet"),
            "listed_at_column": "born_at",
            "complete": True,
        },
        "events": {
            "columns": {
                "tags": "list<int64>",
                "confidences": "list<float64>",
                **dict.fromkeys(DROPPED, "list<int64>"),
            }
        },
        "shards": {"minutes": 60},
        "training": {
            "hourly": {"batch_rows": 256, "holdback_minutes": 0},
            "nightly": {"batch_rows": 256},
        },
        "model": {
            "embedding_width": 32,
            "output_width": 32,
            "popularity_layer": 0,
            "negatives": [{"kind": "in_batch"}],
        },
    }
    return config.fill_in(config.fill_in(config.load(QUICKSTART), small), dict(says))


def some_users(world: World, count: int = 200) -> npt.NDArray[np.int64]:
    """Users who have clicked, drawn evenly."""
    clicked = world.clicks()["user_id"].to_numpy()
    return np.random.default_rng(5).choice(np.unique(clicked), count, replace=False)

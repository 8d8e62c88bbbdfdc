"""Where the truth is known: items that nobody has clicked are found by whom they are for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from clickworld import ClickWorld, WorldConfig
from publisher import gate
from publisher.publish import publish
from publisher.reader import LoadedVersion, load_version
from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in
from tests.twintide import item_files
from twintide.clock import HeldClock, to_unix_ms
from twintide.features.columns import from_columns
from twintide.keys import keys_of

MIDNIGHT = at(1)
TRAINED_HOURS, SCORED_HOURS = 24, 2
SMALL = WorldConfig(
    users=600, impressions_per_hour=4000.0, evergreen_items=300, items_per_hour=40.0, topics=24
)
NEW = 7
"""Every seventh item is listed at midnight: nobody is shown it before."""

LISTED = {"listed_at_column": "listed_at", "complete": True}
MODEL = {
    "embedding_width": 16,
    "output_width": 16,
    "query": [
        {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
        {"kind": "history", "name": "history", "table": "item", "length": 20},
    ],
    "candidate": [
        {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
        {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
        {"kind": "varlen", "name": "topics", "column": "topics", "table": "topic"},
        {"kind": "item_statistics", "name": "statistics"},
    ],
}
TRAINING = {"nightly": {"row_learning_rate": 0.2, "dense_learning_rate": 0.005}}


@dataclass(frozen=True)
class Market:
    """A click world in which some items come at midnight, and a file of what there is then."""

    world: ClickWorld
    events: pa.Table
    living: npt.NDArray[np.int64]
    cold: npt.NDArray[np.int64]
    """Items that live at midnight and that no click has named before."""

    file: Path

    @classmethod
    def at_midnight(cls, folder: Path) -> "Market":
        world = ClickWorld(SMALL)
        events = pa.concat_tables(world.hours(at(0), TRAINED_HOURS + SCORED_HOURS))
        item, is_before = np.asarray(events["item_id"]), times_of(events) < to_unix_ms(MIDNIGHT)
        events = events.filter(pa.array(~(is_before & (item % NEW == 0))))
        clicks = events.filter(events["clicked"])
        named = np.asarray(clicks["item_id"])[times_of(clicks) < to_unix_ms(MIDNIGHT)]
        living = world.items.living(to_unix_ms(MIDNIGHT))
        listed_at = np.where(living % NEW == 0, to_unix_ms(MIDNIGHT), world.items.born_at[living])
        topics = [[int(each) for each in row if each >= 0] for row in world.items.topics[living]]
        file = item_files.write(
            folder / "items.parquet",
            item_id=living,
            category=world.items.category[living],
            topics=pa.array(topics, pa.list_(pa.int64())),
            listed_at=pa.array(listed_at).cast(pa.timestamp("ms", tz="UTC")),
        )
        return cls(world, events, living, np.setdiff1d(living, named), file)


def times_of(events: pa.Table, column: str = "event_at") -> npt.NDArray[np.int64]:
    return np.asarray(events[column].cast(pa.int64()))


def learnt(market: Market, folder: Path, *, listed: bool) -> tuple[LoadedVersion, pa.Table]:
    """The version of midnight, and the clicks of the hours after it."""
    items = {"file": str(market.file), **LISTED} if listed else {}
    deployment = deployment_in(folder, {"model": MODEL, "items": items, "training": TRAINING})
    events = market.events.select(deployment.events.arrow_schema().names)
    write_shards(deployment, events, partitions=1, complete_until=at(1, SCORED_HOURS))
    line = Line(deployment)
    line.night(0)
    name = publish(deployment, clock=HeldClock(MIDNIGHT), judge=False).version
    line.hour(1, SCORED_HOURS)
    rows = pa.concat_tables([each.read() for each in line.slices().values()])
    after = rows.filter(pa.array(times_of(rows) >= to_unix_ms(MIDNIGHT)))
    return load_version(deployment.versions_dir, name), after


@pytest.mark.long
def test_cold_items_are_found_before_their_first_click(tmp_path: Path) -> None:
    """Without a source recall is 0 by construction. With one it is far above chance (50 of some
    1,250 items: 0.04), and what is found of them is what the user truly likes.
    """
    market = Market.at_midnight(tmp_path)
    version, clicks = learnt(market, tmp_path / "listed", listed=True)
    without, _ = learnt(market, tmp_path / "clicked", listed=False)
    items = clicks["item"].to_numpy()
    is_cold = np.isin(items, keys_of(pa.array(market.cold)))

    assert is_cold.sum() > 100
    found = gate.hits(version, clicks, items, k=50)
    found_without = gate.hits(without, clicks, items, k=50)
    assert not found_without[is_cold].any()
    assert found[is_cold].mean() > 0.2, found[is_cold].mean()
    assert found.mean() > found_without.mean() + 0.01

    shown, anyhow = affinities(market, version, clicks)
    assert shown > 1.2 * anyhow, (shown, anyhow)


def affinities(market: Market, version: LoadedVersion, clicks: pa.Table) -> tuple[float, float]:
    """True affinity of users to the five best cold items of the version's order; and to any."""
    encoded = from_columns(clicks, version.model.spec.query, "query")
    _, positions = version.search(encoded, version.index.items)
    ids = np.asarray(version.item_ids)[positions]
    is_cold = np.isin(ids, market.cold)
    users = {int(key): user for user, key in enumerate(keys_of(pa.array(np.arange(600))).tolist())}
    shown, anyhow = [], []
    for row, key in enumerate(clicks["user"].to_numpy().tolist()):
        best = ids[row][is_cold[row]][:5]
        user = users[key]
        shown.append(market.world.affinity(np.full(5, user), best, MIDNIGHT).mean())
        many = np.full(len(market.cold), user)
        anyhow.append(market.world.affinity(many, market.cold, MIDNIGHT).mean())
    return float(np.mean(shown)), float(np.mean(anyhow))

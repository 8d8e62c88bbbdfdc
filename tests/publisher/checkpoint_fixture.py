"""Checkpoints and slices for tests of publisher and serving, made without a trainer.

The towers are untrained and the rows have their first values, which is all that most promises
need; clicks can be made that follow a version's own taste, so that recall means something.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from publisher.histories import VersionHistories
from publisher.reader import LoadedVersion
from twintide.checkpoints import CheckpointManifest, checkpoint_name, publish_checkpoint
from twintide.clock import HeldClock
from twintide.config import Deployment, parse
from twintide.features.columns import to_columns
from twintide.features.item_statistics import ItemStatistics
from twintide.keys import Keys, keys_of
from twintide.model.two_tower import TwoTower
from twintide.ragged import Encoded, Ids, Numbers, one_id_each
from twintide.rowstore import Parts
from twintide.slices import (
    IS_CLICK,
    ITEM_KEY,
    OFFSET,
    PARTITION,
    UNIT,
    USER_KEY,
    Slice,
    SliceFooter,
    chain_dir,
    fingerprint_of,
    publish_slice,
)

NOON = datetime(2022, 5, 1, 12, tzinfo=UTC)
USERS = 200
CATEGORIES = 8
REGIONS = 5


def held_clock() -> HeldClock:
    return HeldClock(NOON)


def configuration(data_dir: Path, **sections: Any) -> dict[str, Any]:
    """A small deployment as YAML would give it; sections replace or join its own."""
    values: dict[str, Any] = {
        "data_dir": str(data_dir),
        "events": {
            "columns": {
                "user_id": "int64",
                "item_id": "int64",
                "event_at": "timestamp_ms",
                "category": "int64",
                "region": "string",
                "age": "float64",
                "tags": "list<string>",
            },
            "user": "user_id",
            "item": "item_id",
            "time": "event_at",
        },
        "model": {
            "embedding_width": 16,
            "tower": {"kind": "dnn", "hidden": [32]},
            "output_width": 16,
            "query": [
                {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
                {"kind": "history", "name": "history", "table": "item", "length": 5},
                {"kind": "hour_of_day", "name": "hour", "table": "hour"},
                {"kind": "sparse", "name": "region", "column": "region", "table": "region"},
                {"kind": "dense", "name": "age", "column": "age", "divided_by": 100.0},
                {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag"},
            ],
            "candidate": [
                {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
                {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
                {"kind": "item_statistics", "name": "statistics"},
            ],
        },
    }
    return values | sections


def deployment_at(data_dir: Path, **sections: Any) -> Deployment:
    return parse(configuration(data_dir, **sections), name="the test's configuration")


def item_range(first: int, count: int) -> npt.NDArray[np.int64]:
    return np.arange(first, first + count)


def model_of(
    deployment: Deployment, items: npt.NDArray[np.int64], *, seed: int = 1, noise: float = 0.0
) -> TwoTower:
    """An untrained model that knows these items; `noise` moves every table row a little."""
    model = TwoTower.untrained(deployment.model, seed=seed, device=torch.device("cpu"))
    rng = np.random.default_rng(seed + round(noise * 1e6))
    known = {
        "user": pa.array(np.arange(USERS)),
        "item": pa.array(items),
        "hour": pa.array(np.arange(24)),
        "region": pa.array([f"region {n}" for n in range(REGIONS)]),
        "tag": pa.array(["news", "sports", "culture"]),
        "category": pa.array(np.arange(CATEGORIES)),
    }
    for name, table in model.tables.items():
        table.grow(keys_of(known[name]))
        moved = rng.normal(scale=noise, size=tuple(table.weights.shape)) if noise else 0.0
        table.weights[1:] += (
            torch.as_tensor(np.asarray(moved, np.float32))[..., 1:, :] if noise else 0
        )
    return model


def histories_of(items: npt.NDArray[np.int64], *, seed: int = 1) -> VersionHistories:
    """Half of the users have clicked something: 1 to 9 items each."""
    if not len(items):
        return VersionHistories.empty()
    rng = np.random.default_rng(seed)
    users = np.sort(keys_of(pa.array(np.arange(0, USERS, 2))))
    offsets = np.concatenate(([0], np.cumsum(rng.integers(1, 10, len(users)))))
    clicked = keys_of(pa.array(rng.choice(items, offsets[-1])))
    return VersionHistories(users, offsets.astype(np.int64), clicked)


def candidates_of(deployment: Deployment, items: npt.NDArray[np.int64]) -> Encoded:
    rng = np.random.default_rng(7)
    statistics = next(f for f in deployment.model.candidate if isinstance(f, ItemStatistics))
    values = rng.normal(size=(len(items), statistics.count)).astype(np.float32)
    return {
        "item": one_id_each(keys_of(pa.array(items))),
        "category": one_id_each(keys_of(pa.array(items % CATEGORIES))),
        "tags": tags_of(items),
        "statistics": Numbers(values * 0.1),
    }


def tags_of(items: npt.NDArray[np.int64]) -> Ids:
    """The keys of those tags."""
    lists = [tag_names(item) for item in items.tolist()]
    keys = keys_of(pa.array([each for tags in lists for each in tags], pa.string()))
    return Ids(keys, np.cumsum([0, *map(len, lists)]))


def tag_names(item: int) -> list[str]:
    """Of every fourth item none, of others up to three."""
    return [f"tag {item % 7 + number}" for number in range(item % 4)]


def add_checkpoint(
    deployment: Deployment,
    sequence: int,
    *,
    items: npt.NDArray[np.int64] | None = None,
    seed: int = 1,
    noise: float = 0.0,
    kind: Any = "hourly",
    base: str | None = None,
    parent: str | None = None,
    rows: int = 0,
    position: int = 0,
    newest_event_at: datetime = NOON,
    model: TwoTower | None = None,
) -> CheckpointManifest:
    """Publish a checkpoint as the trainer would."""
    chosen = item_range(1000, 300) if items is None else items
    made = model or model_of(deployment, chosen, seed=seed, noise=noise)
    columns = to_columns(candidates_of(deployment, chosen), deployment.model.candidate, "candidate")
    manifest = plain_manifest(
        deployment,
        checkpoint_name(kind, sequence),
        kind=kind,
        parent=parent,
        base=base,
        position={0: position},
        rows=rows,
        newest_event_at=newest_event_at,
        as_of=newest_event_at,
        seed=seed,
    )
    histories = histories_of(chosen, seed=seed).to_arrays(prefix="state.history")
    return publish_checkpoint(
        deployment.checkpoints_dir,
        manifest,
        Parts(made.stores(), made.small_arrays() | histories),
        catalogue=pa.table({"item_id": pa.array(chosen)} | columns),
    )


def plain_manifest(deployment: Deployment, name: str, **known: Any) -> CheckpointManifest:
    """Of a nightly checkpoint that has learnt nothing, but for what is said of it."""
    said: dict[str, Any] = {
        "kind": "nightly",
        "parent": None,
        "base": None,
        "day": None,
        "position": {},
        "slices": (),
        "rows": 0,
        "newest_event_at": None,
        "as_of": NOON,
        "loss": None,
        "seed": 1,
        "threads": 1,
        "learning_hash": "0" * 64,
        "events": deployment.events,
        "model": deployment.model,
    }
    return CheckpointManifest(name=name, **said | known)


def queries_of(deployment: Deployment, count: int, *, seed: int = 1) -> Encoded:
    """Encoded queries of random users in random contexts."""
    rng = np.random.default_rng(seed)
    users = keys_of(pa.array(rng.integers(0, USERS, count)))
    regions = pa.array([f"region {n}" for n in rng.integers(0, REGIONS, count)])
    return {
        "user": one_id_each(users),
        "history": histories_of(item_range(1000, 300)).of(users, length=5),
        "hour": one_id_each(keys_of(pa.array(rng.integers(0, 24, count)))),
        "region": one_id_each(keys_of(regions)),
        "age": Numbers(rng.uniform(0.1, 0.9, (count, 1)).astype(np.float32)),
        "tags": Ids(np.zeros(0, np.uint64), np.zeros(count + 1, np.int64)),
    }


def clicks_liked_by(
    version: LoadedVersion, deployment: Deployment, count: int, *, share: float = 0.7, seed: int = 1
) -> pa.Table:
    """Clicks of which about `share` are among the version's 20 best items, the others random."""
    rng = np.random.default_rng(seed)
    encoded = queries_of(deployment, count, seed=seed)
    _, positions = version.search(encoded, 20)
    liked = positions[np.arange(count), rng.integers(0, 20, count)]
    anything = rng.integers(0, version.index.items, count)
    clicked = version.item_keys[np.where(rng.random(count) < share, liked, anything)]
    return click_table(deployment, encoded, clicked)


def click_table(deployment: Deployment, encoded: Encoded, items: Keys) -> pa.Table:
    """Each click of another user, at noon."""
    columns = to_columns(encoded, deployment.model.query, "query")
    keys = {
        USER_KEY: pa.array(np.arange(len(items), dtype=np.uint64) + items.sum()),
        ITEM_KEY: pa.array(items),
        UNIT: pa.array([NOON] * len(items), pa.timestamp("ms", tz="UTC")),
    }
    return pa.table(keys | columns)


def add_slice(deployment: Deployment, sequence: int, clicks: pa.Table, *, first: int) -> Slice:
    """Publish a slice that holds the offsets [first, first + rows) of partition 0."""
    offsets = np.arange(first, first + len(clicks))
    clicks = clicks.append_column(OFFSET, pa.array(offsets))
    clicks = clicks.append_column(PARTITION, pa.array(np.zeros(len(clicks), np.int32)))
    clicks = clicks.append_column(IS_CLICK, pa.array(np.ones(len(clicks), np.bool_)))
    footer = SliceFooter(
        sequence=sequence,
        day=NOON.date(),
        hour_at=NOON,
        until=NOON + timedelta(hours=1),
        ranges={0: (first, first + len(clicks))},
        events=len(clicks),
        rows=len(clicks),
        newest_event_at=NOON,
        units={0: NOON},
        fingerprint=fingerprint_of(deployment.events, deployment.model),
    )
    return publish_slice(slices_of(deployment), footer, clicks)


def slices_of(deployment: Deployment) -> Path:
    """Where the slices of its declaration lie."""
    return chain_dir(deployment.slices_dir, deployment.events, deployment.model)


def file_bytes(folder: Path, names: Sequence[str] | None = None) -> dict[str, bytes]:
    """Name -> content of the visible files of a folder."""
    paths = [path for path in folder.iterdir() if names is None or path.name in names]
    return {path.name: path.read_bytes() for path in sorted(paths)}

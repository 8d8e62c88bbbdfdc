"""A small click world in real shards, and deployments that train on it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from streaming.offline import write_shards
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.checkpoints import Checkpoint, load_checkpoint
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.slices import Slice, chain_dir, read_chain

START = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = 3
EVENTS_PER_DAY = 2400
ROOT = Path(__file__).parents[2]

SMALL = {
    "shards": {"minutes": 20},
    "training": {
        "day_starts_at": "00:00",
        "threads": 1,
        "hourly": {"batch_rows": 64, "holdback_minutes": 20},
        "nightly": {"batch_rows": 64},
    },
    "model": {
        "embedding_width": 8,
        "tower": {"kind": "dnn", "hidden": [16]},
        "output_width": 8,
        "popularity_layer": 0,
        "negatives": [{"kind": "in_batch"}],
    },
}


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant of the world, which begins on day 0 at midnight."""
    return START + timedelta(days=day, hours=hour, minutes=minute)


def deployment_in(folder: Path, changes: dict[str, Any] | None = None) -> Deployment:
    """The quickstart, small, with its data below `folder`."""
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    small = config.fill_in(quickstart, {"data_dir": str(folder), **SMALL})
    return config.fill_in(small, changes or {})


def small_stream(deployment: Deployment, *, days: int = DAYS, seed: int = 5) -> pa.Table:
    """Events of a few hundred users, spread evenly over the days; items change from day to day."""
    rng = np.random.default_rng(seed)
    count = days * EVENTS_PER_DAY
    day_ms = 86_400_000
    at_ms = int(START.timestamp() * 1000) + np.sort(rng.integers(0, days * day_ms, count))
    user = rng.zipf(1.3, count) % 300
    item = (user % 10) * 30 + rng.zipf(1.5, count) % 20 + 10 * ((at_ms // day_ms) % 3)
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": rng.random(count) < 0.5,
        "watch_seconds": rng.random(count),
        "liked": rng.random(count) < 0.1,
        "category": item // 30,
        "topics": pa.array([[int(each) // 30, int(each) % 7] for each in item]),
        "region": user % 4,
    }
    return (
        pa.table(columns)
        .select(list(deployment.events.columns))
        .cast(deployment.events.arrow_schema())
    )


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two partitions of minute shards; nobody writes to them."""
    folder = tmp_path_factory.mktemp("world")
    deployment = deployment_in(folder)
    write_shards(deployment, small_stream(deployment), partitions=2, complete_until=at(DAYS, 1))
    return deployment.shards_dir


@dataclass(frozen=True)
class Line:
    """A deployment with verbs: what an operator would do at some instant."""

    deployment: Deployment

    def night(self, day: int) -> Checkpoint:
        """The nightly runs after that day; the last checkpoint."""
        outcomes = nightly(self.deployment, clock=HeldClock(at(day + 1, 0, 5)))
        assert outcomes[-1].checkpoint is not None
        return self.load(outcomes[-1].checkpoint.name)

    def hour(self, day: int, hour: int, minute: int = 0) -> Checkpoint:
        """The hourly run at that time."""
        outcome = hourly(self.deployment, clock=HeldClock(at(day, hour, minute)))
        assert outcome.checkpoint is not None
        return self.load(outcome.checkpoint.name)

    def load(self, name: str) -> Checkpoint:
        return load_checkpoint(self.deployment.checkpoints_dir, name)

    def slices(self) -> dict[str, Slice]:
        """Those of the line's declaration, by name."""
        own = self.deployment
        root = chain_dir(own.slices_dir, own.events, own.model)
        return {each.name: each for each in read_chain(root)}


MakeLine = Callable[..., Line]


@pytest.fixture
def make_line(tmp_path: Path, shards: Path) -> MakeLine:
    """Lines of training over the same shards, each in a folder of its own."""
    made = 0

    def make(changes: dict[str, Any] | None = None) -> Line:
        nonlocal made
        made += 1
        folders = {"folders": {"shards": str(shards)}}
        return Line(deployment_in(tmp_path / f"line-{made}", folders | (changes or {})))

    return make


@pytest.fixture
def line(make_line: MakeLine) -> Line:
    return make_line()

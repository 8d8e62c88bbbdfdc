"""What it costs to be told of new clicks and to fold them in, beside how much there is already.

    python -m benchmarks.state [--users 10000 100000 1000000] [--clicks 500 20000] [--rounds 5]

The quickstart's model with what users' clicks say of them. Every user has clicked 1 to 20 items, a
fifth as many items as users; new clicks are Zipf over both, one in ten of somebody new. Printed for
each size: processor time of what the clicks are told and of the fold, the median of the rounds, and
the most memory that both took beside the state.
"""

import argparse
import statistics
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from twintide import config
from twintide.config import Deployment
from twintide.derived.clicks import Events
from twintide.derived.state import DerivedState, stateless
from twintide.features.columns import to_columns
from twintide.keys import Keys, keys_of
from twintide.ragged import Encoded, Ids, one_id_each

ROOT = Path(__file__).parents[1]
LENGTH = 20
UNIT_MS = 60_000
DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS


def main() -> None:
    """Measure each number of users; print a row for each and number of clicks."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments.add_argument("--clicks", type=int, nargs="+", default=[500, 20_000])
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    table = Table(title=f"processor time, median of {chosen.rounds}")
    for column in ("users", "clicks", "told [ms]", "folded [ms]", "memory [MB]"):
        table.add_column(column, justify="right")
    deployment = declared()
    for users in chosen.users:
        state = state_of(deployment, users=users, items=users // 5)
        for clicks in chosen.clicks:
            told, folded = zip(
                *(one_fold(state, users, clicks, seed) for seed in range(chosen.rounds + 1)),
                strict=True,
            )
            tracemalloc.start()
            one_fold(state, users, clicks, chosen.rounds + 1)
            peak = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
            milliseconds = [1000 * statistics.median(each[1:]) for each in (told, folded)]
            numbers = (f"{each:,.1f}" for each in (*milliseconds, peak))
            table.add_row(f"{users:,}", f"{clicks:,}", *numbers)
    Console().print(table)


def declared() -> Deployment:
    """The quickstart, told of how much users click."""
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    query = [each.model_dump(mode="json") for each in quickstart.model.query]
    query.append({"kind": "user_statistics", "name": "activity"})
    return config.fill_in(quickstart, {"model": {"query": query}})


def state_of(deployment: Deployment, *, users: int, items: int) -> DerivedState:
    """A state of so many users and items, as a checkpoint gives it."""
    rng = np.random.default_rng(1)
    user, item = keys_of(pa.array(np.arange(users))), keys_of(pa.array(np.arange(items)))
    lengths = np.minimum(rng.geometric(0.25, users), LENGTH)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    empty = DerivedState.empty(deployment)
    arrays = empty.arrays() | {
        "state.users.keys": user,
        "state.users.first_ms": np.full(users, NOW_MS - 30 * DAY_MS),
        "state.history.users": np.sort(user),
        "state.history.offsets": offsets,
        "state.history.items": rng.choice(item, int(offsets[-1])),
        "state.history.at_ms": np.full(int(offsets[-1]), NOW_MS - 2 * DAY_MS),
    }
    features = stateless(deployment.model.candidate)
    columns = to_columns(said_of(item), features, "candidate")
    first_seen = pa.array(np.full(items, NOW_MS - 30 * DAY_MS)).cast(pa.timestamp("ms", tz="UTC"))
    ids = pa.array(np.arange(items))
    catalogue = pa.table({"item_id": ids, "first_seen_at": first_seen, **columns})
    return DerivedState.from_arrays(deployment.model, arrays, catalogue)


def said_of(items: Keys) -> Encoded:
    """What the quickstart's events say of these items."""
    topics = Ids(np.repeat(items, 2), 2 * np.arange(len(items) + 1))
    return {"item": one_id_each(items), "category": one_id_each(items), "topics": topics}


def one_fold(state: DerivedState, users: int, clicks: int, seed: int) -> tuple[float, float]:
    """Seconds of processor time that clicks of one minute take to be told, and to be folded in."""
    rng = np.random.default_rng(1000 * clicks + seed)
    unit_ms = np.full(clicks, NOW_MS + seed * UNIT_MS)
    user, ids = (pa.array(rng.zipf(1.2, clicks) % count) for count in (users * 10 // 9, users // 5))
    events = Events(
        keys_of(user), keys_of(ids), np.sort(unit_ms + rng.integers(0, UNIT_MS, clicks)), unit_ms
    )
    is_click = np.ones(clicks, np.bool_)
    attributes = said_of(events.items)
    spec = state.model.item_statistics()
    if spec is None:
        raise ValueError("the quickstart has item statistics")
    began = time.process_time()
    before = state.item_clicks.copy()
    state.histories_before(events, is_click, None)
    state.users_told(events, is_click)
    told = time.process_time() - began
    began = time.process_time()
    state.add(events, is_click, ids=ids, attributes=attributes)
    folded = time.process_time() - began
    began = time.process_time()
    state.statistics_of(events, is_click, spec, before)
    return told + time.process_time() - began, folded


if __name__ == "__main__":
    main()

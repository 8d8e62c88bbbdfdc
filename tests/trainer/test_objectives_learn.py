"""What objectives are worth: a world in which what is clicked is not what is liked."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from serving.request import RecommendRequest
from serving.retriever import Retriever
from streaming.offline import write_shards
from tests.trainer.conftest import START, Line, at, deployment_in
from twintide.clock import HeldClock
from twintide.config import Deployment

GROUPS, PER_GROUP, DAYS = 5, 20, 2
"""Of each group's items the even ones are clicked much and liked seldom, the odd ones the other way
round: seldom clicked, mostly liked, and watched ten times as long.
"""

OBJECTIVES: dict[str, Any] = {
    "click": {},
    "like": {"positive": {"column": "liked"}, "weight": 3.0},
    "watch": {"loss": {"kind": "log_mse", "column": "watch_seconds"}},
}


def stream(deployment: Deployment) -> pa.Table:
    rng = np.random.default_rng(2)
    count = DAYS * 6_000
    user = rng.integers(0, 100, count)
    is_odd = rng.random(count) < 0.2
    item = (user % GROUPS) * PER_GROUP + 2 * rng.integers(0, PER_GROUP // 2, count) + is_odd
    day_ms = 86_400_000
    at_ms = int(START.timestamp() * 1000) + np.sort(rng.integers(0, DAYS * day_ms, count))
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": np.ones(count, bool),
        "watch_seconds": rng.random(count) * np.where(is_odd, 200.0, 20.0),
        "liked": rng.random(count) < np.where(is_odd, 0.9, 0.02),
        "category": item // PER_GROUP,
        "topics": pa.array([[int(each) // PER_GROUP] for each in item]),
        "region": user % 4,
    }
    wanted = pa.table(columns).select(list(deployment.events.columns))
    return wanted.cast(deployment.events.arrow_schema())


@pytest.mark.long
def test_weights_move_retrieval_from_clicked_to_liked_items(tmp_path: Path) -> None:
    """One version, no retrain: by clicks the even items of a user's group lead, by likes the odd
    ones, and so by how long they are watched. What is between lies between.
    """
    deployment = deployment_in(tmp_path, {"model": {"objectives": OBJECTIVES}})
    write_shards(deployment, stream(deployment), complete_until=at(DAYS, 1))
    Line(deployment).night(DAYS - 1)
    clock = HeldClock(at(DAYS, 1))
    publish(deployment, clock=clock)
    version = load_version(deployment.versions_dir, "v000001")
    retriever = Retriever(version, clock=clock, max_k=100)

    def odd_share(**weights: float) -> float:
        """Of the ten best of each user, those of his group that are liked."""
        own = [
            int(item) % 2 == 1 and int(item) // PER_GROUP == user % GROUPS
            for user in range(100)
            for item in retriever.answer(
                RecommendRequest(user_id=user, k=10, objectives=weights)
            ).item_ids
        ]
        return float(np.mean(own))

    by_click, by_like = odd_share(click=1), odd_share(like=1)
    between = odd_share(click=1, like=0.5)

    assert by_click < 0.3
    assert by_like > 0.7
    assert by_click < between < by_like
    assert odd_share(click=1, watch=3) > by_click + 0.3

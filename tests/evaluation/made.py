"""Runners whose lists are known, as an evaluation leaves them."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from evaluation.clicked import Clicked
from evaluation.costs import Costs
from evaluation.diversity import ItemSpace
from evaluation.metrics import DEPTH, Groups
from evaluation.policies import Policy, parse_policy
from evaluation.runner import Runner
from evaluation.scored import Answering, Clicks, Marks, Scoreboard
from trainer.epoch import Rows
from twintide.keys import Keys

HOUR_MS = 3_600_000
START_MS = 1_772_409_600_000
"""2026-03-02T00:00Z."""

ITEMS = 400
Lists = dict[str, list[Keys]]


@dataclass
class Made:
    """A policy whose lists were drawn."""

    policy: Policy
    board: Scoreboard
    seed: int = 0
    costs: Costs = field(default_factory=Costs)
    versions: int = 3


def scored(hours: int, clicks: int, *, seed: int) -> list[Clicks]:
    """So many clicks an hour of 50 users, in an order of their times."""
    rng = np.random.default_rng(seed)
    found = []
    for hour in range(hours):
        at_ms = START_MS + hour * HOUR_MS + np.sort(rng.integers(0, HOUR_MS, clicks))
        items = rng.integers(1, ITEMS, clicks).astype(np.uint64)
        rows = Rows(f"hour {hour}", at_ms, at_ms, items, {}, {})
        flags = [rng.random(clicks) < 0.4 for _ in range(3)]
        groups = Groups(
            new_user=flags[0],
            anonymous=np.zeros(clicks, bool),
            new_item=flags[1],
            head=flags[2],
            middle=~flags[2] & flags[1],
            long_history=~flags[0],
        )
        users = rng.integers(1, 50, clicks).astype(np.uint64)
        found.append(Clicks.of(Clicked(rows, users), groups, tick_ms=START_MS + hour * HOUR_MS))
    return found


def runner(
    name: str, clicks: list[Clicks], *, skill: float, seed: int = 0
) -> tuple[Runner, list[Keys]]:
    """A policy that finds about that share of clicks, and its lists."""
    rng = np.random.default_rng(hash_of(name) + seed)
    policy = parse_policy(name)
    made, lists = Made(policy, Scoreboard(clicks), seed), []
    for hour, each in enumerate(clicks):
        shown = np.stack([rng.permutation(np.arange(1, ITEMS))[:DEPTH] for _ in each.items])
        shown = shown.astype(np.uint64)
        lucky = np.flatnonzero(rng.random(len(shown)) < skill)
        shown[lucky, rng.integers(0, 30, len(lucky))] = each.items[lucky]
        lists.append(shown)
        answering = Answering()
        if policy.kind == "model":
            newest = int(each.ticks_ms[0]) - HOUR_MS * (1 + hour % 3) // 2
            answering = Answering(newest, int(each.ticks_ms[0]), 0.75 * len(shown), len(shown))
        head = np.arange(1, 20, dtype=np.uint64)
        made.board.add(Marks.of(each.items, shown, head, space=ItemSpace(), answering=answering))
        made.costs.seconds["training" if policy.kind == "model" else "lists"] += 0.5
    return cast("Runner", made), lists


def hash_of(name: str) -> int:
    return sum(map(ord, name))


def data(clicks: list[Clicks], **more: Any) -> dict[str, Any]:
    """What a report says of the data."""
    return {
        "path": "<b>clicks</b>.parquet",
        "events": 1_000,
        "positives": sum(len(each.items) for each in clicks),
        "users": 50,
        "items": ITEMS,
        "first_at": "2026-03-01T00:00:00Z",
        "last_at": "2026-03-04T00:00:00Z",
        "hours": len(clicks),
        "gaps": [],
        "null_columns": [],
        **more,
    }

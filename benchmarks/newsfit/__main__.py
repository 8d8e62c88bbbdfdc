"""Move a few numbers of the news world until it has the statistics of a portal.

    python -m benchmarks.newsfit [--rounds 20] [--tries 6] [--seed 1]

Prints what worlds of the numbers in `clickworld/news/config.py` have beside the portal, then tries
numbers near the best so far, round by round, and keeps what lies closest. A try takes about half a
minute: six days of three portals.
"""

import argparse
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from clickworld.news import NewsConfig, NewsWorld
from clickworld.news.statistics import PORTAL, shares

START_AT = datetime(2026, 1, 5, 4, tzinfo=UTC)
HOURS, FROM_HOUR, SEEDS = 144, 72, (1, 2, 3)
MOVED = (
    *("articles_per_hour", "popularity_spread", "promoted_ratio", "waiting_share"),
    *("unpromoted_share", "half_life_hours", "half_life_spread", "related_ratio", "taste_ratio"),
)
_STEP = 0.1
"""Standard deviation of a try, in natural logarithms."""

Numbers = dict[str, float]


def measured(numbers: Numbers) -> Numbers:
    """What worlds of these numbers have, as the mean over seeds."""
    found = []
    for seed in SEEDS:
        world = NewsWorld(replace(NewsConfig(seed=seed), **numbers))  # type: ignore[arg-type]
        events = pa.concat_tables(world.hours(START_AT, HOURS))
        found.append(shares(events, from_hour=FROM_HOUR))
    return {name: float(np.mean([each[name] for each in found])) for name in PORTAL}


def distance(found: Mapping[str, float]) -> float:
    """Root mean square of what lies between a world and the portal."""
    return float(np.sqrt(np.mean([(found[name] - goal) ** 2 for name, goal in PORTAL.items()])))


def moved(numbers: Numbers, rng: np.random.Generator) -> Numbers:
    """Numbers nearby; shares stay shares."""
    tried = {name: value * np.exp(_STEP * rng.standard_normal()) for name, value in numbers.items()}
    return {
        name: float(min(value, 0.98) if name.endswith("ratio") else value)
        for name, value in tried.items()
    }


def say(numbers: Numbers, found: Numbers) -> None:
    print(f"{distance(found):.4f}", {name: float(f"{each:.3g}") for name, each in numbers.items()})
    print(" ".join(f"{name} {found[name]:.3f} ({PORTAL[name]:.3f})" for name in PORTAL), flush=True)


def main() -> None:
    """Two lines for the best of each round."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--tries", type=int, default=6)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    rng = np.random.default_rng(given.seed)
    best: Numbers = {name: getattr(NewsConfig(), name) for name in MOVED}
    found = measured(best)
    say(best, found)
    with ProcessPoolExecutor(2) as pool:
        for _ in range(given.rounds):
            tries = [moved(best, rng) for _ in range(given.tries)]
            for tried, has in zip(tries, pool.map(measured, tries), strict=True):
                if distance(has) < distance(found):
                    best, found = tried, has
            say(best, found)


if __name__ == "__main__":
    main()

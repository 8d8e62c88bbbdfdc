"""What a declaration finds of what is truly right, on a click world that knows it.

    python -m benchmarks.truths [--seeds 1] [--worlds] [--only NAME …]

Thirty hours of a small world (82,000 impressions, 33,000 clicks), a night and the hours after it,
then answers to 200 users two hours later. Printed for each declaration, as the mean over seeds of
the training:

    best      share of each user's 100 truly best living items that is among their first 100
    unclicked the same, of items that nobody had clicked, most of them born in those two hours
    order     rank correlation of all living items with the truth
    recall    share of the clicks of those two hours that are found in the first 100
    large     the same, of clicks on items of the four categories with the most clicks
    small     of the four with the fewest
    recall10  the share of all of them that is found in the first 10
    cold      in the first 100, of clicks on items that nobody had clicked
    rare      the same, of items that were clicked once to nine times before

With `--worlds` each seed is a world of its own, and what a declaration differs from the first by is
printed as mean and standard error over these pairs.

Then a world of clickbait, learnt once with two objectives, and asked with weights: shares of the
100 items that each user is truly most likely to click, and of those to click and like; and how
many of the answers are bait.

The tests of tests/clickworld/test_world_learnt.py hold the differences that are large.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from tests.clickworld.learnt import HARD, QUICKSTART, SMALL, TAGS, K, Learnt, World, some_users
from twintide.config import load
from twintide.telemetry import configure_logging

COLUMNS = (
    *("best", "unclicked", "order", "recall", "large", "small"),
    *("recall10", "cold", "rare"),
)
WEIGHTS = "weights"
OBJECTIVES: dict[str, Any] = {
    "click": {},
    "like": {"positive": {"column": "liked"}, "weight": 3.0},
}
_LAYERS = [128]
_FEW = 10

Floats = npt.NDArray[np.float64]


def declarations() -> dict[str, dict[str, Any]]:
    """Keys of the configuration, by name."""
    query = load(QUICKSTART).model.model_dump(mode="json")["query"]
    candidate = load(QUICKSTART).model.model_dump(mode="json")["candidate"]
    own = [one for one in candidate if one["name"] in {"item", "statistics"}]
    augmented = {
        "query": [*query, _augmented("user_id")],
        "candidate": [*candidate, _augmented("item_id")],
    }
    of_model: dict[str, dict[str, Any]] = {
        "quickstart": {},
        "without logQ": {"logq": False},
        "without logQ and bias": {"logq": False, "popularity_bias": False},
        "without bias": {"popularity_bias": False},
        "hard negatives, share 0.2": {"negatives": [{"kind": "in_batch"}, HARD | {"share": 0.2}]},
        "hard negatives, share 0.5": {"negatives": [{"kind": "in_batch"}, HARD | {"share": 0.5}]},
        "no content": {"candidate": own},
        "tags": {"candidate": [*own, TAGS["varlen"]]},
        "tags by confidence": {"candidate": [*own, TAGS["weighted_varlen"]]},
        "dnn 128": {"tower": {"kind": "dnn", "hidden": _LAYERS}},
        "dat 128": {"tower": {"kind": "dat", "hidden": _LAYERS}} | augmented,
        "dat 128, aligned": {"tower": _dat(1.0)} | augmented,
        "dat 128, aligned, weight 10": {"tower": _dat(10.0)} | augmented,
        "newcomers counted": {"frequency": {"newcomers": "counted"}},
    }
    again = {
        f"again {share} of {hours} h": {"hourly": {"replay": {"share": share, "hours": hours}}}
        for share, hours in ((0.2, 6), (0.5, 6), (0.2, 24))
    }
    return {
        **{name: {"model": says} for name, says in of_model.items()},
        **{name: {"training": says} for name, says in again.items()},
    }


def _dat(alignment_weight: float) -> dict[str, Any]:
    aligned = {"category": "category", "alignment_weight": alignment_weight}
    return {"kind": "dat", "hidden": _LAYERS} | aligned


def _augmented(column: str) -> dict[str, Any]:
    return {"kind": "sparse", "name": "augmented", "column": column, "table": f"{column}_augmented"}


def main() -> None:
    """A row for each declaration."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument(
        "--only",
        action="append",
        help="declarations of this name; `weights` for the world of clickbait",
    )
    arguments.add_argument("--worlds", action="store_true", help="each seed is a world too")
    chosen = arguments.parse_args()
    configure_logging(level=40)
    seeds = range(1, 1 + chosen.seeds)
    worlds = [World.of(replace(SMALL, seed=seed if chosen.worlds else 1)) for seed in seeds]
    table = Table(*("declaration", *COLUMNS), title="found of what is right")
    first: Floats | None = None
    for name, says in declarations().items():
        if not chosen.only or name in chosen.only:
            found = np.array([measured(*pair, says) for pair in zip(worlds, seeds, strict=True)])
            table.add_row(name, *_cells(found.mean(axis=0), found.std(axis=0)))
            if chosen.worlds and first is not None and len(seeds) > 1:
                more = found - first
                error = more.std(axis=0, ddof=1) / np.sqrt(len(seeds))
                table.add_row("  more than the first", *_cells(more.mean(axis=0), error))
            first = found if first is None else first
            Console(stderr=True).print(name, *found.mean(axis=0).round(3))
    Console().print(table)
    if not chosen.only or WEIGHTS in chosen.only:
        Console().print(asked_with_weights())


def asked_with_weights() -> Table:
    """A row for each way to ask."""
    world = World.of(replace(SMALL, bait_strength=1.0))
    users = some_users(world)
    table = Table("weights", "clicked", "liked", "bait", title="one version, asked with weights")
    with tempfile.TemporaryDirectory() as folder:
        learnt = Learnt.by(world, Path(folder), {"model": {"objectives": OBJECTIVES}})
        for weights in (
            {"click": 1},
            {"click": 1, "like": 1},
            {"click": 1, "like": 3},
            {"like": 1},
        ):
            clicked = learnt.of_the_best(users, objectives=weights)
            liked = learnt.of_the_best(users, liked=True, objectives=weights)
            shown = [learnt.answers(user, objectives=weights) for user in users.tolist()]
            bait = (world.truth.items.bait(np.concatenate(shown)) > 0).mean()
            table.add_row(str(weights), *(f"{each:.3f}" for each in (clicked, liked, bait)))
    return table


def measured(world: World, seed: int, says: dict[str, Any]) -> list[float]:
    """The columns of one row."""
    with tempfile.TemporaryDirectory() as folder:
        own = {**says, "training": {"seed": seed, **says.get("training", {})}}
        learnt = Learnt.by(world, Path(folder), own)
        users = some_users(world)
        clicked, place = learnt.places(every=1)
        category, found = clicked["category"].to_numpy(), place < K
        clicks = np.bincount(
            world.clicks()["item_id"].to_numpy(), minlength=clicked["item_id"].to_numpy().max() + 1
        )[clicked["item_id"].to_numpy()]
        order = np.argsort(-np.bincount(world.clicks()["category"].to_numpy()))
        return [
            learnt.of_the_best(users),
            learnt.of_the_best(users, among=world.unclicked()),
            learnt.agreement(users),
            float(found.mean()),
            float(found[np.isin(category, order[:4])].mean()),
            float(found[np.isin(category, order[-4:])].mean()),
            float((place < _FEW).mean()),
            float(found[clicks == 0].mean()),
            float(found[(clicks > 0) & (clicks < _FEW)].mean()),
        ]


def _cells(means: Floats, spreads: Floats) -> list[str]:
    return [_cell(*pair) for pair in zip(means, spreads, strict=True)]


def _cell(mean: float, spread: float) -> str:
    return f"{mean:.3f} ± {spread:.3f}" if spread else f"{mean:.3f}"


if __name__ == "__main__":
    main()

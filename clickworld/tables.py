"""Impressions as an Arrow table: the columns of `configs/quickstart.yaml`, and two more.

`dropped_by_pre_ranking` and `dropped_by_ranking` name candidates of the request that were not
shown; the first event of a request carries them, the others have empty lists.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clickworld.catalogue import NO_TOPIC, Items
from clickworld.config import WorldConfig
from clickworld.daytime import Floats
from clickworld.funnel import Ranked, Requests
from clickworld.population import Ids, Population

SCHEMA = pa.schema(
    [
        ("event_id", pa.int64()),
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("event_at", pa.timestamp("ms", tz="UTC")),
        ("clicked", pa.bool_()),
        ("watch_seconds", pa.float64()),
        ("liked", pa.bool_()),
        ("category", pa.int64()),
        ("topics", pa.list_(pa.int64())),
        ("region", pa.int64()),
        ("dropped_by_pre_ranking", pa.list_(pa.int64())),
        ("dropped_by_ranking", pa.list_(pa.int64())),
    ]
)

_MEDIAN_WATCH_SECONDS = 40.0
_LIKED_BIAS = -2.5
"""Logit of liking an item whose click was an even chance."""


@dataclass(frozen=True)
class Reactions:
    """What users did with what they were shown; one value for each impression."""

    clicked: npt.NDArray[np.bool_]
    watch_seconds: npt.NDArray[np.float64]
    liked: npt.NDArray[np.bool_]


def react(
    logits: npt.NDArray[np.float32], disappointed: Floats, rng: np.random.Generator
) -> Reactions:
    """Click with the logit's probability; who likes an item more watches longer."""
    clicked = rng.random(len(logits)) < chance(logits)
    watched = _MEDIAN_WATCH_SECONDS * np.exp(0.3 * logits + 0.8 * rng.standard_normal(len(logits)))
    liked = rng.random(len(logits)) < liking(logits, disappointed)
    return Reactions(clicked, np.where(clicked, watched.round(1) + 0.1, 0.0), clicked & liked)


def liking(logits: npt.NDArray[np.float32], disappointed: Floats) -> Floats:
    """[n]: the probability that who clicked likes it; `logits` are those of the clicks."""
    return chance(logits + _LIKED_BIAS - disappointed)


def disappointments(config: WorldConfig, items: Items, shown: Ids) -> Floats:
    """[n]: logits by which each item is liked less than its click tells."""
    return np.asarray(2 * config.bait_strength * items.bait(shown), np.float64)


def chance(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """The probability that a logit stands for."""
    return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))


def event_table(
    config: WorldConfig,
    population: Population,
    items: Items,
    *,
    requests: Requests,
    ranked: Ranked,
    first_event_id: int,
    rng: np.random.Generator,
) -> pa.Table:
    """One row for each impression, requests in order of time, the best ranked first in each."""
    shown = np.isfinite(ranked.logits_RM[:, : config.shown])
    row, place = np.nonzero(shown)
    item = ranked.items_RM[row, place]
    user = requests.users[row]
    reactions = react(ranked.logits_RM[row, place], disappointments(config, items, item), rng)
    is_listing = place == 0
    columns = [
        np.arange(first_event_id, first_event_id + len(row)),
        user,
        item,
        pa.array(requests.times[row]).cast(pa.timestamp("ms", tz="UTC")),
        reactions.clicked,
        reactions.watch_seconds,
        reactions.liked,
        items.category[item],
        _lists(items.topics[item], items.topics[item] != NO_TOPIC),
        population.region[user],
        _dropped(ranked, row, is_listing, begin=config.pre_ranked, count=config.dropped_listed),
        _dropped(
            ranked,
            row,
            is_listing,
            begin=config.shown,
            count=min(config.dropped_listed, config.pre_ranked - config.shown),
        ),
    ]
    return pa.table([pa.array(column) for column in columns], schema=SCHEMA)


def _dropped(
    ranked: Ranked, row: Ids, is_listing: npt.NDArray[np.bool_], *, begin: int, count: int
) -> pa.ListArray:
    """The best `count` candidates from place `begin` on, in the rows that list them."""
    places = slice(begin, begin + count)
    is_there = np.isfinite(ranked.logits_RM[row, places]) & is_listing[:, None]
    return _lists(ranked.items_RM[row, places], is_there)


def _lists(values: Ids, is_there: npt.NDArray[np.bool_]) -> pa.ListArray:
    """[n, m] values as n lists of those that are there."""
    offsets = np.concatenate(([0], np.cumsum(is_there.sum(axis=1)))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values[is_there]))

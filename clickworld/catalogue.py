"""Items: what they are about, how popular they are when born, and how interest in them fades."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from clickworld.config import WorldConfig
from clickworld.daytime import HOUR_MS, Floats, Times
from clickworld.population import Ids, Topics, Vectors, unit
from twintide.keys import mixed

MAX_TOPICS = 4
NO_TOPIC = -1
NEVER_MS = np.iinfo(np.int64).max

_TOPIC_COUNT_SHARES = (0.35, 0.35, 0.2, 0.1)
TOPIC_SHARES = np.array([0.5, 0.25, 0.15, 0.1])
"""What of an item is about its first topic, its second, …; relative to each other."""

_SAME_CATEGORY_RATIO = 0.7
"""How often a further topic of an item is of the first one's category."""

_ITEM_SPREAD = 0.35
"""How far an item lies from the centre of its topics."""

_MOST_LOG_WEIGHT = 4.0
"""Popularity is cut off here: the most popular item draws 55 times what the least does."""


@dataclass(frozen=True)
class Items:
    """Items as columns; an item's id is its row."""

    topics: npt.NDArray[np.int64]
    """[n, 4], the first one names the category; -1 behind the last one."""

    category: Ids
    vectors: Vectors
    log_weight: Floats
    """Natural logarithm of the popularity at birth; its mean is near 0."""

    born_at: Times
    half_life_ms: Floats
    """Infinite for an evergreen, whose interest never fades."""

    dies_at: Times

    def __len__(self) -> int:
        return len(self.category)

    def joined(self, younger: Self) -> Self:
        """These, then `younger`: ids stay."""
        columns = {
            field.name: np.concatenate((getattr(self, field.name), getattr(younger, field.name)))
            for field in fields(self)
        }
        return type(self)(**columns)

    def living(self, at_ms: int) -> Ids:
        """Ids of the items that may be shown at that moment."""
        return np.flatnonzero((self.born_at <= at_ms) & (at_ms < self.dies_at))

    def is_living(self, items: Ids, times: Times) -> npt.NDArray[np.bool_]:
        """Whether each item may be shown at its moment."""
        return (self.born_at[items] <= times) & (times < self.dies_at[items])

    @staticmethod
    def bait(items: Ids) -> Ids:
        """1 for each item that promises more than it holds, -1 for one that is better than it
        looks: a function of its id.
        """
        return np.where(mixed(items.astype(np.uint64)) & np.uint64(1), 1, -1)

    def half_lives(self, items: Ids, times: npt.NDArray[np.int64]) -> Floats:
        """Age of each item at its moment, in half-lives."""
        return (times - self.born_at[items]) / self.half_life_ms[items]


def newborn(
    config: WorldConfig,
    topics: Topics,
    *,
    born_at: Times,
    is_evergreen: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Items:
    """One item for each moment of `born_at`."""
    count = len(born_at)
    about = _topics_of(topics, count, rng)
    shortest, longest = config.half_life_hours
    half_life_ms = rng.uniform(shortest, longest, size=count) * HOUR_MS
    dies_at = born_at + (half_life_ms * config.lifetime_half_lives).astype(np.int64)
    return Items(
        topics=about,
        category=topics.category[about[:, 0]],
        vectors=_vectors_of(topics, about, rng),
        log_weight=_log_weights(config, count, rng) + config.evergreen_log_weight * is_evergreen,
        born_at=born_at,
        half_life_ms=np.where(is_evergreen, np.inf, half_life_ms),
        dies_at=np.where(is_evergreen, NEVER_MS, dies_at),
    )


def _topics_of(topics: Topics, count: int, rng: np.random.Generator) -> Ids:
    total = len(topics.category)
    supply = topics.appeal.mean(axis=0)
    about = np.empty((count, MAX_TOPICS), np.int64)
    about[:, 0] = rng.choice(total, size=count, p=supply)
    categories = int(topics.category.max()) + 1
    for place in range(1, MAX_TOPICS):
        anywhere = rng.integers(total, size=count)
        near = anywhere - anywhere % categories + topics.category[about[:, 0]]
        stays = (rng.random(count) < _SAME_CATEGORY_RATIO) & (near < total)
        about[:, place] = np.where(stays, near, anywhere)
    how_many = 1 + rng.choice(MAX_TOPICS, size=count, p=_TOPIC_COUNT_SHARES)
    about[np.arange(MAX_TOPICS) >= how_many[:, None]] = NO_TOPIC
    for place in range(1, MAX_TOPICS):
        repeated = (about[:, :place] == about[:, place : place + 1]).any(axis=1)
        about[repeated, place] = NO_TOPIC
    return _packed(about)


def _packed(about: Ids) -> Ids:
    """Missing topics moved behind the others, whose order stays."""
    order = np.argsort(about == NO_TOPIC, axis=1, kind="stable")
    return np.take_along_axis(about, order, axis=1)


def _vectors_of(topics: Topics, about: Ids, rng: np.random.Generator) -> Vectors:
    share = np.where(about == NO_TOPIC, 0.0, TOPIC_SHARES).astype(np.float32)
    centres = unit(np.einsum("nk,nkd->nd", share, topics.vectors[about]))
    return unit(centres + _ITEM_SPREAD * unit(rng.normal(size=centres.shape)))


def _log_weights(config: WorldConfig, count: int, rng: np.random.Generator) -> Floats:
    """Weights whose sorted order falls like rank ** -exponent: log weight is exponential."""
    log_weight = config.popularity_exponent * rng.exponential(size=count)
    return np.minimum(log_weight, _MOST_LOG_WEIGHT) - config.popularity_exponent

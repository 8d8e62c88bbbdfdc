"""Articles: what they are about, when they are shown to all, and how interest in them fades."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt

from clickworld.daytime import HOUR_MS, PARTS, Floats, Times, part_weights
from clickworld.news.config import NewsConfig
from clickworld.population import Ids, zipf

NO_TOPIC = -1
NEVER_MS = np.iinfo(np.int64).max
_SECOND_TOPIC_RATIO = 0.4
_NEAR_TOPICS = 3
_WAIT_SHAPE = 2.0
"""Few articles are promoted at once."""

_FADED_HALF_LIVES = 10.0
"""After so many half-lives nobody can find an article any more."""


@dataclass(frozen=True)
class TopicMap:
    """What is written about, and what lies near it."""

    category: Ids
    supply: Floats
    """Share of the articles; sums to 1."""

    near: Ids
    """[topics, 3]: where a reader of the topic may go on."""

    by_part: Floats
    """[parts, topics]: logarithm of what a part of the day makes of a topic."""


@dataclass(frozen=True)
class Articles:
    """Articles as columns; an article's id is its row."""

    topics: Ids
    """[n, 2]: the second is -1 for those that have one."""

    born_at: Times
    promoted_at: Times
    half_life_ms: Floats
    """Infinite for an evergreen."""

    log_weight: Floats

    def __len__(self) -> int:
        return len(self.born_at)

    def joined(self, younger: Self) -> Self:
        """These, then `younger`: ids stay."""
        columns = {
            field.name: np.concatenate((getattr(self, field.name), getattr(younger, field.name)))
            for field in fields(self)
        }
        return type(self)(**columns)

    def fades_at(self, ids: Ids) -> Floats:
        """Unix milliseconds after which an article is not found."""
        bright = np.where(self.is_promoted(ids), self.promoted_at[ids], self.born_at[ids])
        return bright + _FADED_HALF_LIVES * self.half_life_ms[ids]

    def is_promoted(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether the portal will ever show it to all."""
        return np.asarray(self.promoted_at[ids] < NEVER_MS)

    def draws(self, ids: Ids, at_ms: int, *, waiting: float, unpromoted: float) -> Floats:
        """What each draws at that moment, beside the others."""
        is_shown = self.promoted_at[ids] <= at_ms
        bright_at = np.where(is_shown, self.promoted_at[ids], self.born_at[ids])
        age = np.maximum(at_ms - bright_at, 0) / self.half_life_ms[ids]
        draws = np.exp(self.log_weight[ids]) * np.exp2(-age)
        draws *= np.where(is_shown, 1.0, np.where(self.is_promoted(ids), waiting, unpromoted))
        return np.where(self.born_at[ids] <= at_ms, draws, 0.0)


def make_topics(config: NewsConfig, rng: np.random.Generator) -> TopicMap:
    """Topics of categories, some written about more than others."""
    count = config.topics
    category = np.arange(count) % config.categories
    supply = rng.permutation(zipf(count, exponent=0.7))
    near = rng.integers(count, size=(count, _NEAR_TOPICS))
    sibling = (np.arange(count) + config.categories) % count
    near[:, 0] = np.where(category[sibling] == category, sibling, near[:, 0])
    by_part = rng.normal(scale=config.daily_contrast, size=(len(PARTS), count))
    return TopicMap(category, supply, near, by_part)


def newborn(
    config: NewsConfig, topics: TopicMap, *, born_at: Times, rng: np.random.Generator
) -> Articles:
    """One article for each moment."""
    count = len(born_at)
    waits = 0.5 + rng.gamma(_WAIT_SHAPE, 0.5 / _WAIT_SHAPE, count)
    promoted_at = born_at + (waits * config.promotion_hours * HOUR_MS).astype(np.int64)
    is_promoted = rng.random(count) < config.promoted_ratio
    spread = np.where(is_promoted, config.popularity_spread, config.unpromoted_spread)
    log_weight = np.minimum(spread * rng.standard_normal(count), config.most_log_weight)
    return Articles(
        topics=_about(topics, count, rng),
        born_at=born_at,
        promoted_at=np.where(is_promoted, promoted_at, NEVER_MS),
        half_life_ms=_half_lives(config, log_weight, is_promoted, rng),
        log_weight=log_weight,
    )


def _half_lives(
    config: NewsConfig,
    log_weight: Floats,
    is_promoted: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> Floats:
    spread = config.half_life_spread * rng.standard_normal(len(log_weight))
    longer = np.where(is_promoted, 1.0, config.quiet_half_lives)
    hours = config.half_life_hours * longer * np.exp(spread - config.haste * log_weight)
    return np.asarray(hours * HOUR_MS)


def evergreens(config: NewsConfig, topics: TopicMap, rng: np.random.Generator) -> Articles:
    """Pages that have always been there."""
    count = config.evergreen_articles
    never = np.zeros(count, np.int64)
    spread = rng.normal(scale=config.popularity_spread / 2, size=count)
    return Articles(
        topics=_about(topics, count, rng),
        born_at=never,
        promoted_at=never,
        half_life_ms=np.full(count, np.inf),
        log_weight=config.evergreen_log_weight + spread,
    )


def of_the_day(topics: TopicMap, at_ms: int) -> npt.NDArray[np.float64]:
    """[topics]: by what the time of day multiplies the draw of each topic."""
    return np.asarray(np.exp(part_weights(np.array([at_ms]))[0] @ topics.by_part))


def _about(topics: TopicMap, count: int, rng: np.random.Generator) -> Ids:
    first = rng.choice(len(topics.supply), size=count, p=topics.supply)
    second = topics.near[first, rng.integers(_NEAR_TOPICS, size=count)]
    has = (rng.random(count) < _SECOND_TOPIC_RATIO) & (second != first)
    return np.stack((first, np.where(has, second, NO_TOPIC)), axis=1)

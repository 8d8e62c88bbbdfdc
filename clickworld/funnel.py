"""The recommender that the world already has: what it shows, and what it drops on the way.

    candidates (popular, to the taste, at random) -> pre-ranking -> ranking -> shown

It knows the truth but for noise, so what it shows is good, and never the best. R requests, M
candidates of each, D latent width.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clickworld.catalogue import NO_TOPIC, Items
from clickworld.config import WorldConfig
from clickworld.daytime import Times
from clickworld.population import Ids, Population

_PRE_RANKING_NOISE_RATIO = 1.5
"""Pre-ranking is cheap: its noise is that many times ranking's."""

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Requests:
    """R requests, in order of time."""

    users: Ids
    times: Times

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True)
class Ranked:
    """What became of the candidates, best first in each row; M = shown + both kinds of dropped."""

    items_RM: Ids
    logits_RM: Logits
    """Of a click, if it were shown; -inf marks a candidate that came up twice."""


class Shelf:
    """The living items as they stand at one moment, ready to be drawn from."""

    def __init__(self, items: Items, at_ms: int, *, topics: int) -> None:
        """`at_ms` is the moment for which popularity and freshness hold."""
        self.living = items.living(at_ms)
        age = items.half_lives(self.living, np.full(len(self.living), at_ms))
        weights = np.exp(items.log_weight[self.living]) * np.exp2(-age)
        self._cumulative = np.cumsum(weights)
        self._by_topic(items.topics[self.living], weights, topics)

    def _by_topic(self, about: Ids, weights: npt.NDArray[np.float64], topics: int) -> None:
        row, place = np.nonzero(about != NO_TOPIC)
        topic = about[row, place]
        order = np.argsort(topic, kind="stable")
        self._topic_rows = row[order]
        self._topic_cumulative = np.concatenate(([0.0], np.cumsum(weights[row[order]])))
        self._topic_starts = np.searchsorted(topic[order], np.arange(topics + 1))

    def popular(self, shape: tuple[int, int], rng: np.random.Generator) -> Ids:
        """Items drawn in proportion to popularity times freshness."""
        drawn = rng.random(shape) * self._cumulative[-1]
        return self._at(np.searchsorted(self._cumulative, drawn, side="right"))

    def any_of(self, shape: tuple[int, int], rng: np.random.Generator) -> Ids:
        """Items drawn evenly."""
        return self._at(rng.integers(len(self.living), size=shape))

    def about(self, topics_RK: Ids, rng: np.random.Generator) -> Ids:
        """One item of each topic, popular ones more often; of its neighbour where it has none."""
        low = self._topic_cumulative[self._topic_starts[topics_RK]]
        high = self._topic_cumulative[self._topic_starts[topics_RK + 1]]
        drawn = low + rng.random(topics_RK.shape) * (high - low)
        found = np.searchsorted(self._topic_cumulative, drawn, side="right") - 1
        return self._at(self._topic_rows[np.minimum(found, len(self._topic_rows) - 1)])

    def _at(self, rows: Ids) -> Ids:
        return np.asarray(self.living[rows])


def click_logits(
    config: WorldConfig, population: Population, items: Items, *, requests: Requests, items_RM: Ids
) -> Logits:
    """[R, M]: the true logit of a click on each item, shown to that user at that moment."""
    tastes_RD = population.tastes_at(requests.users, requests.times)
    taste_RM = np.einsum("rd,rmd->rm", tastes_RD, items.vectors[items_RM])
    age_RM = items.half_lives(items_RM, requests.times[:, None])
    return np.asarray(
        config.click_bias
        + config.taste_strength * taste_RM
        + config.popularity_strength * items.log_weight[items_RM]
        - config.freshness_strength * age_RM.clip(0, config.lifetime_half_lives)
        + config.bait_strength * items.bait(items_RM),
        np.float32,
    )


def candidates(
    config: WorldConfig,
    population: Population,
    shelf: Shelf,
    *,
    requests: Requests,
    rng: np.random.Generator,
) -> Ids:
    """[R, M]: what is considered for each request; an item may come up twice."""
    liked = population.liked_topics(
        requests.users, requests.times, count=config.candidates_by_taste, rng=rng
    )
    count = len(requests)
    return np.concatenate(
        (
            shelf.popular((count, config.candidates_by_popularity), rng),
            shelf.about(liked, rng),
            shelf.any_of((count, config.candidates_at_random), rng),
        ),
        axis=1,
    )


def rank(config: WorldConfig, items_RM: Ids, logits_RM: Logits, rng: np.random.Generator) -> Ranked:
    """Order the candidates: the `shown` first, then those ranking drops, then pre-ranking's."""
    logits_RM = np.where(_comes_again(items_RM), -np.inf, logits_RM).astype(np.float32)
    noise = rng.standard_normal(logits_RM.shape, dtype=np.float32) * np.float32(
        config.ranking_noise
    )
    pre_ranked = np.argsort(-(logits_RM + _PRE_RANKING_NOISE_RATIO * noise), axis=1)
    items_RM = np.take_along_axis(items_RM, pre_ranked, axis=1)
    logits_RM = np.take_along_axis(logits_RM, pre_ranked, axis=1)

    kept = config.pre_ranked
    noise = rng.standard_normal((len(items_RM), kept), dtype=np.float32)
    ranked = np.argsort(-(logits_RM[:, :kept] + config.ranking_noise * noise), axis=1)
    items_RM[:, :kept] = np.take_along_axis(items_RM[:, :kept], ranked, axis=1)
    logits_RM[:, :kept] = np.take_along_axis(logits_RM[:, :kept], ranked, axis=1)
    return Ranked(items_RM, logits_RM)


def _comes_again(items_RM: Ids) -> npt.NDArray[np.bool_]:
    """Whether the same item stands in the same row already."""
    order = np.argsort(items_RM, axis=1, kind="stable")
    ordered = np.take_along_axis(items_RM, order, axis=1)
    again = np.zeros(items_RM.shape, np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    found = np.empty_like(again)
    np.put_along_axis(found, order, again, axis=1)
    return found

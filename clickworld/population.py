"""Topics, and the users who like some of them in the morning, others at noon and in the evening."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clickworld.config import WorldConfig
from clickworld.daytime import PARTS, Floats, Times, part_weights

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
"""[n, latent width]."""

_FAVOURITE_WEIGHTS = np.array([0.4, 0.25, 0.2, 0.15])
"""Two favourite topics of the part of the day, one for the whole day, one of the region."""

_TOPIC_SPREAD = 0.8
"""How far a topic lies from the centre of its category, which has length 1."""

_PART_CONTRAST = 1.2
"""How much the parts of the day differ in the categories that people like then."""


@dataclass(frozen=True)
class Topics:
    """What items are about."""

    vectors: Vectors
    category: Ids
    """Topic -> its category."""

    appeal: Floats
    """[parts, topics]: how likely a topic is a favourite; each row sums to 1."""


@dataclass(frozen=True)
class Population:
    """All users; a user's id is their row."""

    region: Ids
    favourites: Ids
    """[users, parts, 4]: topics liked in each part of the day."""

    tastes: Vectors
    """[users, parts, latent width]: where the favourites lie."""

    activity: Floats
    """Cumulative share of the visits, in the order of ids; ends at 1."""

    def visitors(self, count: int, rng: np.random.Generator) -> Ids:
        """That many users, active ones more often."""
        return np.asarray(np.searchsorted(self.activity, rng.random(count), side="right"))

    def tastes_at(self, users: Ids, times: Times) -> Vectors:
        """[n, latent width]: what each user likes at that moment."""
        weights = part_weights(times).astype(np.float32)
        return np.asarray(np.einsum("np,npd->nd", weights, self.tastes[users]))

    def liked_topics(
        self, users: Ids, times: Times, *, count: int, rng: np.random.Generator
    ) -> Ids:
        """[n, count]: topics drawn from each user's favourites at that moment."""
        until = np.cumsum(part_weights(times), axis=1)
        part = (rng.random((len(users), count))[:, :, None] > until[:, None, :-1]).sum(axis=2)
        which = np.searchsorted(np.cumsum(_FAVOURITE_WEIGHTS)[:-1], rng.random(part.shape))
        return np.asarray(self.favourites[users[:, None], part, which])


def make_topics(config: WorldConfig, rng: np.random.Generator) -> Topics:
    """Topics around the centres of their categories."""
    category = np.arange(config.topics) % config.categories
    centres = unit(rng.normal(size=(config.categories, config.latent_width)))
    spread = unit(rng.normal(size=(config.topics, config.latent_width))) * _TOPIC_SPREAD
    by_category = np.exp(rng.normal(scale=_PART_CONTRAST, size=(len(PARTS), config.categories)))
    appeal = by_category[:, category] * rng.permutation(zipf(config.topics, exponent=0.5))
    return Topics(
        vectors=unit(centres[category] + spread),
        category=category,
        appeal=appeal / appeal.sum(axis=1, keepdims=True),
    )


def make_population(config: WorldConfig, topics: Topics, rng: np.random.Generator) -> Population:
    """Users with a region, favourites and a rank of activity."""
    region = rng.integers(config.regions, size=config.users)
    favourites = _favourites(config, topics, region, rng)
    tastes = np.einsum(
        "k,upkd->upd", _FAVOURITE_WEIGHTS.astype(np.float32), topics.vectors[favourites]
    )
    activity = np.cumsum(rng.permutation(zipf(config.users, exponent=config.activity_exponent)))
    activity[-1] = 1.0
    return Population(region, favourites, unit(tastes), activity)


def _favourites(config: WorldConfig, topics: Topics, region: Ids, rng: np.random.Generator) -> Ids:
    favourites = np.empty((config.users, len(PARTS), len(_FAVOURITE_WEIGHTS)), np.int64)
    for part in range(len(PARTS)):
        favourites[:, part, :2] = rng.choice(
            config.topics, size=(config.users, 2), p=topics.appeal[part]
        )
    favourites[:, :, 2] = rng.integers(config.topics, size=(config.users, 1))
    favourites[:, :, 3] = rng.integers(config.topics, size=config.regions)[region][:, None]
    return favourites


def zipf(count: int, *, exponent: float) -> Floats:
    """Shares of the ranks 1 to `count`, in proportion to rank ** -exponent."""
    shares = np.arange(1, count + 1) ** -exponent
    return np.asarray(shares / shares.sum())


def unit(vectors: npt.NDArray[np.floating]) -> Vectors:
    """The same directions, length 1, float32."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)

"""Readers: where they live, what they like, who comes, and what they have read.

What a reader is follows from the id alone; so there may be any number of them.
"""

import numpy as np
import numpy.typing as npt

from clickworld.daytime import Floats
from clickworld.news.config import NewsConfig
from clickworld.population import Ids
from twintide.keys import mixed

_LIKED_SHARES = (0.5, 0.3, 0.2)
"""Of the topics of a reader's region, of the topics that many like, of any."""


def regions_of(config: NewsConfig, readers: Ids) -> Ids:
    """Where each lives."""
    return np.asarray((_even(config, readers, 0) * config.regions).astype(np.int64))


def liked_topics(config: NewsConfig, readers: Ids, supply: Floats, chance: Floats) -> Ids:
    """One topic that each reader likes; `chance`, of [0, 1), says which of three."""
    region = regions_of(config, readers)
    of_region = (_even(config, region, 1) * config.topics).astype(np.int64)
    of_many = np.searchsorted(np.cumsum(supply)[:-1], _even(config, readers, 2))
    of_any = (_even(config, readers, 3) * config.topics).astype(np.int64)
    which = np.searchsorted(np.cumsum(_LIKED_SHARES)[:-1], chance)
    return np.asarray(np.choose(which, (of_region, of_many, of_any)))


def _even(config: NewsConfig, ids: Ids, purpose: int) -> Floats:
    """A number of [0, 1) for each id, the same whenever it is asked for."""
    salted = ids.astype(np.uint64) + np.uint64((config.seed * 8 + purpose) << 40)
    return np.asarray((mixed(salted) >> np.uint64(11)) * 2.0**-53)


class Readers:
    """All who have ever come, and what each has read last."""

    def __init__(self, config: NewsConfig) -> None:
        self._config = config
        self._count = config.regulars
        self._read = np.full((config.regulars, config.remembered), -1, np.int32)
        self._next = np.zeros(config.regulars, np.int32)

    def visitors(self, count: int, rng: np.random.Generator) -> Ids:
        """The readers of that many sessions; newcomers have the next ids."""
        chance, age = rng.random(count), rng.random(count)
        is_new = chance < self._config.newcomers_ratio
        came = np.asarray((self._count * age**self._config.return_exponent).astype(np.int64))
        came[is_new] = np.arange(self._count, self._count + is_new.sum())
        self._grow(self._count + int(is_new.sum()))
        return came

    def has_read(self, readers: Ids, articles: Ids) -> npt.NDArray[np.bool_]:
        """Whether each remembers to have read the article."""
        return np.asarray((self._read[readers] == articles[:, None]).any(axis=1))

    def read(self, readers: Ids, articles: Ids) -> None:
        """Each has read one more."""
        places = self._next[readers]
        self._read[readers, places] = articles
        self._next[readers] = (places + 1) % self._config.remembered

    def _grow(self, count: int) -> None:
        self._count = count
        room = len(self._next)
        if count > room:
            more = max(count - room, room)
            unread = np.full((more, self._config.remembered), -1, np.int32)
            self._read = np.concatenate((self._read, unread))
            self._next = np.concatenate((self._next, np.zeros(more, np.int32)))

"""The click world itself: hour after hour of impressions, and the truth behind them.

What happens in an hour is a function of the configuration, the start and the hour alone. The truth
(`affinity`, `best_items`) may be asked about any moment that the simulation has reached.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clickworld.catalogue import Items, newborn
from clickworld.config import WorldConfig
from clickworld.course import Course
from clickworld.daytime import HOUR_MS, Floats, rate_at
from clickworld.funnel import Logits, Requests, Shelf, candidates, click_logits, rank
from clickworld.population import Ids, make_population, make_topics
from clickworld.tables import SCHEMA, chance, disappointments, event_table, liking
from twintide.clock import to_unix_ms

BLOCK_MINUTES = 10
"""How often the shelf is filled anew: an item is shown within that time of its birth."""

_BLOCK_MS = BLOCK_MINUTES * 60_000
_LEAD_HOURS = 32
"""Hours of births before the start, so that the first hour finds a shelf as full as later ones."""

_MADE_FIRST, _EVERGREENS, _BIRTHS, _TRAFFIC = range(4)
"""What random numbers are for: each purpose has its own stream."""


class ClickWorld:
    """A world at some hour. It only moves forward."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        rng = self._rng(_MADE_FIRST)
        self.topics = make_topics(config, rng)
        self.population = make_population(config, self.topics, rng)
        self.items = self._evergreens()
        self._course = Course(lead_hours=_LEAD_HOURS, world="ClickWorld")
        self._events = 0

    def hours(self, start_at: datetime, hours: int) -> Iterator[pa.Table]:
        """The next `hours` hours, one table each, rows in order of time.

        Raises Refused where `start_at` is no full hour, or not the one the world has come to.
        """
        for lead_ms in self._course.go_on(start_at):
            self._give_birth(lead_ms)
        for hour in range(hours):
            yield self._hour(start_at + timedelta(hours=hour))

    def affinity(self, user_ids: Ids, item_ids: Ids, at: datetime) -> Floats:
        """The true probability that each user clicks on the item, shown at `at`; 0 if not alive.

        Two arrays of n ids in, n probabilities out.
        """
        users, items = np.broadcast_arrays(user_ids, item_ids)
        return np.where(self._is_alive(items, at), chance(self._logits(users, items, at)), 0.0)

    def liking(self, user_ids: Ids, item_ids: Ids, at: datetime) -> Floats:
        """As `affinity`, that each user clicks on the item and likes it."""
        users, items = np.broadcast_arrays(user_ids, item_ids)
        logits = self._logits(users, items, at)
        found = chance(logits) * liking(logits, disappointments(self.config, self.items, items))
        return np.where(self._is_alive(items, at), found, 0.0)

    def best_items(self, user_id: int, at: datetime, k: int, *, liked: bool = False) -> Ids:
        """The k living items with the largest affinity to the user at `at`, best first; or those
        that are most probably liked.
        """
        living = self.items.living(to_unix_ms(at))
        truth = self.liking if liked else self.affinity
        return living[
            np.argsort(-truth(np.full(len(living), user_id), living, at), kind="stable")[:k]
        ]

    def _logits(self, users: Ids, items: Ids, at: datetime) -> Logits:
        requests = Requests(users, np.full(len(users), to_unix_ms(at)))
        return click_logits(
            self.config, self.population, self.items, requests=requests, items_RM=items[:, None]
        )[:, 0]

    def _is_alive(self, items: Ids, at: datetime) -> npt.NDArray[np.bool_]:
        return self.items.is_living(items, np.full(len(items), to_unix_ms(at)))

    def _hour(self, hour_at: datetime) -> pa.Table:
        begin_ms = to_unix_ms(hour_at)
        self._give_birth(begin_ms)
        rng = self._rng(_TRAFFIC, begin_ms // HOUR_MS)
        blocks = [
            self._block(at_ms, rng) for at_ms in range(begin_ms, begin_ms + HOUR_MS, _BLOCK_MS)
        ]
        self._course.passed(hour_at)
        return pa.concat_tables([SCHEMA.empty_table(), *blocks]).combine_chunks()

    def _block(self, at_ms: int, rng: np.random.Generator) -> pa.Table:
        shelf = Shelf(self.items, at_ms, topics=self.config.topics)
        requests = self._requests(at_ms, rng)
        items_RM = candidates(self.config, self.population, shelf, requests=requests, rng=rng)
        logits_RM = click_logits(
            self.config, self.population, self.items, requests=requests, items_RM=items_RM
        )
        table = event_table(
            self.config,
            self.population,
            self.items,
            requests=requests,
            ranked=rank(self.config, items_RM, logits_RM, rng),
            first_event_id=self._events,
            rng=rng,
        )
        self._events += len(table)
        return table

    def _requests(self, at_ms: int, rng: np.random.Generator) -> Requests:
        expected = rate_at(self.config.impressions_per_hour, at_ms) / self.config.shown
        count = rng.poisson(expected * _BLOCK_MS / HOUR_MS)
        times = np.sort(rng.integers(at_ms, at_ms + _BLOCK_MS, size=count))
        return Requests(self.population.visitors(count, rng), times)

    def _give_birth(self, begin_ms: int) -> None:
        """Add the items of one hour."""
        rng = self._rng(_BIRTHS, begin_ms // HOUR_MS)
        count = rng.poisson(rate_at(self.config.items_per_hour, begin_ms))
        born_at = np.sort(rng.integers(begin_ms, begin_ms + HOUR_MS, size=count))
        is_evergreen = rng.random(count) < self.config.evergreen_births_ratio
        self.items = self.items.joined(
            newborn(self.config, self.topics, born_at=born_at, is_evergreen=is_evergreen, rng=rng)
        )

    def _evergreens(self) -> Items:
        count = self.config.evergreen_items
        return newborn(
            self.config,
            self.topics,
            born_at=np.zeros(count, np.int64),
            is_evergreen=np.ones(count, np.bool_),
            rng=self._rng(_EVERGREENS),
        )

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *purpose])


def simulate(config: WorldConfig, start_at: datetime, hours: int) -> pa.Table:
    """All impressions of a new world's first `hours` hours, in order of time."""
    return pa.concat_tables(ClickWorld(config).hours(start_at, hours)).combine_chunks()

"""The news world itself: hour after hour of clicks.

What happens in an hour is a function of the configuration and the start alone.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from clickworld.course import Course
from clickworld.daytime import HOUR_MS, rate_at
from clickworld.news.articles import (
    NO_TOPIC,
    evergreens,
    make_topics,
    newborn,
    of_the_day,
)
from clickworld.news.config import NewsConfig
from clickworld.news.readers import Readers, regions_of
from clickworld.news.sessions import Clicks, FrontPage, Portal
from clickworld.population import Ids
from twintide.clock import to_unix_ms

SCHEMA = pa.schema(
    [
        ("event_id", pa.int64()),
        ("user_id", pa.int64()),
        ("item_id", pa.int64()),
        ("event_at", pa.timestamp("ms", tz="UTC")),
        ("category", pa.int64()),
        ("topics", pa.list_(pa.int64())),
        ("region", pa.int64()),
        ("published_at", pa.timestamp("ms", tz="UTC")),
    ]
)
BLOCK_MINUTES = 10
"""How often the front page is made anew."""

_BLOCK_MS = BLOCK_MINUTES * 60_000
_LEAD_HOURS = 120
"""Hours of births before the start, so that the first hour finds a front page like later ones."""

_MADE_FIRST, _BIRTHS, _TRAFFIC = range(3)
"""What random numbers are for: each purpose has its own stream."""


class NewsWorld:
    """A portal at some hour. It only moves forward."""

    def __init__(self, config: NewsConfig) -> None:
        self.config = config
        rng = self._rng(_MADE_FIRST)
        self.topics = make_topics(config, rng)
        self.articles = evergreens(config, self.topics, rng)
        self._portal = Portal(config, self.topics)
        self._readers = Readers(config)
        self._hours_gone = 0
        self._course = Course(lead_hours=_LEAD_HOURS, world="NewsWorld")
        self._later = Clicks.none()
        self._events = 0

    def hours(self, start_at: datetime, hours: int) -> Iterator[pa.Table]:
        """The next `hours` hours, one table each, rows in order of time.

        Raises Refused where `start_at` is no full hour, or not the one the world has come to.
        """
        for lead_ms in self._course.go_on(start_at):
            self._give_birth(lead_ms)
        for hour in range(hours):
            yield self._hour(start_at + timedelta(hours=hour))

    def _hour(self, hour_at: datetime) -> pa.Table:
        begin_ms = to_unix_ms(hour_at)
        self._give_birth(begin_ms)
        living = np.flatnonzero(self.articles.fades_at(np.arange(len(self.articles))) > begin_ms)
        rng = self._rng(_TRAFFIC, begin_ms // HOUR_MS)
        clicks = self._later
        for at_ms in range(begin_ms, begin_ms + HOUR_MS, _BLOCK_MS):
            clicks = clicks.joined(self._block(at_ms, living, rng))
        self._course.passed(hour_at)
        is_later = clicks.times >= begin_ms + HOUR_MS
        self._later = clicks.take(np.flatnonzero(is_later))
        return self._recorded(clicks.take(np.flatnonzero(~is_later)))

    def _block(self, at_ms: int, living: Ids, rng: np.random.Generator) -> Clicks:
        config, about = self.config, self.articles.topics[living]
        draws = self.articles.draws(
            living, at_ms, waiting=config.waiting_share, unpromoted=config.unpromoted_share
        )
        draws = draws * of_the_day(self.topics, at_ms)[about[:, 0]]
        page = FrontPage(living, draws, about, topics=config.topics)
        mean = rate_at(config.clicks_per_hour, at_ms) / 6 / config.clicks_per_session
        begin = at_ms + rng.integers(_BLOCK_MS, size=rng.poisson(mean))
        who = self._readers.visitors(len(begin), rng)
        return self._portal.sessions(
            page, self.articles, readers=self._readers, who=who, begin=begin, rng=rng
        )

    def _recorded(self, clicks: Clicks) -> pa.Table:
        first, until = self.config.outage_hours
        self._hours_gone += 1
        if first < self._hours_gone <= until:
            return SCHEMA.empty_table()
        clicks = clicks.take(np.lexsort((clicks.readers, clicks.times)))
        table = self._table(clicks)
        self._events += len(table)
        return table

    def _table(self, clicks: Clicks) -> pa.Table:
        about = self.articles.topics[clicks.articles]
        is_there = about != NO_TOPIC
        offsets = np.concatenate(([0], np.cumsum(is_there.sum(axis=1)))).astype(np.int32)
        columns = [
            np.arange(self._events, self._events + len(clicks.times)),
            clicks.readers,
            clicks.articles,
            pa.array(clicks.times).cast(pa.timestamp("ms", tz="UTC")),
            self.topics.category[about[:, 0]],
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(about[is_there])),
            regions_of(self.config, clicks.readers),
            pa.array(self.articles.born_at[clicks.articles]).cast(pa.timestamp("ms", tz="UTC")),
        ]
        return pa.table([pa.array(column) for column in columns], schema=SCHEMA)

    def _give_birth(self, begin_ms: int) -> None:
        rng = self._rng(_BIRTHS, begin_ms // HOUR_MS)
        count = rng.poisson(rate_at(self.config.articles_per_hour, begin_ms))
        born_at = np.sort(rng.integers(begin_ms, begin_ms + HOUR_MS, size=count))
        self.articles = self.articles.joined(
            newborn(self.config, self.topics, born_at=born_at, rng=rng)
        )

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, *purpose])

"""What is clicked: a session goes from article to article, along a topic or to the front page.

    front page (all, by draw; or a topic that is liked) -> the same topic, or one near it -> …

S sessions, those of ten minutes at once.
"""

from dataclasses import dataclass

import numpy as np

from clickworld.daytime import HOUR_MS, Floats, Times
from clickworld.news.articles import NO_TOPIC, Articles, TopicMap
from clickworld.news.config import NewsConfig
from clickworld.news.readers import Readers, liked_topics
from clickworld.population import Ids

_TRIES = 8
"""How often a reader looks on where an article was read before; then the session ends."""

_TRIES_ALONG = 6
"""Of these, along the topic; then on the front page."""


@dataclass(frozen=True)
class Clicks:
    """Clicks as columns."""

    readers: Ids
    articles: Ids
    times: Times

    def take(self, rows: Ids) -> "Clicks":
        """Some of them."""
        return Clicks(self.readers[rows], self.articles[rows], self.times[rows])

    def joined(self, more: "Clicks") -> "Clicks":
        """These, then more."""
        return Clicks(
            np.concatenate((self.readers, more.readers)),
            np.concatenate((self.articles, more.articles)),
            np.concatenate((self.times, more.times)),
        )

    @classmethod
    def none(cls) -> "Clicks":
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing, nothing)


class FrontPage:
    """The articles as they are drawn at one moment."""

    def __init__(self, living: Ids, draws: Floats, about: Ids, *, topics: int) -> None:
        self._living = living
        self._all = np.cumsum(draws)
        row, place = np.nonzero(about != NO_TOPIC)
        topic = about[row, place]
        order = np.argsort(topic, kind="stable")
        self._rows = row[order]
        self._by_topic = np.concatenate(([0.0], np.cumsum(draws[self._rows])))
        self._starts = np.searchsorted(topic[order], np.arange(topics + 1))

    def any_of(self, chance: Floats) -> Ids:
        """One article for each chance of [0, 1)."""
        found = np.searchsorted(self._all, chance * self._all[-1], side="right")
        return np.asarray(self._living[np.minimum(found, len(self._living) - 1)])

    def about(self, topics: Ids, chance: Floats) -> Ids:
        """One article of each topic; of its neighbour where it has none."""
        low = self._by_topic[self._starts[topics]]
        high = self._by_topic[self._starts[topics + 1]]
        found = np.searchsorted(self._by_topic, low + chance * (high - low), side="right") - 1
        return np.asarray(self._living[self._rows[np.minimum(found, len(self._rows) - 1)]])


@dataclass(frozen=True)
class Portal:
    """What does not change from moment to moment."""

    config: NewsConfig
    topics: TopicMap

    def sessions(
        self,
        page: FrontPage,
        articles: Articles,
        *,
        readers: Readers,
        who: Ids,
        begin: Times,
        rng: np.random.Generator,
    ) -> Clicks:
        """The clicks of sessions of these readers, which begin at these moments."""
        lengths = 1 + rng.choice(
            len(self.config.session_clicks), size=len(who), p=self.config.session_clicks
        )
        before = np.full(len(who), NO_TOPIC)
        clicks, times = Clicks.none(), begin
        for place in range(len(self.config.session_clicks)):
            stays = np.flatnonzero(lengths > place)
            who, lengths, before, times = (
                column[stays] for column in (who, lengths, before, times)
            )
            found = self._next(page, who, before, readers, rng)
            stays = np.flatnonzero(found >= 0)
            who, lengths, times, found = (column[stays] for column in (who, lengths, times, found))
            readers.read(who, found)
            clicks = clicks.joined(Clicks(who, found, times))
            before = articles.topics[found, 0]
            waits = rng.exponential(self.config.seconds_between_clicks * 1000, size=len(who))
            times = times + 1000 + np.minimum(waits, HOUR_MS / 2).astype(np.int64)
        return clicks

    def _next(
        self, page: FrontPage, who: Ids, before: Ids, readers: Readers, rng: np.random.Generator
    ) -> Ids:
        """The next article of each session, -1 where the reader finds nothing new."""
        found = np.full(len(who), -1)
        open_ = np.arange(len(who))
        for turn in range(_TRIES):
            before = np.where(turn < _TRIES_ALONG, before, NO_TOPIC)
            drawn = self._drawn(page, who[open_], before[open_], rng)
            is_new = ~readers.has_read(who[open_], drawn)
            found[open_[is_new]] = drawn[is_new]
            open_ = open_[~is_new]
        return found

    def _drawn(self, page: FrontPage, who: Ids, before: Ids, rng: np.random.Generator) -> Ids:
        config = self.config
        chance = rng.random((4, len(who)))
        follows = (chance[0] < config.related_ratio) & (before != NO_TOPIC)
        near = self.topics.near[before, (chance[1] * self.topics.near.shape[1]).astype(np.int64)]
        along = np.where(chance[2] < config.same_topic_ratio, before, near)
        liked = liked_topics(config, who, self.topics.supply, chance[1])
        by_taste = ~follows & (chance[2] < config.taste_ratio)
        of_topic = page.about(np.where(follows, along, liked), chance[3])
        return np.where(follows | by_taste, of_topic, page.any_of(chance[3]))

"""What a news world is made of: every number of it, with its unit.

What a portal has told of itself (how busy, how long sessions are, how many are new) is written
down as it is; the rest was moved, by hand and as `python -m benchmarks.newsfit` does, until the
shares of its hours inside frozen lists are near those of the portal.
"""

from dataclasses import dataclass

from twintide.errors import Refused


@dataclass(frozen=True, kw_only=True)
class NewsConfig:
    """A portal. Two worlds of one configuration are the same to the byte."""

    seed: int = 1

    clicks_per_hour: float = 8_000.0
    """As the mean over a whole day."""

    session_clicks: tuple[float, ...] = (0.0, 0.50, 0.27, 0.14, 0.09)
    """Shares of the sessions that want one click, two, and so on."""

    seconds_between_clicks: float = 60.0
    """Mean time that an article is read within a session."""

    outage_hours: tuple[int, int] = (150, 155)
    """Nothing is recorded from the first to the second, in hours after the start."""

    regions: int = 8
    categories: int = 12
    topics: int = 60
    """Each topic belongs to one category, each article has one topic and often a second."""

    articles_per_hour: float = 135.0
    """Articles born an hour, as the mean over a whole day; many are never clicked."""

    popularity_spread: float = 2.7
    """Standard deviation of the natural logarithm of what an article draws at its best."""

    unpromoted_spread: float = 1.2
    """The same of articles that the portal never shows to all."""

    most_log_weight: float = 6.0
    """Where it is cut off."""

    promoted_ratio: float = 0.07
    """Articles that the portal shows to all at some time; the others have to be looked for."""

    promotion_hours: float = 2.5
    """Mean time from the birth of an article until the portal shows it to all."""

    waiting_share: float = 0.015
    """What one draws before that, of what it will."""

    unpromoted_share: float = 0.0026
    """What one draws that is never shown to all, of what it could."""

    half_life_hours: float = 1.6
    """Median time in which the interest in an article halves, once it was promoted."""

    half_life_spread: float = 0.5
    """Standard deviation of its natural logarithm."""

    quiet_half_lives: float = 5.0
    """How many times as long it is for one that the portal never shows to all."""

    haste: float = 0.03
    """How much sooner what draws more is old: part of the logarithm of the draw that the logarithm
    of the half-life loses.
    """

    evergreen_articles: int = 300
    """Pages that are there from the start and never fade."""

    evergreen_log_weight: float = -6.0
    """What the median evergreen draws beside the median article, natural logarithm."""

    daily_contrast: float = 0.4
    """How much topics differ in what morning, noon and evening make of them; natural logarithm."""

    related_ratio: float = 0.95
    """Clicks within a session that follow the topic of the article before."""

    same_topic_ratio: float = 0.97
    """Of these, those that stay in it; the others go to a topic near it."""

    taste_ratio: float = 0.03
    """Clicks, of those that follow nothing, on a topic that the reader likes."""

    regulars: int = 25_000
    """Readers who were there before the start."""

    newcomers_ratio: float = 0.225
    """Sessions of somebody who has never been there."""

    return_exponent: float = 1.7
    """Who comes back: the reader of rank u ** this, of all by age; above 1, older ones more."""

    remembered: int = 16
    """What a reader has read last and will not read again."""

    def __post_init__(self) -> None:
        """Refuse a world that cannot be."""
        if min(self.regions, self.regulars, self.evergreen_articles, self.remembered) < 1:
            raise Refused(
                "a portal needs a region, a regular reader, an evergreen page and a memory",
                hint="set them to 1 or more",
            )
        if not 1 <= self.categories <= self.topics:
            raise Refused(
                f"{self.topics} topics do not fill {self.categories} categories",
                hint="each category needs a topic",
            )
        if abs(sum(self.session_clicks) - 1) > 1e-9:  # noqa: PLR2004  rounding
            raise Refused("the shares of session_clicks do not sum to 1", hint="make them so")

    @property
    def clicks_per_session(self) -> float:
        """The mean."""
        return sum((place + 1) * share for place, share in enumerate(self.session_clicks))

"""What a click world is made of: every number of it, with its unit."""

from dataclasses import dataclass
from typing import Self

from clickworld.daytime import share_of_day
from twintide.errors import Refused


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """A world. Two worlds of one configuration are the same to the byte."""

    seed: int = 1

    users: int = 20_000
    regions: int = 8
    """Users of one region share a liking for one topic."""

    activity_exponent: float = 0.5
    """The user of rank r visits in proportion to r to the minus this: Zipf-like."""

    categories: int = 12
    topics: int = 72
    """Each topic belongs to one category; an item has one to four topics."""

    latent_width: int = 16
    """Numbers in the vectors of topics, items and tastes."""

    impressions_per_hour: float = 12_000.0
    """Event rows an hour, as the mean over a whole day."""

    items_per_hour: float = 90.0
    """Items born an hour, as the mean over a whole day."""

    half_life_hours: tuple[float, float] = (2.0, 8.0)
    """Shortest and longest time in which the interest in an item halves."""

    lifetime_half_lives: float = 4.0
    """An item is shown for that many half-lives."""

    evergreen_items: int = 1_500
    """Items that are there from the start and stay for good."""

    evergreen_births_ratio: float = 0.02
    """Share of the newborn items that stay for good."""

    evergreen_log_weight: float = -0.5
    """What an evergreen lacks in popularity to an item just born; natural logarithm."""

    popularity_exponent: float = 0.75
    """The item of rank r among its peers draws attention in proportion to r to the minus this."""

    candidates_by_popularity: int = 8
    """Candidates of a request drawn as often as they are popular."""

    candidates_by_taste: int = 12
    """Candidates drawn from the topics that the user likes at that time of day."""

    candidates_at_random: int = 4
    """Candidates drawn evenly from all living items."""

    pre_ranked: int = 10
    """Candidates that pre-ranking leaves to ranking."""

    shown: int = 4
    """Impressions of one request."""

    dropped_listed: int = 4
    """Candidates dropped by pre-ranking, and by ranking, that a request's first event names."""

    ranking_noise: float = 1.0
    """Standard deviation of what ranking gets wrong, in logits; pre-ranking gets more wrong."""

    click_bias: float = -3.6
    """Logit of a click on an item of mean popularity, just born, that is nothing to the user."""

    taste_strength: float = 5.0
    """Logits between an item that is all to the user's taste and one that is nothing to them."""

    popularity_strength: float = 0.4
    """Logits for each natural logarithm of an item's popularity."""

    freshness_strength: float = 0.4
    """Logits that an item loses with each half-life of its age."""

    bait_strength: float = 0.0
    """Logits by which half of the items are clicked more for what they promise, and liked less for
    it twice over; the other half are better than they look.
    """

    def __post_init__(self) -> None:
        """Refuse a world that cannot be."""
        if not self.shown <= self.pre_ranked <= self.candidates:
            raise Refused(
                f"a request with {self.candidates} candidates cannot pre-rank {self.pre_ranked}"
                f" and show {self.shown}",
                hint="shown <= pre_ranked <= the sum of the candidates",
            )
        if not 1 <= self.categories <= self.topics:
            raise Refused(
                f"{self.topics} topics do not fill {self.categories} categories",
                hint="each category needs a topic",
            )
        if min(self.users, self.regions, self.shown, self.evergreen_items) < 1:
            raise Refused(
                "a world needs a user, a region, an evergreen item and an impression a request",
                hint="set them to 1 or more",
            )

    @property
    def candidates(self) -> int:
        """Candidates of one request."""
        return self.candidates_by_popularity + self.candidates_by_taste + self.candidates_at_random

    @classmethod
    def sized(cls, impressions: int, *, hours: int, first_hour: int = 0, seed: int = 1) -> Self:
        """The default world, so busy that it makes about `impressions` in `hours`.

        `first_hour` is the UTC hour of the day at which the simulation will start.
        """
        days = sum(share_of_day((first_hour + hour) % 24) for hour in range(hours))
        return cls(seed=seed, impressions_per_hour=impressions / (24 * days))

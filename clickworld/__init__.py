"""A click world whose truth is known: users, items, impressions and clicks, seeded and fast.

Tastes change with the time of day, items live for hours, an existing recommender shows them. Tests
and the demo feed its events into the line and may ask it what would have been right.
"""

from clickworld.config import WorldConfig
from clickworld.world import ClickWorld, simulate

__all__ = ["ClickWorld", "WorldConfig", "simulate"]

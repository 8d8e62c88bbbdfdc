"""A news portal: articles that burst and fade, readers who follow a topic from click to click.

Fitted to what was measured of a portal: see `clickworld/news/config.py`, and
`tests/clickworld/test_news_world.py`, which holds it to these numbers.
"""

from clickworld.news.config import NewsConfig
from clickworld.news.world import NewsWorld

__all__ = ["NewsConfig", "NewsWorld"]

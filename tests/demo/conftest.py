"""The real `twintide`, as the tests of the console type it."""

from tests.console.conftest import twintide

__all__ = ["twintide"]

"""What all counts in windows of time have in common: they are as of a grid of refreshes."""

from typing import Annotated, ClassVar

from pydantic import Field

from twintide.features.shapes import Measured

MINUTES_OF_A_WEEK = 7 * 24 * 60
MINUTES_OF_A_YEAR = 366 * 24 * 60
WindowMinutes = Annotated[int, Field(ge=1, le=MINUTES_OF_A_YEAR)]
Windows = Annotated[tuple[WindowMinutes, ...], Field(min_length=1, max_length=16)]


class Refreshed(Measured):
    """Counts of the ordered pass, as of the start of the event's `refresh_minutes`, since that is
    what a server has.
    """

    tuned: ClassVar[frozenset[str]] = frozenset({"refresh_minutes", "refresh_offset_minutes"})

    windows_minutes: Windows
    """How far back each count looks."""

    refresh_minutes: Annotated[int, Field(ge=1, le=MINUTES_OF_A_WEEK)] | None = None
    """How often a version brings new statistics. null: as often as `training.hourly.every_minutes`
    and `publishing.statistics_every_minutes` say; 1440 where only nights are published.
    """

    refresh_offset_minutes: Annotated[int, Field(ge=0, le=MINUTES_OF_A_WEEK)] = 0
    """Where the grid of refreshes begins, in minutes after midnight UTC."""

    @property
    def pace_minutes(self) -> int:
        """The same, and an hour in a model that is part of no deployment."""
        return self.refresh_minutes or 60

    def reach_minutes(self) -> int:
        """How much older than an event's unit clicks are at most that it is told of: its refresh
        lies as far back as two of them, where the event itself is late.
        """
        return max(self.windows_minutes) + 2 * self.pace_minutes

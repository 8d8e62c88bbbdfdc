"""How far a world has come: its hours follow one another, and none is made twice."""

from datetime import datetime, timedelta

from clickworld.daytime import HOUR_MS
from twintide.clock import floor_to_minutes, to_unix_ms
from twintide.errors import Refused


class Course:
    """The hour that comes next; any to begin with."""

    def __init__(self, *, lead_hours: int, world: str) -> None:
        """Of a `world` that must find what was born in so many hours before its first one."""
        self._lead_hours = lead_hours
        self._world = world
        self._next_hour_at: datetime | None = None

    def go_on(self, start_at: datetime) -> list[int]:
        """From this hour; Unix milliseconds of the hours of births that lead to it, if it is the
        first. Raises Refused where it is no full hour, or not the one that comes next.
        """
        if start_at.tzinfo is None or start_at != floor_to_minutes(start_at, 60):
            raise Refused(f"{start_at} is not the start of an hour in UTC", hint="give a full hour")
        if self._next_hour_at not in {None, start_at}:
            raise Refused(
                f"the world has come to {self._next_hour_at}, so it cannot go on at {start_at}",
                hint=f"make a new {self._world}",
            )
        is_first = self._next_hour_at is None
        self._next_hour_at = start_at
        begin_ms = to_unix_ms(start_at)
        lead = range(self._lead_hours, 0, -1) if is_first else ()
        return [begin_ms - hour * HOUR_MS for hour in lead]

    def passed(self, hour_at: datetime) -> None:
        """This hour is over."""
        self._next_hour_at = hour_at + timedelta(hours=1)

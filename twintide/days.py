"""Which training day an instant belongs to, and which days are complete.

A day begins at a configured hour of a configured time zone. Days are a partition of time: every
instant lies in exactly one. A date that its zone has skipped (Samoa had no 30 December 2011) holds
no instant, so it is never due. A day is complete when the ledger of every partition has passed its
end, or stands at the end of its log after it.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from twintide.clock import Clock, from_unix_ms, has_come
from twintide.config import TrainingConfig
from twintide.errors import Refused
from twintide.shards import Ledger


@dataclass(frozen=True)
class Calendar:
    """Where days begin."""

    starts_at: time
    zone: ZoneInfo

    @classmethod
    def of(cls, training: TrainingConfig) -> "Calendar":
        return cls(time.fromisoformat(training.day_starts_at), ZoneInfo(training.time_zone))

    def day_of(self, at: datetime) -> date:
        """The training day in which `at` lies: the last one that begins at or before it."""
        # Where clocks go back over midnight, tomorrow has begun and its date is yesterday's again.
        day = at.astimezone(self.zone).date() + timedelta(days=1)
        while self.start_of(day) > at:
            day -= timedelta(days=1)
        return day

    def start_of(self, day: date) -> datetime:
        """Its first instant. A time that clocks skip is that much later; of one that comes twice it
        is the first.
        """
        return datetime.combine(day, self.starts_at, self.zone).astimezone(UTC)

    def end_of(self, day: date) -> datetime:
        """The first instant after it; 23 or 25 hours after its start where clocks change, and its
        start where the zone skips it.
        """
        return self.start_of(day + timedelta(days=1))

    def before(self, day: date) -> date:
        """The newest day that is over when `day` begins."""
        return self.day_of(self.start_of(day) - timedelta(milliseconds=1))

    def after(self, day: date) -> date:
        """The day that begins when `day` ends."""
        return self.day_of(self.end_of(day))


def check_history(ledger: Ledger) -> None:
    """Raises Refused where a history of files was begun and is not whole: all else waits for it."""
    if ledger.awaits_history():
        raise Refused(
            f"no day is complete: the history of {ledger.topic} is not whole",
            hint="`twintide train backfill --files` with the same files goes on with it",
        )


def complete_until(ledger: Ledger, *, clock: Clock) -> datetime | None:
    """Before this instant no more shards will come, for any partition; None while that is not
    known. What says that an instant is over which has not come says nothing.

    A history of files lies before all partitions: nothing is complete until it is whole, and then
    it counts only where there is nothing else.
    """
    if ledger.awaits_history():
        return None
    watermarks = ledger.watermarks()
    partitions = {mark.partitions for mark in watermarks.values()}
    known = range(max(partitions, default=0))
    ends = []
    for partition in known:
        newest = ledger.newest(partition)
        mark = watermarks.get(partition)
        passed = [newest.minute_at] if newest else []
        if mark and mark.next == (newest.next if newest else mark.next):
            passed.append(mark.complete_until)
        passed = [at for at in passed if has_come(at, clock)]
        if not passed:
            return None
        ends.append(max(passed))
    if not ends and (history := ledger.history()) is not None:
        return min(history.until or from_unix_ms(history.last_ms), clock.now())
    return min(ends, default=None)

"""The log in the order in which it is learnt: minute by minute, over all partitions.

A unit is the shards that all partitions have for one minute. Units are sliced whole and in order,
so what a click is told about the clicks before it depends on where it stands in the log, and not on
which run came when. For that a unit has to be sealed: no partition may add to it any more. A
partition that says nothing for longer than `PATIENCE` is not waited for; what it has then comes
late, each click once, behind what was sliced meanwhile.
"""

from datetime import datetime, timedelta

from twintide.behind import Found
from twintide.clock import Clock, floor_to_minutes, from_unix_ms
from twintide.days import complete_until
from twintide.events import EARLIEST_MS
from twintide.shards import Ledger

PATIENCE = timedelta(minutes=10)
"""How long all wait for one partition. A dead one must not stop the line."""


def sealed_until(ledger: Ledger, *, now: datetime, clock: Clock) -> datetime:
    """Units that end by then get no more shards, or have been waited for long enough. A history of
    files is waited for whatever it takes: all others come behind it.
    """
    if ledger.awaits_history():
        return from_unix_ms(EARLIEST_MS)
    complete = complete_until(ledger, clock=clock)
    waited = now - PATIENCE
    return waited if complete is None else min(now, max(complete, waited))


def is_believed(shard: Found) -> bool:
    """Whether its own minute is the unit that it belongs to."""
    return shard.minute_at == shard.footer.minute_at


def happened_before(shard: Found, *, minutes: int, clock: Clock) -> datetime:
    """No click of it happened later, whatever its clocks say. That is a function of the log: the
    end of its hour, so that another `shards.minutes` changes nothing. Where its own minute was not
    believed nothing in the log says when it was; then it is now.
    """
    if not is_believed(shard):
        return clock.latest()
    hour_end = floor_to_minutes(shard.minute_at, 60) + timedelta(hours=1)
    return max(hour_end, shard.minute_at + timedelta(minutes=minutes))

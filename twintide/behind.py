"""The shards behind a position, partition by partition, and the minute that each belongs to.

Mostly that is the minute of its folder. A shard of an older program may lie in the future, since a
producer's clock put it there, and so may one that was cut while the reader's own clock was wrong.
Such a shard belongs to the minute of the shard before it: so its clicks are learnt now, and the
same shards give the same minutes whenever one looks.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from twintide.clock import Clock, floor_to_minutes, from_unix_ms, has_come
from twintide.errors import Refused
from twintide.events import BROKER_TIME_COLUMN
from twintide.history import PARTITION as HISTORY
from twintide.records import Position
from twintide.shards import Ledger, ShardFooter, ShardName, read_shard
from twintide.slices import Ends

_MINUTE = timedelta(minutes=1)
_LONG_AGO_MS = 946_771_200_000
"""2000-01-02: older programs stored a message without a time as of 2000-01-01."""


@dataclass(frozen=True)
class Found:
    """A shard to be read, footer known."""

    name: ShardName
    footer: ShardFooter
    minute_at: datetime
    """The minute that it belongs to; it grows along a partition."""


def shards_behind(
    ledger: Ledger,
    position: Position,
    last_hour: dict[int, datetime],
    *,
    since: datetime | None,
    until: datetime,
    clock: Clock,
) -> list[Found]:
    """Shards behind `position` whose minutes begin before `until`, by partition, then offset.

    `last_hour` is that of the newest shard before the position. Hours before `since` are looked at
    only where something is missing without them. Raises Refused where a ledger does not go on.
    """
    named = {
        *ledger.names(since=since, until=until),
        *ledger.names(since=max(until, clock.latest())),  # what has not come, and is there
    }
    chains = _chains(named, position)
    if any(_break(chain, position) for chain in chains.values()):
        chains = _chains(ledger.names(), position)
    found = []
    for _, chain in sorted(chains.items()):
        if broken := _break(chain, position):
            raise broken
        found += _before(chain, last_hour, until=until, clock=clock)
    return found


def unsliced_since(ledger: Ledger, ends: Ends) -> datetime | None:
    """The minute before which no shard lies that is not sliced; None where nobody can tell.

    Whoever is sliced to its end holds nobody up, nor does one that never had a shard: a partition
    that is silent for a year costs nothing.
    """
    partitions = {mark.partitions for mark in ledger.watermarks().values()}
    has_history = ledger.history() is not None
    if not ends or not (partitions or has_history):
        return None
    since = []
    known = {*range(max(partitions, default=0)), *ends, *([HISTORY] if has_history else [])}
    for partition in known:
        newest = ledger.newest(partition)
        sliced = ends.get(partition)
        if newest is None or (sliced is not None and newest.next <= sliced[0]):
            continue
        if sliced is None:
            return None
        since.append(sliced[1])
    return min(since, default=max(unit for _, unit in ends.values()))


def newest_minute(ledger: Ledger, partition: int, *, clock: Clock) -> datetime | None:
    """The minute that the newest shard of a partition belongs to; None where there is none."""
    newest = ledger.newest(partition)
    if newest is None or has_come(newest.minute_at, clock):
        return newest.minute_at if newest else None
    chain = _chains((name for name in ledger.names() if name.partition == partition), {})
    return _minutes(chain[partition], None, until=clock.now(), clock=clock)[-1]


_Chain = list[tuple[ShardName, ShardFooter]]


def _chains(names: Iterable[ShardName], position: Position) -> dict[int, _Chain]:
    """Partition -> its shards behind the position, by offset."""
    chains: dict[int, _Chain] = defaultdict(list)
    for name in sorted(names, key=lambda name: (name.partition, name.first)):
        if name.first >= position.get(name.partition, 0):
            chains[name.partition].append((name, name.footer()))
    return chains


def _break(chain: _Chain, position: Position) -> Refused | None:
    """What is wrong where a shard does not go on behind the one before it."""
    expected = position.get(chain[0][1].partition)
    for name, footer in chain:
        goes_on_at = footer.first - footer.gap_before
        if expected is not None and goes_on_at != expected:
            return Refused(
                f"shard {name.path} starts at offset {goes_on_at} of partition "
                f"{footer.partition}, but the shards before it end at {expected}",
                hint="`twintide verify` lists every breach of the ledger; "
                "restore the missing shard",
            )
        expected = footer.next
    return None


def _before(
    chain: _Chain, last_hour: dict[int, datetime], *, until: datetime, clock: Clock
) -> list[Found]:
    before = last_hour.get(chain[0][1].partition)
    minutes = _minutes(chain, before, until=until, clock=clock)
    return [
        Found(name, footer, minute_at)
        for (name, footer), minute_at in zip(chain, minutes, strict=True)
        if minute_at < until
    ]


def _minutes(
    chain: _Chain, before: datetime | None, *, until: datetime, clock: Clock
) -> list[datetime]:
    """One for each shard. A minute is believed when it has come, and no later shard is earlier."""
    believed = _believed([footer.minute_at for _, footer in chain], clock)
    first_known = next((minute for minute in believed if minute is not None), None)
    minutes = []
    for (name, _), own in zip(chain, believed, strict=True):
        minute_at = own or before or _by_rows(name, clock) or first_known or until - _MINUTE
        before = minute_at if before is None else max(before, minute_at)
        minutes.append(before)
    return minutes


def _believed(minutes: Sequence[datetime], clock: Clock) -> list[datetime | None]:
    believed: list[datetime | None] = []
    earliest_later: datetime | None = None
    for minute_at in reversed(minutes):
        is_early_enough = earliest_later is None or minute_at <= earliest_later
        if has_come(minute_at, clock) and is_early_enough:
            earliest_later = minute_at
            believed.append(minute_at)
        else:
            believed.append(None)
    return believed[::-1]


def _by_rows(name: ShardName, clock: Clock) -> datetime | None:
    """The minute of the earliest row whose broker time can be one."""
    stored_ms = read_shard(name.path, [BROKER_TIME_COLUMN])[BROKER_TIME_COLUMN].cast(pa.int64())
    sound = stored_ms.filter(pc.greater_equal(stored_ms, _LONG_AGO_MS))
    earliest_ms = pc.min(sound).as_py()
    if earliest_ms is None or not has_come(earliest := from_unix_ms(earliest_ms), clock):
        return None
    return floor_to_minutes(earliest, 1)

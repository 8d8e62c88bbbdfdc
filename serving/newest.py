"""Follow the newest shards of a stream: each is read once, a few at a look, the newest first, so
that there is something soon and all of it later.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar

import pyarrow as pa

from twintide.clock import monotonic_seconds
from twintide.columns import read_events
from twintide.errors import TwintideError
from twintide.events import EventSchema
from twintide.shards import Ledger, ShardName
from twintide.telemetry import get_log

SECONDS_A_LOOK = 0.2
"""How long a look may read shards before what it has found is given."""

Read = TypeVar("Read")

log = get_log("serving")


class NewestShards(Generic[Read]):
    """Those of the newest hour and of so long before it. One thread looks."""

    def __init__(
        self,
        ledger: Ledger,
        events: EventSchema,
        read: Callable[[pa.Table], Read],
        *,
        window: timedelta,
    ) -> None:
        """`read` makes what is kept of the clicks of a shard."""
        self._ledger, self._events, self._make, self._window = ledger, events, read, window
        self._read: dict[Path, Read] = {}

    def look(self) -> list[Read] | None:
        """What is kept of each shard, the oldest first, where that is not as it was. A shard that
        cannot be read has no clicks; `twintide verify` says why.
        """
        names = self._names()
        gone = self._read.keys() - {each.path for each in names}
        for path in gone:
            del self._read[path]
        until = monotonic_seconds() + SECONDS_A_LOOK
        is_new = bool(gone)
        for each in names:
            if each.path not in self._read:
                self._read[each.path] = self._make(self._clicks_of(each.path))
                is_new = True
                if monotonic_seconds() > until:
                    break
        kept = [self._read[each.path] for each in names[::-1] if each.path in self._read]
        return kept if is_new else None

    def _names(self) -> list[ShardName]:
        """The shards that count, the newest first."""
        newest = next((hour for hour, _ in self._ledger.hours()), None)
        if newest is None:
            return []
        names = self._ledger.names(since=newest - self._window, until=newest + timedelta(hours=1))
        return sorted(names, key=lambda each: (each.hour_at, each.first), reverse=True)

    def _clicks_of(self, path: Path) -> pa.Table:
        try:
            events = read_events(path, self._events)
        except (TwintideError, OSError) as error:
            log.warning("shard_not_counted", shard=path.name, reason=str(error))
            events = self._events.shard_schema().empty_table()
        return events.filter(self._events.is_click(events))

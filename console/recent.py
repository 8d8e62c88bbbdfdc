"""What the newest shards hold: how much was rejected, what is null. From footers alone.

The look is bounded: however long the stream has run, a few hundred footers of the newest hours.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow.parquet as pq

from twintide.clock import floor_to_minutes
from twintide.config import Deployment
from twintide.errors import Corrupt, words_of
from twintide.rowgroups import DAMAGED
from twintide.shards import Ledger, ShardFooter, ShardName

SHARDS = 240
"""An hour of four partitions."""

_DAY = timedelta(hours=24)


@dataclass
class Recent:
    """The newest shards together."""

    shards: int = 0
    since: datetime | None = None
    rows: int = 0
    rejected: int = 0
    filtered: int = 0
    clock_ahead: int = 0
    """Messages whose broker time was later than our clock."""

    clock_nonsense: int = 0
    """Messages whose broker time was missing or before 2000."""

    nulls: dict[str, int] = field(default_factory=dict)
    """Column -> rows that are null there, or where a list is empty."""

    @property
    def messages(self) -> int:
        return self.rows + self.rejected + self.filtered


def look(deployment: Deployment, *, until: datetime) -> Recent:
    """The newest shards of the day before `until`. Raises Corrupt where one cannot be read."""
    nulls: Counter[str] = Counter(dict.fromkeys(deployment.events.columns, 0))
    found = Recent()
    for name, footer in newest_shards(deployment, until=until):
        found.shards += 1
        found.since = min(found.since or footer.minute_at, footer.minute_at)
        found.rows += footer.rows
        found.rejected += footer.rejected
        found.filtered += footer.filtered
        found.clock_ahead += footer.clock_ahead
        found.clock_nonsense += footer.clock_nonsense
        nulls.update(_nulls_of(name, deployment))
    found.nulls = dict(nulls)
    return found


def newest_shards(
    deployment: Deployment, *, until: datetime
) -> Iterator[tuple[ShardName, ShardFooter]]:
    """The newest shards of the day before `until`, newest first."""
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    end = floor_to_minutes(until, 60) + timedelta(hours=1)
    names = sorted(
        ledger.names(since=end - _DAY, until=end),
        key=lambda name: (name.hour_at, name.first, name.partition),
        reverse=True,
    )
    for name in names[:SHARDS]:
        yield name, name.footer()


def _nulls_of(name: ShardName, deployment: Deployment) -> Counter[str]:
    """Column -> nulls in one shard; a column that it lacks is null in every row."""
    try:
        metadata = pq.read_metadata(name.path)
    except DAMAGED as error:
        raise Corrupt(f"shard {name.path} cannot be read: {words_of(error)}") from error
    found: Counter[str] = Counter()
    held = set()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            top = column.path_in_schema.partition(".")[0]
            held.add(top)
            if column.statistics is not None and column.statistics.has_null_count:
                found[top] += column.statistics.null_count
    for missing in set(deployment.events.columns) - held:
        found[missing] = metadata.num_rows
    return found

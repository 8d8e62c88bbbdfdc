"""What the newest shards hold: how much was rejected, what is null. From footers alone.

The look is bounded: however long the stream has run, a few hundred footers of the newest hours.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from twintide.clock import floor_to_minutes
from twintide.config import Deployment
from twintide.errors import Corrupt, words_of
from twintide.overview.remembered import Remembered
from twintide.rowgroups import DAMAGED
from twintide.shards import Ledger, ShardFooter, read_footer

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


@dataclass(frozen=True)
class ShardFacts:
    """What the footers of one shard say."""

    footer: ShardFooter
    rows: int
    nulls: Mapping[str, int]
    """Column that it has -> rows that are null there."""


Facts = Remembered[ShardFacts]


def facts() -> Facts:
    """For one look, or for many by the same program."""
    return Remembered(facts_of)


def look(deployment: Deployment, *, until: datetime, known: Facts) -> Recent:
    """The newest shards of the day before `until`. Raises Corrupt where one cannot be read."""
    nulls: Counter[str] = Counter(dict.fromkeys(deployment.events.columns, 0))
    found = Recent()
    for shard in newest_shards(deployment, until=until, known=known):
        footer = shard.footer
        found.shards += 1
        found.since = min(found.since or footer.minute_at, footer.minute_at)
        found.rows += footer.rows
        found.rejected += footer.rejected
        found.filtered += footer.filtered
        found.clock_ahead += footer.clock_ahead
        found.clock_nonsense += footer.clock_nonsense
        nulls.update(shard.nulls)
        nulls.update(dict.fromkeys(set(deployment.events.columns) - set(shard.nulls), shard.rows))
    found.nulls = dict(nulls)
    return found


def newest_shards(deployment: Deployment, *, until: datetime, known: Facts) -> list[ShardFacts]:
    """The newest shards of the day before `until`, newest first."""
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    end = floor_to_minutes(until, 60) + timedelta(hours=1)
    names = sorted(
        ledger.names(since=end - _DAY, until=end),
        key=lambda name: (name.hour_at, name.first, name.partition),
        reverse=True,
    )
    return [known.of(name.path) for name in names[:SHARDS]]


def facts_of(path: Path) -> ShardFacts:
    """Raises Corrupt where the shard cannot be read."""
    footer = read_footer(path)
    try:
        metadata = pq.read_metadata(path)
    except DAMAGED as error:
        raise Corrupt(f"shard {path} cannot be read: {words_of(error)}") from error
    nulls: Counter[str] = Counter()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            top = column.path_in_schema.partition(".")[0]
            has_count = column.statistics is not None and column.statistics.has_null_count
            nulls[top] += column.statistics.null_count if has_count else 0
    return ShardFacts(footer, metadata.num_rows, dict(nulls))

"""A ledger that grows by hand: shards of a few rows, without Kafka."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.forged import put_shard
from twintide.events import EventSchema
from twintide.layout import make_ready
from twintide.rowgroups import RowGroups
from twintide.shards import Ledger, ShardFooter

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SCHEMA = EventSchema(
    columns={"user": "string", "item": "int64", "at": "timestamp_ms", "tags": "list<string>"},
    user="user",
    item="item",
    time="at",
)


def rows(first: int, count: int, *, partition: int = 0, at: datetime = NOON) -> pa.Table:
    """One event for each offset."""
    return pa.table(
        {
            "user": [f"u{offset}" for offset in range(first, first + count)],
            "item": list(range(first, first + count)),
            "at": [at] * count,
            "tags": [["a"]] * count,
            "kafka_partition": [partition] * count,
            "kafka_offset": list(range(first, first + count)),
            "broker_at": [at] * count,
        },
        schema=SCHEMA.shard_schema(),
    )


@dataclass
class World:
    """One topic's shards below a folder, and how far each partition has come."""

    root: Path
    topic: str = "clicks"
    stands: dict[int, int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.root, self.topic)

    def footer(self, first: int, count: int, *, minute: float, **more: Any) -> ShardFooter:
        """A shard of `count` events, `minute` minutes after noon."""
        known: dict[str, Any] = {
            "topic": self.topic,
            "partition": 0,
            "first": first,
            "next": first + count,
            "minute_at": NOON + timedelta(minutes=minute),
            "rows": count,
            "partitions": 1,
            "fingerprint": SCHEMA.fingerprint(),
        }
        return ShardFooter(**{**known, **more})

    def commit(self, count: int = 10, *, minute: float = 0, skip: int = 0, **more: Any) -> Path:
        """Add the next shard, as ingest would; `skip` offsets before it are an accepted gap."""
        make_ready(self.root)
        partition = more.get("partition", 0)
        after = self.stands.get(partition)
        first = (after or 0) + skip
        footer = self.footer(first, count, minute=minute, gap_before=skip if after else 0, **more)
        made = self.ledger.commit(footer, RowGroups.of(self.rows_of(footer)), after=after)
        self.stands[partition] = made.next
        return self.paths(partition)[-1]

    def put_format_1(self, first: int, count: int, *, minute: float, **more: Any) -> Path:
        """A shard as format 1 wrote it: among others of its kind, without a claim."""
        footer = self.footer(first, count, minute=minute, format=1, **more)
        self.stands[footer.partition] = footer.next
        return put_shard(self.root, footer, self.rows_of(footer))

    @staticmethod
    def rows_of(footer: ShardFooter) -> pa.Table:
        return rows(footer.first, footer.rows, partition=footer.partition, at=footer.minute_at)

    def paths(self, partition: int = 0) -> list[Path]:
        """Visible shards in offset order."""
        names = [name for name in self.ledger.names() if name.partition == partition]
        return [name.path for name in sorted(names)]

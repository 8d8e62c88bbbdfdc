"""A history: events of files that were never in Kafka, as shards of the same ledger.

They form a partition of their own, whose offsets are the numbers of the rows in order of time. So
the partitions of the topic keep their offsets, and the trainer reads one log. What the history is
made of stands in a record that is written before its first shard.
"""

from typing import Annotated

from pydantic import Field

from twintide.records import Instant, Record
from twintide.shardfile import Count, Stamp, Topic

PARTITION = 90_000
"""Of the shards of a history; no topic has so many partitions."""


class HistoryFile(Record):
    """One of the files, and what it must be to be the one that was taken."""

    name: str
    """Within the folder that was given."""

    stamp: Stamp


class History(Record):
    """One file for each topic that has a history."""

    format: Annotated[int, Field(ge=1, le=1)] = 1
    topic: Topic
    files: tuple[HistoryFile, ...]
    read_as: str
    """Of `events` and `data_file`: how values were read."""

    until: Instant | None
    """What happened then or later was left out; None where all was taken."""

    rows: Annotated[int, Field(ge=1)]
    """Of the files, those that happened before `until`: what its shards hold when it is whole."""

    beyond: Count
    """Of the files, those that did not."""

    first_ms: int
    last_ms: int
    """When the first and the last of its events happened, Unix ms."""

    is_whole: bool = False
    """Whether all of it is in shards."""

"""One shard as a file: its name, its folder, its footer, its rows.

A shard is one Parquet file: the events of one contiguous offset range `[first, next)` of one
partition, mostly one minute of it. What binds it is the names and types of its columns, nothing
else of a declaration.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator

from twintide import __version__
from twintide.clock import floor_to_minutes
from twintide.errors import Corrupt, words_of
from twintide.records import Instant, Record
from twintide.rowgroups import DAMAGED, RowGroups

FOOTER_KEY = b"twintide.shard"
SEAL_KEY = b"twintide.seal"
SHARD_NAME = re.compile(
    r"^(?P<topic>[A-Za-z0-9._-]+)-(?P<partition>\d{5})-(?P<first>\d{20})\.parquet$"
)


def _no_place(name: str) -> str:
    if name in {".", ".."}:
        raise ValueError("no name, but a place in the file system")
    return name


Offset = Annotated[int, Field(ge=0, lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Partition = Annotated[int, Field(ge=0, lt=100_000)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$"), AfterValidator(_no_place)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}$")]
"""As long as a file system takes it."""


class Stamp(Record):
    """What a file must be to be the one that was meant."""

    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, data: bytes | pa.Buffer) -> "Stamp":
        return cls(size=len(memoryview(data)), sha256=hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> "Stamp":
        """Raises FileNotFoundError where there is none."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return cls(size=file.tell(), sha256=digest.hexdigest())


class ShardFooter(Record):
    """Key-value metadata of the Parquet file, under `twintide.shard`."""

    format: Literal[1, 2] = 2
    topic: Topic
    partition: Partition
    first: Offset
    """Offset of the first message, or of the first place where one could have been."""

    next: Offset
    """The consumer's position behind the last message; more than last + 1 where markers, aborted or
    compacted messages follow.
    """

    minute_at: Instant
    """Start of the window that the shard belongs to."""

    rows: Count
    rejected: Count = 0
    filtered: Count = 0
    """Messages without a value (tombstones). consumed = rows + rejected + filtered; 0 where the
    range held no message at all.
    """

    quarantine: FileName | None = None
    """Name of the file of the rejected messages, in the ledger's folder for the same hour."""

    quarantine_stamp: Stamp | None = None
    """What that file must be. Since format 2."""

    gap_before: Offset = 0
    """Offsets before `first` that Kafka had deleted and an operator chose to go on without."""

    before: Stamp | None = None
    """What the file of the shard before must be; None where there is none. Since format 2."""

    topic_id: str | None = None
    """Kafka's id of the topic, which is another once the topic was made anew. Since format 2."""

    leader_epoch: Count | None = None
    """Of the last message; it grows with each change of the partition's leader. Since format 2."""

    clock_ahead: Count = 0
    """Messages whose broker time lay in the future of the reader's clock. Since format 2."""

    clock_nonsense: Count = 0
    """Messages without a broker time, or with one before 2000. Since format 2."""

    partitions: Annotated[int, Field(ge=1, le=100_000)]
    """Partitions of the topic when the shard was cut."""

    fingerprint: str
    """Of the event schema that ingest ran with."""

    code_version: str = __version__

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        consumed = self.rows + self.rejected + self.filtered
        if not (self.first < self.next and self.gap_before <= self.first):
            raise ValueError("its range of offsets is none")
        if consumed > self.next - self.first:
            raise ValueError("it counts more messages than its range has offsets")
        return self

    @property
    def consumed(self) -> int:
        """Messages that were taken."""
        return self.rows + self.rejected + self.filtered

    @property
    def after(self) -> int:
        """Where the chain stood: this shard accounts for every offset from here to `next`."""
        return self.first - self.gap_before


def shard_path(root: Path, *, topic: str, partition: int, first: int, minute_at: datetime) -> Path:
    """Where the shard goes that begins with offset `first`."""
    return hour_folder(root, minute_at) / f"{topic}-{partition:05d}-{first:020d}.parquet"


def hour_folder(root: Path, minute_at: datetime) -> Path:
    """The folder below `root` for what belongs to that minute."""
    at = minute_at.astimezone(UTC)
    return root / f"date={at:%Y-%m-%d}" / f"hour={at:%H}"


def path_of(root: Path, footer: ShardFooter) -> Path:
    """Where the shard with that footer belongs."""
    return shard_path(
        root,
        topic=footer.topic,
        partition=footer.partition,
        first=footer.first,
        minute_at=footer.minute_at,
    )


def minute_of(before: datetime | None, first_broker_at: datetime, *, minutes: int) -> datetime:
    """The window of the next shard, behind one of the window `before`: minutes only grow along a
    partition, whatever clocks do.
    """
    own = floor_to_minutes(first_broker_at, minutes)
    return own if before is None else max(before, own)


def encoded(footer: ShardFooter, events: pa.Table) -> pa.Buffer:
    """The bytes of a shard."""
    return sealed(footer, RowGroups.of(events))


def sealed(footer: ShardFooter, rows: RowGroups) -> pa.Buffer:
    """The bytes of a shard whose rows were compressed as they came."""
    written = footer.model_dump_json().encode()
    return rows.sealed({FOOTER_KEY: written, SEAL_KEY: _seal(written, rows.columns)})


def _named(kind: pa.DataType) -> str:
    """A file names the elements of a list otherwise than memory does."""
    if not pa.types.is_list(kind):
        return str(kind)
    return f"list<{kind.value_type}{'' if kind.value_field.nullable else ' not null'}>"


def _seal(footer: bytes, columns: pa.Schema) -> bytes:
    """Page checksums guard the values and nothing else: one flipped bit in the name of a column
    would make it a column that the shard lacks.
    """
    held = [[field.name, _named(field.type), field.nullable] for field in columns]
    return hashlib.sha256(footer + json.dumps(held).encode()).hexdigest().encode()


def read_footer(path: Path) -> ShardFooter:
    """What a shard says of itself. Raises Corrupt where name, footer and rows disagree."""
    footer = footer_in(path)
    if path.name != f"{footer.topic}-{footer.partition:05d}-{footer.first:020d}.parquet":
        raise Corrupt(
            f"shard {path} says that it is partition {footer.partition}, offset {footer.first}",
            hint="it was renamed or copied: give it its name back, or delete the copy",
        )
    return footer


def footer_in(path: Path) -> ShardFooter:
    """The footer of a shard, whatever the file is called. Raises Corrupt."""
    with opened(path) as shard:
        return shard.footer


def columns_in(path: Path) -> pa.Schema:
    """Names and types of the columns that a shard holds. Raises Corrupt."""
    with opened(path) as shard:
        return shard.columns


@dataclass(frozen=True)
class OpenShard:
    """A shard whose footer was checked against its seal and its rows."""

    path: Path
    footer: ShardFooter
    columns: pa.Schema
    _file: pq.ParquetFile

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The events, page checksums verified. Raises Corrupt."""
        try:
            return self._file.read(columns=columns, use_threads=False)
        except DAMAGED as error:
            raise Corrupt(
                f"shard {self.path} is damaged: {words_of(error)}", hint="restore it from a copy"
            ) from error


@contextmanager
def opened(path: Path) -> Iterator[OpenShard]:
    """A shard to read. Raises Corrupt where footer, seal and rows disagree."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        metadata, columns = file.metadata, file.schema_arrow
        groups = range(metadata.num_row_groups)
        counts = {metadata.num_rows, sum(metadata.row_group(each).num_rows for each in groups)}
        kept = metadata.metadata or {}
    except DAMAGED as error:
        raise Corrupt(
            f"shard {path} cannot be read: {words_of(error)}",
            hint="restore it, or `twintide verify`",
        ) from error
    with file:
        yield OpenShard(path, _checked(path, kept, columns, counts), columns, file)


def _checked(
    path: Path, kept: dict[bytes, bytes], columns: pa.Schema, counts: set[int]
) -> ShardFooter:
    """Its footer, where seal and counts of rows fit it."""
    written = kept.get(FOOTER_KEY, b"")
    footer = ShardFooter.from_json(written, name=f"the footer of shard {path}")
    if counts != {footer.rows}:
        raise Corrupt(f"shard {path} holds {max(counts)} rows, its footer says {footer.rows}")
    is_sealed = footer.format > 1 or SEAL_KEY in kept
    if is_sealed and kept.get(SEAL_KEY) != _seal(written, columns):
        raise Corrupt(
            f"the footer of shard {path} was changed after it was written: its seal does not fit",
            hint="restore it from a copy",
        )
    return footer


def read_shard(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The events of one shard, page checksums verified. Raises Corrupt."""
    with opened(path) as shard:
        return shard.read(columns)

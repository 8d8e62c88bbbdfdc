"""The shard format, and the ledger that shards form.

A shard is one Parquet file: the events of one contiguous offset range `[first, next)` of one
partition, mostly one minute of it. Its name is a function of topic, partition and first offset, and
its folder one of the ledger before it, so that two rivals reach for the same path and the exclusive
publish lets one of them win. The footers of a partition, in order, are its ledger: the only record
of how far ingest has come.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from twintide import __version__
from twintide.clock import floor_to_minutes
from twintide.errors import Corrupt
from twintide.files import publish_file, publish_file_once
from twintide.records import Instant, Record

FOOTER_KEY = b"twintide.shard"
_NAME = re.compile(r"^(?P<topic>[A-Za-z0-9._-]+)-(?P<partition>\d{5})-(?P<first>\d{20})\.parquet$")
_FOLDER = re.compile(r"^date=(\d{4}-\d{2}-\d{2})/hour=(\d{2})$")


class ShardFooter(Record):
    """Key-value metadata of the Parquet file, under `twintide.shard`."""

    format: int = 1
    topic: str
    partition: int
    first: int
    """Offset of the first message."""

    next: int
    """The consumer's position after the last message; more than last + 1 behind a transaction
    marker.
    """

    minute_at: Instant
    """Start of the window that the shard belongs to; never smaller than that of the shard before.
    """

    rows: int
    rejected: int = 0
    filtered: int = 0
    """Messages without a value (tombstones). consumed = rows + rejected + filtered."""

    clock_ahead: int = 0
    """Messages whose broker time was later than the reader's clock; it was not believed."""

    clock_nonsense: int = 0
    """Messages whose broker time was missing or before the year 2000."""

    quarantine: str | None = None
    """Name of the file beside the shard that holds the rejected messages."""

    gap_before: int = 0
    """Offsets before `first` that Kafka had deleted and an operator chose to go on without."""

    partitions: int
    """Partitions of the topic when the shard was cut."""

    fingerprint: str
    """Of the event schema."""

    code_version: str = __version__


@dataclass(frozen=True, order=True)
class ShardName:
    """A shard as a listing shows it: its footer was not read."""

    partition: int
    first: int
    hour_at: datetime
    path: Path

    def footer(self) -> ShardFooter:
        """Raises Corrupt where the file cannot be read or is not what its name says."""
        return read_footer(self.path)


class Watermark(Record):
    """One file per partition: up to where ingest stood at the end of the log, and when that was.

    It lets a day be complete although a partition is silent. It is no progress: only shards are.
    """

    topic: str
    partition: int
    next: int
    complete_until: Instant
    """Everything that the broker had stored by then has an offset below `next`."""

    partitions: int


def shard_path(root: Path, *, topic: str, partition: int, first: int, minute_at: datetime) -> Path:
    """Where the shard goes that begins with offset `first`."""
    at = minute_at.astimezone(UTC)
    return (
        root
        / f"date={at:%Y-%m-%d}"
        / f"hour={at:%H}"
        / f"{topic}-{partition:05d}-{first:020d}.parquet"
    )


def minute_of(before: datetime | None, first_broker_at: datetime, *, minutes: int) -> datetime:
    """The window of the next shard, behind one of the window `before`: minutes only grow along a
    partition, whatever clocks do.
    """
    own = floor_to_minutes(first_broker_at, minutes)
    return own if before is None else max(before, own)


def publish_shard(root: Path, footer: ShardFooter, events: pa.Table) -> Path:
    """Commit one shard. Raises FileExistsError where a rival has committed this range's start."""
    path = shard_path(
        root,
        topic=footer.topic,
        partition=footer.partition,
        first=footer.first,
        minute_at=footer.minute_at,
    )
    sink = pa.BufferOutputStream()
    metadata = {FOOTER_KEY: footer.model_dump_json().encode()}
    pq.write_table(
        events.replace_schema_metadata(metadata),
        sink,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
        store_schema=True,
    )
    publish_file_once(path, sink.getvalue())
    return path


def read_footer(path: Path) -> ShardFooter:
    """What a shard says of itself. Raises Corrupt where name, footer and rows disagree."""
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(
            f"shard {path} cannot be read: {error}", hint="restore it, or `twintide verify`"
        ) from error
    footer = ShardFooter.from_json(
        (metadata.metadata or {}).get(FOOTER_KEY, b""), name=f"the footer of shard {path}"
    )
    if path.name != f"{footer.topic}-{footer.partition:05d}-{footer.first:020d}.parquet":
        raise Corrupt(
            f"shard {path} says that it is partition {footer.partition}, offset {footer.first}"
        )
    if metadata.num_rows != footer.rows:
        raise Corrupt(f"shard {path} holds {metadata.num_rows} rows, its footer says {footer.rows}")
    return footer


def read_shard(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The events of one shard, page checksums verified. Raises Corrupt."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise Corrupt(f"shard {path} is damaged: {error}", hint="restore it from a copy") from error


class Ledger:
    """The shards of one topic below one folder."""

    def __init__(self, root: Path, topic: str) -> None:
        self.root = root
        self.topic = topic

    def hours(self) -> list[Path]:
        """Hour folders, oldest first."""
        return sorted(self.root.glob("date=*/hour=*"))

    def names(
        self, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[ShardName]:
        """Shards by hour, then partition, then offset; of all hours, or of those from the hour of
        `since` on that begin before `until`.
        """
        for hour in self.hours():
            hour_at = _hour_at(hour)
            if since is not None and hour_at < floor_to_minutes(since, 60):
                continue
            if until is not None and hour_at >= until:
                break
            yield from sorted(self._names_in(hour, hour_at))

    def _names_in(self, hour: Path, hour_at: datetime) -> Iterator[ShardName]:
        for path in hour.iterdir():
            match = _NAME.match(path.name)
            if match and match["topic"] == self.topic:
                yield ShardName(int(match["partition"]), int(match["first"]), hour_at, path)

    def newest(self, partition: int) -> ShardFooter | None:
        """The last shard of a partition: where ingest resumes. None where there is none."""
        for hour in reversed(self.hours()):
            names = [
                name for name in self._names_in(hour, _hour_at(hour)) if name.partition == partition
            ]
            if names:
                return max(names).footer()
        return None

    def watermark_path(self, partition: int) -> Path:
        """Where a partition's watermark is."""
        return self.root / "_watermarks" / f"{self.topic}-{partition:05d}.json"

    def publish_watermark(self, watermark: Watermark) -> None:
        """Replace a partition's watermark."""
        publish_file(self.watermark_path(watermark.partition), watermark.to_json())

    def watermarks(self) -> dict[int, Watermark]:
        """Partition -> its watermark, for every partition that ingest has been given."""
        found = {}
        for path in sorted((self.root / "_watermarks").glob(f"{self.topic}-*.json")):
            watermark = Watermark.from_json(path.read_bytes(), name=str(path))
            found[watermark.partition] = watermark
        return found

    def check(self) -> list[str]:
        """Every breach of the ledger: gap, overlap, damage, minutes that run backwards; [] if
        sound.
        """
        breaches = []
        newest: dict[int, ShardFooter] = {}
        for name in self.names():
            try:
                footer = name.footer()
                read_shard(name.path)
            except Corrupt as error:
                breaches.append(error.message)
                continue
            before = newest.get(footer.partition)
            expected = before.next + footer.gap_before if before else footer.first
            if footer.first != expected:
                what = "overlaps" if footer.first < expected else "leaves a gap behind"
                breaches.append(
                    f"shard {name.path} starts at {footer.first} and {what} offset {expected}"
                )
            if before and footer.minute_at < before.minute_at:
                breaches.append(
                    f"shard {name.path} belongs to an earlier minute than the shard before it"
                )
            newest[footer.partition] = footer
        return breaches


def _hour_at(folder: Path) -> datetime:
    match = _FOLDER.match(f"{folder.parent.name}/{folder.name}")
    if match is None:
        raise Corrupt(
            f"{folder} is no folder of shards", hint="nothing else may be put below shards/"
        )
    return datetime.strptime(f"{match[1]} {match[2]}", "%Y-%m-%d %H").replace(tzinfo=UTC)

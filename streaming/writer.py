"""Turn a cut into a committed shard: type its messages, set the bad ones aside, publish.

The quarantine file is written before the shard and named in its footer, so the shard's claim
commits both; the file of an attempt that a crash ended is a harmless orphan.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streaming.cutter import Cut
from twintide.events import BROKER_TIME_COLUMN, OFFSET_COLUMN, PARTITION_COLUMN, EventSchema
from twintide.files import publish_file_once, remove_file
from twintide.jsonrows import parse
from twintide.shardfile import path_of
from twintide.shards import Ledger, ShardFooter, Stamp
from twintide.telemetry import get_log

QUARANTINE_SUFFIX = ".quarantine.arrow"
QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field(PARTITION_COLUMN, pa.int32(), nullable=False),
        pa.field(OFFSET_COLUMN, pa.int64(), nullable=False),
        pa.field(BROKER_TIME_COLUMN, pa.timestamp("ms", tz="UTC"), nullable=False),
        pa.field("message", pa.binary(), nullable=False),
    ]
)
"""An Arrow IPC file in the ledger's folder, one row for each message that was rejected."""

_NO_OFFSETS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Content:
    """What the messages of a cut turned out to be. consumed = rows + rejected + filtered."""

    events: pa.Table
    """In the schema's `shard_schema()`."""

    rejected: pa.Table
    """In QUARANTINE_SCHEMA."""

    filtered: int
    """Messages without a value (tombstones)."""

    is_bad: npt.NDArray[np.bool_]
    """Shape [consumed]: which of the cut's messages were rejected."""


def content_of(cut: Cut, schema: EventSchema) -> Content:
    """Type every message of a cut. What cannot be typed, for whatever reason, is set aside: no
    message may stop what lies behind it.
    """
    try:
        return _typed(cut, schema)
    except (MemoryError, OSError):  # no matter of the messages: tried again, they are as good
        raise
    except Exception as error:  # noqa: BLE001  whatever it is, it must not stop the line
        get_log("ingest").exception(
            "cut_not_typed", partition=cut.partition, first=cut.first, next=cut.next
        )
        return set_aside(cut, schema, reason=f"not typed: {type(error).__name__}: {error}")


def set_aside(cut: Cut, schema: EventSchema, *, reason: str) -> Content:
    """Nothing of a cut becomes a row: every message is rejected, for the same reason."""
    offsets = np.concatenate([_NO_OFFSETS, *(run.offsets for run in cut.runs)])
    times_ms = np.concatenate([_NO_OFFSETS, *(run.times_ms for run in cut.runs)])
    values = [value for run in cut.runs for value in run.values]
    is_bad = np.array([value is not None for value in values], np.bool_)
    rejected = pa.table(
        [
            pa.array([reason[:200]] * int(is_bad.sum()), pa.string()),
            *_coordinates(cut.partition, offsets[is_bad], times_ms[is_bad]),
            pa.array([value for value in values if value is not None], pa.binary()),
        ],
        schema=QUARANTINE_SCHEMA,
    )
    filtered = len(values) - len(rejected)
    return Content(schema.shard_schema().empty_table(), rejected, filtered, is_bad)


def _typed(cut: Cut, schema: EventSchema) -> Content:
    offsets = np.concatenate([_NO_OFFSETS, *(run.offsets for run in cut.runs)])
    times_ms = np.concatenate([_NO_OFFSETS, *(run.times_ms for run in cut.runs)])
    values = [value for run in cut.runs for value in run.values]
    present = np.arange(len(values))
    if None in values:
        indexes = [index for index, value in enumerate(values) if value is not None]
        present = np.array(indexes, np.int64)  # of tombstones alone, an empty one
        values = [value for value in values if value is not None]
    parsed = parse(values, schema)
    good = present[parsed.good]
    bad = present[np.array([index for index, _ in parsed.rejected], np.int64)]
    is_bad = np.zeros(len(offsets), np.bool_)
    is_bad[bad] = True
    rejected = pa.table(
        [
            pa.array([reason for _, reason in parsed.rejected], pa.string()),
            *_coordinates(cut.partition, offsets[bad], times_ms[bad]),
            pa.array([values[index] for index, _ in parsed.rejected], pa.binary()),
        ],
        schema=QUARANTINE_SCHEMA,
    )
    return Content(
        events=with_coordinates(
            parsed.events, schema, cut.partition, offsets=offsets[good], times_ms=times_ms[good]
        ),
        rejected=rejected,
        filtered=len(offsets) - len(present),
        is_bad=is_bad,
    )


def with_coordinates(
    events: pa.Table,
    schema: EventSchema,
    partition: int,
    *,
    offsets: npt.NDArray[np.int64],
    times_ms: npt.NDArray[np.int64],
) -> pa.Table:
    """Events in the schema's `shard_schema()`."""
    columns = [*events.columns, *_coordinates(partition, offsets, times_ms)]
    return pa.table(columns, schema=schema.shard_schema())


def publish(
    ledger: Ledger,
    cut: Cut,
    content: Content,
    *,
    partitions: int,
    fingerprint: str,
    topic_id: str | None = None,
    leader_epoch: int | None = None,
) -> ShardFooter:
    """Commit a cut as the next shard of its partition.

    Raises FileExistsError where a rival has committed a shard from the same position: then nothing
    of this cut counts, and the partition goes on behind the newest shard.
    """
    footer = ShardFooter(
        topic=ledger.topic,
        partition=cut.partition,
        first=cut.first,
        next=cut.next,
        minute_at=cut.minute_at,
        rows=len(content.events),
        rejected=len(content.rejected),
        filtered=content.filtered,
        clock_ahead=cut.clock_ahead,
        clock_nonsense=cut.clock_nonsense,
        gap_before=cut.gap_before,
        topic_id=topic_id,
        leader_epoch=leader_epoch,
        partitions=partitions,
        fingerprint=fingerprint,
    )
    with _quarantined(ledger, footer, content, after=cut.after) as named:
        return ledger.commit(named, content.events, after=cut.after)


@contextmanager
def _quarantined(
    ledger: Ledger, footer: ShardFooter, content: Content, *, after: int | None
) -> Iterator[ShardFooter]:
    """The footer with its quarantine file, which is written before the shard that names it."""
    if len(content.rejected) == 0:
        yield footer
        return
    # Unique to this attempt: that of a rival, for the same offsets, may be what counts.
    name = f"{path_of(ledger.root, footer).stem}-{uuid4().hex[:12]}{QUARANTINE_SUFFIX}"
    path = ledger.quarantine_path(name, footer.minute_at)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, QUARANTINE_SCHEMA) as file:
        file.write_table(content.rejected)
    data = sink.getvalue()
    stamp = {"quarantine": name, "quarantine_stamp": Stamp.of(data)}
    named = footer.model_copy(update=stamp)
    publish_file_once(path, data)
    try:
        yield named  # crash here: an orphan that nobody names
    except OSError:
        if not ledger.has_claimed(named, after=after):  # a full disk must not fill up with orphans
            remove_file(path)
        raise


def _coordinates(
    partition: int, offsets: npt.NDArray[np.int64], times_ms: npt.NDArray[np.int64]
) -> list[pa.Array]:
    return [
        pa.array(np.full(len(offsets), partition, np.int32)),
        pa.array(offsets, pa.int64()),
        pa.array(times_ms, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
    ]

"""What the messages of a cut turned out to be: typed, or set aside with the reason.

Rows are compressed as they are typed, a piece of the cut at a time, so that a commit holds little
more than the messages themselves. Whatever they hold, nothing here fails: a piece that cannot be
typed, for a reason that nobody foresaw, is halved until the message is found, and that one is set
aside like any other bad one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from streaming.cutter import Cut
from streaming.messages import Int64s, Messages, joined
from twintide.events import BROKER_TIME_COLUMN, OFFSET_COLUMN, PARTITION_COLUMN, EventSchema
from twintide.jsonrows import parse
from twintide.rowgroups import RowGroups
from twintide.telemetry import get_log

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

PIECE_BYTES = 16 * 1024 * 1024
"""What is typed together, and becomes one row group."""

_MANY_FAILURES = 100
"""A cut with more unforeseen failures is not searched for each: it is set aside as it is."""

_REASON_CHARACTERS = 200


@dataclass
class Content:
    """The typed rows of a cut and what was set aside. consumed = rows + rejected + filtered."""

    rows: RowGroups
    """In the schema's `shard_schema()`."""

    rejected: list[pa.Table] = field(default_factory=list)
    """In QUARANTINE_SCHEMA."""

    filtered: int = 0
    """Messages without a value (tombstones)."""

    is_bad: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """Shape [consumed]: which of the cut's messages were rejected."""

    @property
    def rejected_count(self) -> int:
        return sum(len(each) for each in self.rejected)

    @property
    def reason(self) -> str:
        """Why one of the rejected was, to show; empty where none was."""
        return next((str(each["reason"][0]) for each in self.rejected if len(each)), "")

    def quarantine_file(self) -> pa.Buffer:
        """The bytes of the file that holds the rejected."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, QUARANTINE_SCHEMA) as file:
            for each in self.rejected:
                file.write_table(each)
        return sink.getvalue()


def content_of(cut: Cut, schema: EventSchema) -> Content:
    """Type every message of a cut, or set it aside."""
    typing = _Typing(cut.partition, schema)
    is_bad = [np.zeros(0, np.bool_)]
    is_bad += [typing.take(piece) for piece in pieces(cut.runs)]
    typing.content.is_bad = np.concatenate(is_bad)
    return typing.content


def content_of_rows(events: pa.Table) -> Content:
    """Of rows that are typed already, in a schema's `shard_schema()`."""
    return Content(RowGroups.of(events), is_bad=np.zeros(len(events), np.bool_))


def pieces(runs: tuple[Messages, ...], *, piece_bytes: int = PIECE_BYTES) -> Iterator[Messages]:
    """The messages of some runs, in order, so many at a time as are typed together."""
    together: list[Messages] = []
    held_bytes = 0
    for run in runs:
        for part in _parts(run, piece_bytes):
            if together and held_bytes + part.bytes > piece_bytes:
                yield joined(together)
                together, held_bytes = [], 0
            together.append(part)
            held_bytes += part.bytes
    if together:
        yield joined(together)


def with_coordinates(
    events: pa.Table, schema: EventSchema, partition: int, *, offsets: Int64s, times_ms: Int64s
) -> pa.Table:
    """Events in the schema's `shard_schema()`."""
    columns = [*events.columns, *_coordinates(partition, offsets, times_ms)]
    return pa.table(columns, schema=schema.shard_schema())


class _Typing:
    """Types one cut, piece by piece."""

    def __init__(self, partition: int, schema: EventSchema) -> None:
        self._partition = partition
        self._schema = schema
        self._failures = 0
        self.content = Content(RowGroups(schema.shard_schema()))

    def take(self, messages: Messages) -> npt.NDArray[np.bool_]:
        """Which of the messages are bad; all others are rows by then, or have no value."""
        try:
            return self._type(messages)
        except (MemoryError, OSError):  # no matter of the messages: tried again, they are as good
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it must not stop the line
            return self._search(messages, error)

    def _search(self, messages: Messages, error: Exception) -> npt.NDArray[np.bool_]:
        """Halve what cannot be typed, to set aside no more than that."""
        self._failures += 1
        if self._failures == 1:
            get_log("ingest").error(
                "messages_not_typed",
                partition=self._partition,
                first=int(messages.offsets[0]),
                exc_info=error,
            )
        if len(messages) == 1 or self._failures > _MANY_FAILURES:
            return self._set_aside(messages, f"not typed: {type(error).__name__}: {error}")
        return np.concatenate([self.take(half) for half in messages.split(len(messages) // 2)])

    def _type(self, messages: Messages) -> npt.NDArray[np.bool_]:
        present = np.arange(len(messages))
        values = list(messages.values)
        if None in values:
            indexes = [index for index, value in enumerate(values) if value is not None]
            present = np.array(indexes, np.int64)  # of tombstones alone, an empty one
            values = [value for value in values if value is not None]
        parsed = parse(values, self._schema)
        good = present[parsed.good]
        bad = present[np.array([index for index, _ in parsed.rejected], np.int64)]
        events = with_coordinates(
            parsed.events,
            self._schema,
            self._partition,
            offsets=messages.offsets[good],
            times_ms=messages.times_ms[good],
        )
        rejected = self._rejected(messages, bad, [reason for _, reason in parsed.rejected])
        self.content.rows.add(events)
        self.content.rejected += rejected
        self.content.filtered += len(messages) - len(present)
        return _marked(bad, len(messages))

    def _set_aside(self, messages: Messages, reason: str) -> npt.NDArray[np.bool_]:
        """None of them becomes a row."""
        has_value = [value is not None for value in messages.values]
        bad = np.flatnonzero(np.array(has_value, np.bool_))
        reasons = [reason[:_REASON_CHARACTERS]] * len(bad)
        self.content.rejected += self._rejected(messages, bad, reasons)
        self.content.filtered += len(messages) - len(bad)
        return _marked(bad, len(messages))

    def _rejected(self, messages: Messages, bad: Int64s, reasons: list[str]) -> list[pa.Table]:
        if len(bad) == 0:
            return []
        columns = [
            pa.array(reasons, pa.string()),
            *_coordinates(self._partition, messages.offsets[bad], messages.times_ms[bad]),
            pa.array([messages.values[index] for index in bad], pa.binary()),
        ]
        return [pa.table(columns, schema=QUARANTINE_SCHEMA)]


def _parts(run: Messages, piece_bytes: int) -> Iterator[Messages]:
    """One batch may expand to many pieces."""
    while len(run) > 1 and run.bytes > piece_bytes:
        part, run = run.split(max(1, len(run) * piece_bytes // run.bytes))
        yield part
    yield run


def _marked(indexes: Int64s, count: int) -> npt.NDArray[np.bool_]:
    marked = np.zeros(count, np.bool_)
    marked[indexes] = True
    return marked


def _coordinates(partition: int, offsets: Int64s, times_ms: Int64s) -> list[pa.Array]:
    return [
        pa.array(np.full(len(offsets), partition, np.int32)),
        pa.array(offsets, pa.int64()),
        pa.array(times_ms, pa.int64()).cast(pa.timestamp("ms", tz="UTC")),
    ]

"""Events: the columns of one message, and the role that some of them play.

The schema is declared in YAML. A message is a JSON object; a shard is these columns in this order,
plus the Kafka coordinates of each row.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from twintide.clock import to_unix_ms

ColumnType = Literal[
    "string",
    "int64",
    "float64",
    "bool",
    "timestamp_ms",
    "list<string>",
    "list<int64>",
    "list<float64>",
]
"""`timestamp_ms` is a UTC timestamp in the shard; how a message writes it, `times` says."""

TimeUnit = Literal["s", "ms", "us", "ns"]

ARROW_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp_ms": pa.timestamp("ms", tz="UTC"),
    "list<string>": pa.list_(pa.string()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float64>": pa.list_(pa.float64()),
}

EARLIEST_MS = to_unix_ms(datetime(2000, 1, 1, tzinfo=UTC))
LATEST_MS = to_unix_ms(datetime(2100, 1, 1, tzinfo=UTC))
"""Event times outside [EARLIEST, LATEST) are mistakes of unit or of clock, and refused."""

PARTITION_COLUMN = "kafka_partition"
OFFSET_COLUMN = "kafka_offset"
BROKER_TIME_COLUMN = "broker_at"
RESERVED_COLUMNS = (PARTITION_COLUMN, OFFSET_COLUMN, BROKER_TIME_COLUMN)
"""What a shard adds to the columns of an event."""

PATH_KEY = b"twintide.path"
"""Metadata of a shard's column that lay elsewhere in messages than under its name: its path."""


def existing_zone(name: str) -> str:
    """A time zone of the IANA list. Raises ValueError."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone of the IANA list, such as Europe/Vienna") from None
    return name


ZoneName = Annotated[str, AfterValidator(existing_zone)]
"""Such as Europe/Vienna."""


Value = bool | int | float | str


def _value_or_values(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(tuple(value) if isinstance(value, list) else value)
    except ValidationError:
        raise ValueError(
            "must be true, false, a number, a string, or a list of such values"
        ) from None


class Condition(BaseModel):
    """Which events: those whose `column` holds the value `equals`, or `at_least` as much."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    column: str
    """The column that tells, of strings, whole numbers, numbers or truths."""

    equals: Annotated[Value | tuple[Value, ...] | None, WrapValidator(_value_or_values)] = None
    """What it holds: a value of the column's type, or a list of them, any of which will do; null is
    `true`, where `at_least` does not say otherwise.
    """

    at_least: FiniteFloat | None = None
    """Of a column of numbers: what it holds, or more; such as 30 seconds watched."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.equals is not None and self.at_least is not None:
            raise ValueError("has both equals and at_least: leave one of them out")
        return self

    def values(self) -> tuple[Value, ...]:
        """All values that will do, where it is not `at_least` that tells."""
        equals = True if self.equals is None else self.equals
        return equals if isinstance(equals, tuple) else (equals,)

    def holds(self, column: pa.Array) -> pa.Array:
        """Which rows are meant: one non-null bool a row."""
        if self.at_least is None:
            return pc.is_in(column, value_set=pa.array(self.values(), column.type))
        enough = pc.greater_equal(column, pa.scalar(self.at_least))
        return pc.fill_null(enough, pa.scalar(value=False))

    def among(self, events: pa.Table) -> npt.NDArray[np.bool_]:
        """[N]: which of these events are meant."""
        found: npt.NDArray[np.bool_] = self.holds(events[self.column].combine_chunks()).to_numpy(
            zero_copy_only=False
        )
        return found

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"{self.column} of at least {self.at_least:g}"
        values = [
            str(each).lower() if isinstance(each, bool) else str(each) for each in self.values()
        ]
        return f"{self.column} = {' or '.join(values)}"


class EventSchema(BaseModel):
    """What one message holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    columns: dict[str, ColumnType]
    """Name -> type. Every column but item and time may be missing or null in an event."""

    paths: dict[str, str] = Field(default={})
    """Column -> where its value lies in a message, or in a row of a data file, where that is not
    the field of its name: `user.id` in an object, `topics[].name` in each object of a list.
    """

    user: str
    """Column of the user's id, string or int64. A null user is an anonymous event."""

    item: str
    """Column of the item's id, string or int64; never null."""

    time: str
    """Column of the event time, timestamp_ms; never null."""

    times: TimeUnit | None = None
    """Unit of times that are numbers in messages. Without it they are milliseconds, and those of
    1970 are refused, since seconds taken for milliseconds lie there. ISO 8601 is always read.
    """

    time_zone: ZoneName = "UTC"
    """IANA name: where the clock stood that wrote ISO times without a zone."""

    positive: Condition | None = None
    """Which events are clicks. Without it every event is one. Only clicks are learnt: an item that
    was shown and not clicked never becomes a negative (it was a very good match already; that it
    was not clicked is for the ranking stage to learn).
    """

    def required(self) -> tuple[str, ...]:
        """Columns that are never null."""
        return (self.item, self.time)

    def arrow_schema(self) -> pa.Schema:
        """The event columns as they stand in a shard, without the Kafka coordinates."""
        return pa.schema(
            [
                pa.field(name, ARROW_TYPES[kind], nullable=name not in self.required())
                for name, kind in self.columns.items()
            ]
        )

    def shard_schema(self) -> pa.Schema:
        """The columns of a shard: the event's, then the message's partition, offset and time."""
        coordinates = [
            pa.field(PARTITION_COLUMN, pa.int32(), nullable=False),
            pa.field(OFFSET_COLUMN, pa.int64(), nullable=False),
            pa.field(BROKER_TIME_COLUMN, pa.timestamp("ms", tz="UTC"), nullable=False),
        ]
        columns = [
            field.with_metadata({PATH_KEY: self.paths[field.name].encode()})
            if field.name in self.paths
            else field
            for field in self.arrow_schema()
        ]
        return pa.schema([*columns, *coordinates])

    def fingerprint(self) -> str:
        """16 hex digits that change when the name or the type of a column does, not with their
        order: all that binds a shard, since roles are only read out of it.
        """
        columns = json.dumps(self.columns, sort_keys=True)
        return hashlib.sha256(columns.encode()).hexdigest()[:16]

    def is_click(self, events: pa.Table) -> pa.Array:
        """Which rows are clicks: one non-null bool a row."""
        if self.positive is None:
            return pa.repeat(pa.scalar(value=True), len(events))
        return self.positive.holds(events[self.positive.column].combine_chunks())

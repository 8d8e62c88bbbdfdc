"""Messages to typed columns, and the reasons of those that are not good.

Arrow parses a megabyte of messages at once. It sees one stream of JSON in which a newline is only
a blank, so two broken messages could swallow a good one between them. Hence msgspec goes through
each message by itself first, and only what is one whole JSON object within its own bounds reaches
Arrow. Where one does not fit the schema, msgspec types each and Arrow parses the good rest. What is
said of a message never depends on its neighbours, and everything a broker can hold is answered:
nothing here raises because of what a message holds.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import length_hint
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from twintide.events import EARLIEST_MS, LATEST_MS, EventSchema

BLOCK_BYTES = 1 << 20
"""Arrow is fastest on blocks of about a megabyte."""

_REASON_CHARACTERS = 200
_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_INSTANT = Annotated[int, msgspec.Meta(ge=EARLIEST_MS, lt=LATEST_MS)]
_JSON_TYPES: dict[str, Any] = {
    "string": str,
    "int64": _INT64,
    "float64": float,
    "bool": bool,
    "timestamp_ms": _INSTANT,
    "list<string>": list[str | None],
    "list<int64>": list[_INT64 | None],
}

_ANY_OBJECT = msgspec.json.Decoder(msgspec.defstruct("AnyObject", [], gc=False)).decode
"""Goes through a message from its first byte to its last and builds nothing of it."""

Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Parsed:
    """What n messages turned out to be: every index is in `good` or in `rejected`, once."""

    events: pa.Table
    """The good ones, in order, typed by the schema's `arrow_schema()`."""

    good: Indexes
    """Index of the message that each row came from."""

    rejected: tuple[tuple[int, str], ...]
    """(index, reason) of the others, in order."""


def parse(values: Sequence[bytes], schema: EventSchema) -> Parsed:
    """Judge and type every message. A message is a JSON object; fields that it has on top of the
    schema's are ignored, and a column that is not required may be missing or null.
    """
    reader = _reader(schema.model_dump_json())
    tables, good, rejected = [reader.empty], [], []
    for start, block in _blocks(values):
        table, is_good, reasons = reader.block(block)
        tables.append(table)
        good.append(np.flatnonzero(is_good) + start)
        rejected += [(start + index, reason) for index, reason in reasons]
    return Parsed(
        events=pa.concat_tables(tables),
        good=np.concatenate(good) if good else np.zeros(0, np.int64),
        rejected=tuple(rejected),
    )


def _blocks(values: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Runs of about a megabyte, and the index of the first of each."""
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    start, done_bytes = 0, 0
    while start < len(values):
        stop = int(np.searchsorted(ends, done_bytes + BLOCK_BYTES)) + 1
        yield start, values[start:stop]
        start, done_bytes = stop, int(ends[min(stop, len(values)) - 1])


class _Reader:
    """Reads blocks of messages of one schema."""

    def __init__(self, schema: EventSchema) -> None:
        self._schema = schema.arrow_schema()
        self._times = [name for name, kind in schema.columns.items() if kind == "timestamp_ms"]
        self._floats = [name for name, kind in schema.columns.items() if kind == "float64"]
        self._required = schema.required()
        fields = [
            pa.field(field.name, pa.int64() if field.name in self._times else field.type)
            for field in self._schema
        ]
        self._options = pj.ParseOptions(
            explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"
        )
        self._judge = _judge(schema)
        self.empty = self._schema.empty_table()

    def block(
        self, values: Sequence[bytes]
    ) -> tuple[pa.Table, npt.NDArray[np.bool_], list[tuple[int, str]]]:
        """The good messages as a table, which they are, and the others with their reasons."""
        torn = not_one_object(values)
        if not torn and (table := self._fast(values)) is not None:
            return table, np.ones(len(values), np.bool_), []
        reasons = {index: self._judge(values[index]) or "not one JSON object" for index in torn}
        is_good = np.ones(len(values), np.bool_)
        is_good[torn] = False
        whole = np.flatnonzero(is_good).tolist()
        tables = [self.empty]
        if (table := self._fast([values[index] for index in whole])) is not None:
            tables.append(table)
        else:
            for index in whole:
                if (reason := self._judge(values[index])) is not None:
                    reasons[index] = reason
            candidates = [index for index in whole if index not in reasons]
            for part, outcome in self._halved([values[index] for index in candidates], 0):
                if isinstance(outcome, str):
                    reasons[candidates[part]] = outcome
                else:
                    tables.append(outcome)
        is_good[list(reasons)] = False
        return pa.concat_tables(tables), is_good, sorted(reasons.items())

    def _fast(self, values: Sequence[bytes]) -> pa.Table | None:
        """All of them in one go; None where one of them at least wants a closer look."""
        if not values:
            return self.empty
        try:
            return self._table(b"\n".join(values), rows=len(values))
        except (pa.ArrowException, _BadBlockError):
            return None

    def _table(self, joined: bytes, *, rows: int) -> pa.Table:
        """Lines of JSON as a table, checked. Never called with only `null`: pyarrow would crash."""
        raw = pj.read_json(
            pa.BufferReader(joined),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),
            parse_options=self._options,
        )
        if raw.num_rows != rows:
            raise _BadBlockError("not one JSON object")
        for name in self._required:
            if raw[name].null_count:
                raise _BadBlockError(f"{name} is missing")
        for name in self._times:
            bounds = pc.min_max(raw[name]).as_py()
            if bounds["min"] is not None and not (
                bounds["min"] >= EARLIEST_MS and bounds["max"] < LATEST_MS
            ):
                raise _BadBlockError(f"{name} is not between 2000 and 2100")
        for name in self._floats:
            if not pc.all(pc.is_finite(raw[name]), min_count=0).as_py():
                raise _BadBlockError(f"{name} is not finite")
        table = pa.table(
            [column.cast(field.type) for column, field in zip(raw, self._schema, strict=True)],
            schema=self._schema,
        )
        table.validate(full=True)  # Arrow takes invalid UTF-8, DuckDB and Polars then do not
        return table

    def _halved(self, values: Sequence[bytes], start: int) -> Iterator[tuple[int, pa.Table | str]]:
        """Tables of runs without a bad message, and (index, reason) of the rare ones that msgspec
        takes and Arrow does not, such as a field named twice.
        """
        if not values:
            return
        try:
            yield start, self._table(b"\n".join(values), rows=len(values))
        except (pa.ArrowException, _BadBlockError) as error:
            if len(values) == 1:
                yield start, _short(str(error))
                return
            middle = len(values) // 2
            yield from self._halved(values[:middle], start)
            yield from self._halved(values[middle:], start + middle)


class _BadBlockError(Exception):
    """A block parsed, but something in it breaks the schema."""


@lru_cache(maxsize=8)
def _reader(schema_json: str) -> _Reader:
    return _Reader(EventSchema.model_validate_json(schema_json))


def not_one_object(values: Sequence[bytes]) -> list[int]:
    """Indexes of messages that are not one whole JSON object, each within its own bounds."""
    found = []
    left = iter(values)
    while True:
        try:
            deque(map(_ANY_OBJECT, left), maxlen=0)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found.append(len(values) - length_hint(left) - 1)
        else:
            return found


def _judge(schema: EventSchema) -> Callable[[bytes], str | None]:
    """A function that says why one message is bad, or None."""
    fields = []
    for index, (name, kind) in enumerate(schema.columns.items()):
        if name in schema.required():
            fields.append((f"c{index}", _JSON_TYPES[kind], msgspec.field(name=name)))
        else:
            kind_or_null = _JSON_TYPES[kind] | None
            fields.append((f"c{index}", kind_or_null, msgspec.field(name=name, default=None)))
    decode = msgspec.json.Decoder(msgspec.defstruct("Event", fields, kw_only=True, gc=False)).decode

    def reason_of(value: bytes) -> str | None:
        try:
            decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _short(str(error))
        except RecursionError:
            return "nested too deeply"
        return None

    return reason_of


def _short(reason: str) -> str:
    return reason[:_REASON_CHARACTERS]

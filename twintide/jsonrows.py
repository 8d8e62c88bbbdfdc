"""JSON objects, one a message or line, to typed columns, and the reasons of those that are bad.

Arrow parses a megabyte of them at once. It sees one stream of JSON in which a newline is only a
blank, so two broken messages could swallow a good one between them. Hence msgspec goes through each
by itself first, and only what is one whole JSON object within its own bounds reaches Arrow. What
Arrow cannot type as a block is typed value by value. What is said of a message never depends on its
neighbours, and nothing that a broker can hold raises anything here.
"""

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import length_hint
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pj

from twintide.columnpath import AstrayError, ColumnPath, arrow_fields, paths_of
from twintide.events import ARROW_TYPES, ColumnType, EventSchema
from twintide.notation import Notation
from twintide.reasons import why
from twintide.values import integer_of_json, typed, typed_objects

BLOCK_BYTES = 1 << 20
"""Arrow is fastest on blocks of about a megabyte."""

MAX_DEPTH = 500
"""Objects and lists within each other; the parsers' own limits lie above."""

_REASON_CHARACTERS = 200
_SNIFFED = 20
_FEW = 128
_ANY_OBJECT = msgspec.json.Decoder(msgspec.defstruct("AnyObject", [], gc=False)).decode
"""Goes through a message from its first byte to its last and builds nothing of it."""

_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|([\[{])|([\]}])', re.DOTALL)
_UNNAMEABLE = re.compile(r'[\\"\x00-\x1f]')
"""What a name of a field must not hold for msgspec."""

_JSON_TYPES: dict[pa.DataType, Any] = {
    pa.string(): str,
    pa.int64(): int,
    pa.float64(): float,
    pa.bool_(): bool,
}
_ARROW_OF_JSON: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}

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
    return reader_of(schema).parse(values)


def reader_of(schema: EventSchema) -> "JsonReader":
    """The reader of a schema's messages; kept, since it learns how they are written."""
    return _reader(schema.model_dump_json())


@lru_cache(maxsize=8)
def _reader(schema_json: str) -> "JsonReader":
    schema = EventSchema.model_validate_json(schema_json)
    return JsonReader(schema, Notation(times=schema.times, time_zone=schema.time_zone))


class JsonReader:
    """Reads blocks of JSON objects of one schema, whose columns lie at `paths`."""

    def __init__(
        self,
        schema: EventSchema,
        notation: Notation,
        paths: Mapping[str, ColumnPath] | None = None,
    ) -> None:
        self._schema = schema
        self._arrow_schema = schema.arrow_schema()
        self._notation = notation
        self._is_fine = notation.times == "ns"  # a float does not hold today's nanosecond
        self._paths = paths_of(schema) if paths is None else paths
        self._tops = {path.top for path in self._paths.values()}
        kinds: dict[ColumnPath, pa.DataType] = {}
        for name, path in self._paths.items():
            kinds.setdefault(path, _type_in_json(schema.columns[name]))
        self._expect(kinds)

    def _expect(self, kinds: dict[ColumnPath, pa.DataType]) -> None:
        """What Arrow reads each value as. It decides about speed, never about meaning."""
        self._kinds = kinds
        fields = arrow_fields(kinds)
        self._options = pj.ParseOptions(
            explicit_schema=pa.schema(fields), unexpected_field_behavior="ignore"
        )
        self._decode_expected = msgspec.json.Decoder(_json_type(pa.struct(fields))).decode

    def parse(self, values: Sequence[bytes]) -> Parsed:
        """Judge and type every one."""
        tables, good, rejected = [self._arrow_schema.empty_table()], [], []
        for start, block in _blocks(values):
            parsed = self._block(block)
            tables.append(parsed.events)
            good.append(parsed.good + start)
            rejected += [(start + index, reason) for index, reason in parsed.rejected]
        return Parsed(
            events=pa.concat_tables(tables),
            good=np.concatenate(good) if good else np.zeros(0, np.int64),
            rejected=tuple(rejected),
        )

    def _block(self, values: Sequence[bytes]) -> Parsed:
        """What Arrow reads as a block, and the rest value by value."""
        reasons = {index: _why_not_whole(values[index]) for index in _not_whole(values)}
        is_whole = np.ones(len(values), np.bool_)
        is_whole[list(reasons)] = False
        whole = np.flatnonzero(is_whole)
        table, fitting = self._read(_those(values, whole))
        columns = [
            typed(path.in_column(_one_chunk(table[path.top])), kind, self._notation)
            for kind, path in zip(self._schema.columns.values(), self._paths.values(), strict=True)
        ]
        events = pa.table([column.values for column in columns], list(self._schema.columns))
        fitting = whole[fitting]
        # What Arrow read a field as may hide what it is, so what is bad is looked at once more.
        is_bad = np.logical_or.reduce([column.is_bad for column in columns])
        if len(fitting) == len(whole) and not is_bad.any():
            return self._with_required(events, whole, reasons)
        is_whole[fitting[~is_bad]] = False
        odd = np.flatnonzero(is_whole)
        found, odd_reasons = self._one_by_one(_those(values, odd))
        reasons |= {int(odd[index]): reason for index, reason in odd_reasons.items()}
        place = np.zeros(len(values), np.int64)
        place[fitting] = np.arange(len(fitting))
        place[odd] = np.arange(len(fitting), len(fitting) + len(odd))
        is_good = np.ones(len(values), np.bool_)
        is_good[list(reasons)] = False
        good = np.flatnonzero(is_good)
        events = pa.concat_tables([events, found]).take(pa.array(place[good]))
        return self._with_required(events, good, reasons)

    def _with_required(self, events: pa.Table, good: Indexes, reasons: dict[int, str]) -> Parsed:
        """Rows that lack what is never null are bad as well."""
        is_missing = np.zeros(len(events), np.bool_)
        for name in self._schema.required():
            if events[name].null_count:
                is_null = events[name].is_null().to_numpy()
                for index in good[is_null & ~is_missing].tolist():
                    reasons[index] = f"{self._paths[name]} is missing"
                is_missing |= is_null
        if is_missing.any():
            events, good = events.filter(pa.array(~is_missing)), good[~is_missing]
        return Parsed(events.cast(self._arrow_schema), good, tuple(sorted(reasons.items())))

    def _read(self, values: Sequence[bytes]) -> tuple[pa.Table, Indexes]:
        """The fields of all that Arrow can read in one go, and which these are."""
        everything = np.arange(len(values))
        table = self._by_arrow(values)
        if table is None and self._learn(values):
            table = self._by_arrow(values)
        if table is not None:
            return table, everything
        fitting = np.delete(everything, _failing(self._decode_expected, values))
        parts = list(self._halved(values, fitting))
        tables = [self._options.explicit_schema.empty_table(), *(table for table, _ in parts)]
        indexes = [everything[:0], *(own for _, own in parts)]
        return pa.concat_tables(tables).combine_chunks(), np.concatenate(indexes)

    def _halved(
        self, values: Sequence[bytes], indexes: Indexes
    ) -> Iterator[tuple[pa.Table, Indexes]]:
        """The runs that Arrow can read, where a few messages are such as only Arrow refuses: with a
        field twice, with 1.0 for an integer.
        """
        table = self._by_arrow(_those(values, indexes))
        if table is not None:
            yield table, indexes
        elif len(indexes) > _FEW:
            middle = len(indexes) // 2
            yield from self._halved(values, indexes[:middle])
            yield from self._halved(values, indexes[middle:])

    def _by_arrow(self, values: Sequence[bytes]) -> pa.Table | None:
        """Whole objects as a table of the fields; None where one of them does not fit."""
        if not values:
            return self._options.explicit_schema.empty_table()
        joined = b"\n".join(values)
        try:
            return pj.read_json(
                pa.BufferReader(joined),
                read_options=pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),
                parse_options=self._options,
            )
        except pa.ArrowException:
            return None

    def _learn(self, values: Sequence[bytes]) -> bool:
        """Look at some how their fields are written; whether that is news."""
        objects = [_fields_of(value)[0] for value in values[:_SNIFFED]]
        kinds = {
            path: self._seen(_in_rows(path, objects)[0], name) for name, path in self._paths.items()
        }
        if kinds == self._kinds:
            return False
        self._expect(kinds)
        return True

    def _seen(self, values: Sequence[Any], name: str) -> pa.DataType:
        """What to read as, where such values lie."""
        kind, before = self._schema.columns[name], self._kinds[self._paths[name]]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {list}:
            parts = {type(part) for value in values for part in value or () if part is not None}
            if kind == "list<float64>" and parts <= {int, float}:
                return pa.list_(pa.float64())
            is_one = len(parts) == 1 and parts <= {str, int}
            return pa.list_(_ARROW_OF_JSON[parts.pop()]) if is_one else before
        if kinds == {int, float} or (kinds == {int} and kind == "float64"):
            kinds = {float}
        if len(kinds) != 1 or (kinds == {float} and kind == "timestamp_ms" and self._is_fine):
            return before
        return _ARROW_OF_JSON.get(kinds.pop(), before)

    def _one_by_one(self, values: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
        """A row for each, and why some are bad."""
        objects, reasons = [], {}
        for index, value in enumerate(values):
            fields, twice = _fields_of(value)
            objects.append(fields)
            asked = [name for name in twice if name in self._tops]
            if asked:
                reasons[index] = f"{', '.join(asked)} stands twice"
        columns = []
        for name, kind in self._schema.columns.items():
            path = self._paths[name]
            raw, astray = _in_rows(path, objects)
            column = typed_objects(raw, kind, self._notation)
            bad = np.flatnonzero(column.is_bad).tolist()
            told = astray | {index: why(raw[index], kind, self._notation) for index in bad}
            for index, reason in told.items():
                reasons.setdefault(index, f"{path}: {reason}"[:_REASON_CHARACTERS])
            columns.append(column.values)
        return pa.table(columns, list(self._schema.columns)), reasons


def _blocks(values: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Runs of about a megabyte, and the index of the first of each."""
    ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
    start, done_bytes = 0, 0
    while start < len(values):
        stop = int(np.searchsorted(ends, done_bytes + BLOCK_BYTES)) + 1
        yield start, values[start:stop]
        start, done_bytes = stop, int(ends[min(stop, len(values)) - 1])


def _those(values: Sequence[bytes], indexes: Indexes) -> Sequence[bytes]:
    if len(indexes) == len(values):
        return values
    return [values[index] for index in indexes.tolist()]


def _failing(decode: Callable[[bytes], Any], values: Sequence[bytes]) -> list[int]:
    """Indexes of what does not decode; the loop over the others runs in C."""
    found = []
    left = iter(values)
    while True:
        try:
            deque(map(decode, left), maxlen=0)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            found.append(len(values) - length_hint(left) - 1)
        else:
            return found


def _not_whole(values: Sequence[bytes]) -> list[int]:
    """Indexes of those that are not one whole JSON object, each within its own bounds."""
    found = _failing(_ANY_OBJECT, values)
    if max(map(len, values), default=0) > 2 * MAX_DEPTH:
        found = sorted({*found, *(i for i, value in enumerate(values) if _is_deep(value))})
    return found


def _why_not_whole(value: bytes) -> str:
    if _is_deep(value):
        return "nested too deeply"
    try:
        _ANY_OBJECT(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return str(error)[:_REASON_CHARACTERS]
    return "not one JSON object"


def _is_deep(value: bytes) -> bool:
    """Exact, so that no verdict depends on how much of its stack a parser had left."""
    if len(value) <= 2 * MAX_DEPTH or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth = deepest = 0
    for found in _BRACKETS.finditer(value):
        depth += (found[1] is not None) - (found[2] is not None)
        deepest = max(deepest, depth)
    return deepest > MAX_DEPTH


def _in_rows(
    path: ColumnPath, objects: Sequence[Mapping[str, Any]]
) -> tuple[list[Any], dict[int, str]]:
    """The value of each, and why some have none that could be read."""
    if path.is_named:
        return [fields.get(path.top) for fields in objects], {}
    values: list[Any] = [None] * len(objects)
    astray = {}
    for index, fields in enumerate(objects):
        try:
            values[index] = path.in_row(fields)
        except AstrayError as error:
            astray[index] = str(error)
    return values, astray


def _fields_of(value: bytes) -> tuple[dict[str, Any], list[str]]:
    """The fields of a whole object, and which stand in it more than once.

    An object within it is a tuple, so that it is never taken for a list. Bytes that are no UTF-8
    become lone surrogates: in a field that nobody asks for they do no harm.
    """
    pairs = json.loads(
        value.decode(errors="surrogateescape"),
        object_pairs_hook=tuple,
        parse_int=integer_of_json,
    )
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields, []
    times = Counter(name for name, _ in pairs)
    return fields, [name for name in fields if times[name] > 1]


def _type_in_json(kind: ColumnType) -> pa.DataType:
    """What Arrow reads a column as until it has learnt better."""
    return pa.int64() if kind == "timestamp_ms" else ARROW_TYPES[kind]


def _json_type(kind: pa.DataType) -> Any:
    """The same in the words of msgspec, of which no field need be there."""
    if pa.types.is_list(kind):
        return list[_json_type(kind.value_type) | None]  # type: ignore[misc]
    if not pa.types.is_struct(kind):
        return _JSON_TYPES[kind]
    members = [
        (f"c{index}", _json_type(field.type) | None, msgspec.field(name=field.name, default=None))
        for index, field in enumerate(kind)
        if not _UNNAMEABLE.search(field.name)  # Arrow alone tells then which messages do not fit
    ]
    return msgspec.defstruct("Expected", members, kw_only=True, gc=False)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

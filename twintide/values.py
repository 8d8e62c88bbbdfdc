"""One rule for every value, wherever it comes from: a message, CSV, JSON lines or Parquet.

`typed` turns a column, as its format holds it (text, numbers, booleans, instants, lists), into the
type that `events.columns` declares. What the rule does not read is bad, and never becomes something
else. A value is missing where it is null, NaN, or a text that is empty or blank. The table for
people is in docs/data-files.md.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.clock import from_unix_ms
from twintide.events import ARROW_TYPES, LATEST_MS, ColumnType, TimeUnit

Flags = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

YEAR_1971_MS = 365 * 86_400_000
"""Seconds taken for milliseconds lie before it: a number of no declared unit must not."""

_IN_A_MS: dict[TimeUnit, tuple[int, int]] = {
    "s": (1000, 1),
    "ms": (1, 1),
    "us": (1, 1000),
    "ns": (1, 1_000_000),
}
"""A number in the unit, times the first, by the second, is milliseconds."""

_UNIT_NAMES: dict[TimeUnit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_EARLIEST_LIKELY_MS = 946_684_800_000
_LONGEST_SHORT_INTEGER = 18
_INT64 = range(-(2**63), 2**63)
_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")
_HALF = re.compile("[\ud800-\udfff]")
_BOOLEANS = pa.array([*_TRUE, *_FALSE])
_ISO = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r" ?(?P<zone>[Zz]|UTC|GMT|(?:[+-](?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?))?)?$"
)


@dataclass(frozen=True)
class Notation:
    """How a source writes what can be written in more than one way."""

    times: TimeUnit | None = None
    """Unit of times that are numbers. None: milliseconds, and 1970 is refused, since seconds taken
    for milliseconds lie there."""

    time_zone: str = "UTC"
    """Where the clock stood that wrote times without a zone."""

    decimal: str = "."
    list_separator: str = ","
    null_values: tuple[str, ...] = ()
    """Texts that are no value, besides the empty and blank ones."""


@dataclass(frozen=True)
class Typed:
    """A column of n values in the declared type."""

    values: pa.Array
    """Null where a value is missing or bad."""

    is_bad: Flags
    """Shape [n]: there is a value, and the rule does not read it."""


def typed(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """A column of any Arrow type in the declared one."""
    column, is_garbled = _plain(column)
    family = next(name for name, belongs in _FAMILIES.items() if belongs(column.type))
    if family == "text":
        column = _without_blanks(column, notation)
    read = _READERS.get((family, kind), _not_at_all)
    result = read(column, kind, notation)
    return result if is_garbled is None else Typed(result.values, result.is_bad | is_garbled)


def typed_objects(values: Sequence[Any], kind: ColumnType, notation: Notation) -> Typed:
    """Values as JSON gives them, of mixed kinds, in the declared type.

    Each kind is typed as a column of its own, so a value means the same whatever stands beside it.
    """
    groups: dict[type, list[int]] = {}
    for index, value in enumerate(values):
        groups.setdefault(type(value), []).append(index)
    parts = [
        _of_one_type([values[index] for index in indexes], kind, notation)
        for indexes in groups.values()
    ]
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return _none(0, kind)
    order = np.argsort(np.concatenate(list(groups.values())))
    return Typed(
        pa.concat_arrays([part.values for part in parts]).take(pa.array(order)),
        np.concatenate([part.is_bad for part in parts])[order],
    )


class Digits(str):
    """An integer of JSON that is longer than 64 bits: its digits."""

    __slots__ = ()


def integer_of_json(text: str) -> int | Digits:
    """A JSON integer; what is too long for Arrow stays text, as in CSV."""
    if len(text) <= _LONGEST_SHORT_INTEGER:
        return int(text)
    return int(text) if len(text) <= len(str(-(2**63))) and int(text) in _INT64 else Digits(text)


def _of_one_type(values: list[Any], kind: ColumnType, notation: Notation) -> Typed:
    first = values[0]
    if first is None:
        return _none(len(values), kind)
    is_list = kind.startswith("list")
    match first:
        case list():
            return _lists_of_objects(values, kind, notation) if is_list else _bad(values, kind)
        case Digits():
            texts = pa.array(values, pa.string())
            return _bad(values, kind) if is_list else typed(texts, kind, notation)
        case str():
            return _of_texts(values, kind, notation)
        case bool() | int() | float():
            return typed(pa.array(values), kind, notation)
        case _:
            return _bad(values, kind)


def _of_texts(values: list[str], kind: ColumnType, notation: Notation) -> Typed:
    """Texts, of which some may hold bytes that are no UTF-8 (as lone surrogates)."""
    try:
        return typed(pa.array(values, pa.string()), kind, notation)
    except UnicodeEncodeError:
        return typed(
            pa.array([value.encode(errors="surrogateescape") for value in values], pa.binary()),
            kind,
            notation,
        )


# What a column is, and how each family of types is read as each declared type.


def _plain(column: pa.Array) -> tuple[pa.Array, Flags | None]:
    """The column in the one Arrow type of its family; and which of its texts are no UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    for belongs, plain in _PLAIN:
        if belongs(column.type):
            column = plain(column)
    if not pa.types.is_string(column.type):
        return column, None
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return _without_garbled(column)
    return column, None


def _without_garbled(column: pa.Array) -> tuple[pa.Array, Flags]:
    texts, is_garbled = [], np.zeros(len(column), np.bool_)
    for index, data in enumerate(column.cast(pa.binary()).to_pylist()):
        try:
            texts.append(None if data is None else data.decode())
        except UnicodeDecodeError:
            texts.append(None)
            is_garbled[index] = True
    return pa.array(texts, pa.string()), is_garbled


def _as_text(column: pa.Array) -> pa.Array:
    """Binary as text without a look at it: what is no UTF-8 is found afterwards."""
    return column.cast(pa.binary()).view(pa.string())


def _as_list(column: pa.Array) -> pa.Array:
    return column.cast(pa.list_(column.type.value_type))


def _is_exact_decimal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind)) and kind.scale <= 0


def _is_text_in_other_form(kind: pa.DataType) -> bool:
    return any(
        belongs(kind)
        for belongs in (
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_list_in_other_form(kind: pa.DataType) -> bool:
    return any(
        belongs(kind)
        for belongs in (
            pa.types.is_large_list,
            pa.types.is_fixed_size_list,
            pa.types.is_list_view,
            pa.types.is_large_list_view,
        )
    )


_PLAIN: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]], ...] = (
    (_is_text_in_other_form, _as_text),
    (_is_list_in_other_form, _as_list),
    (_is_exact_decimal, lambda column: column.cast(pa.string())),
    (pa.types.is_decimal, lambda column: column.cast(pa.float64())),
    (pa.types.is_float16, lambda column: column.cast(pa.float32())),
    (pa.types.is_date, lambda column: column.cast(pa.timestamp("ms"))),
)


def _without_blanks(column: pa.Array, notation: Notation) -> pa.Array:
    """Text that is no value becomes null."""
    is_blank = pc.or_(pc.equal(column, ""), pc.utf8_is_space(column))
    if notation.null_values:
        is_blank = pc.or_(is_blank, pc.is_in(column, pa.array(notation.null_values, pa.string())))
    if not pc.any(is_blank).as_py():
        return column
    return pc.if_else(is_blank, pa.scalar(None, pa.string()), column)


def _not_at_all(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    """What no rule reads: every value is bad."""
    return Typed(pa.nulls(len(column), ARROW_TYPES[kind]), _is_valid(column))


def _as_it_is(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    return Typed(column.cast(ARROW_TYPES[kind]), np.zeros(len(column), np.bool_))


def _integers(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """Integers as int64, which of the unsigned not all are."""
    if not pa.types.is_uint64(column.type):
        return _as_it_is(column, kind, notation)
    fits = pc.less_equal(column, pa.scalar(2**63 - 1, pa.uint64()))
    kept = pc.if_else(fits, column, pa.scalar(None, pa.uint64()))
    return Typed(kept.cast(pa.int64()), _true(pc.invert(fits)))


def _whole_floats(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    """Floats that are exactly an integer, as pandas writes integers beside missing ones."""
    values, is_value = _floats_of(column)
    exact = 2**24 if pa.types.is_float32(column.type) else 2**53
    fits = is_value & (np.abs(values) < exact) & (values == np.floor(values))
    whole = _made(np.where(fits, values, 0).astype(np.int64), fits)
    return Typed(whole.cast(ARROW_TYPES[kind]), is_value & ~fits)


def _floats(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    values, is_value = _floats_of(column.cast(pa.float64()))
    fits = is_value & np.isfinite(values)
    return Typed(_made(values, fits), is_value & ~fits)


def _number_as_bool(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    values, is_value = _floats_of(column.cast(pa.float64(), safe=False))
    fits = is_value & ((values == 0) | (values == 1))
    return Typed(_made(values == 1, fits), is_value & ~fits)


def _text_as_int64(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    text = _number_text(column, notation)
    whole = pc.match_substring_regex(text, r"^-?[0-9]+(\.0*)?$")
    digits = pc.replace_substring_regex(text, r"\.0*$", "")
    is_short = pc.less_equal(pc.binary_length(digits), _LONGEST_SHORT_INTEGER)
    short = pc.if_else(pc.and_(whole, is_short), digits, pa.scalar(None, pa.string()))
    values = short.cast(pa.int64())
    is_long = _true(pc.and_(whole, pc.invert(is_short)))
    if is_long.any():
        texts = digits.filter(pa.array(is_long)).to_pylist()
        long = [int(each) if len(each) < 100 and int(each) in _INT64 else None for each in texts]  # noqa: PLR2004  zeros in front
        values = pc.replace_with_mask(values, pa.array(is_long), pa.array(long, pa.int64()))
    return Typed(values.cast(ARROW_TYPES[kind]), _true(text.is_valid()) & ~_is_valid(values))


def _text_as_float64(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    text = _number_text(column, notation)
    is_number = pc.match_substring_regex(
        text, r"^-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    )
    numbers = pc.if_else(is_number, text, pa.scalar(None, pa.string()))
    result = _floats(numbers.cast(pa.float64()), kind, notation)
    return Typed(result.values, result.is_bad | _true(pc.invert(is_number)))


def _number_text(column: pa.Array, notation: Notation) -> pa.Array:
    """Trimmed, without a plus, with a point for the decimal sign; "nan" is missing."""
    text = pc.utf8_trim_whitespace(column)
    if notation.decimal != ".":
        # A point would then part thousands: it makes the text no number.
        text = pc.replace_substring(pc.replace_substring(text, ".", "?"), notation.decimal, ".")
    text = pc.replace_substring_regex(text, r"^\+([0-9.])", r"\1")
    is_nan = pc.equal(pc.utf8_lower(text), "nan")
    if pc.any(is_nan).as_py():
        return pc.if_else(is_nan, pa.scalar(None, pa.string()), text)
    return text


def _text_as_bool(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    word = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    place = pc.index_in(word, _BOOLEANS)
    return Typed(pc.less(place, len(_TRUE)), _true(pc.and_(column.is_valid(), place.is_null())))


# Times. Whatever is finer than a millisecond is cut off.


def _integers_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    is_value = _is_valid(column)
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return _times(*_ms_of_integers(values, notation), is_value)


def _floats_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    values, is_value = _floats_of(column.cast(pa.float64()))
    return _times(*_ms_of_floats(values, notation), is_value)


def _ms_of_integers(
    values: npt.NDArray[np.integer[Any]], notation: Notation
) -> tuple[Int64s, Flags]:
    """Unix milliseconds, and which of them are times at all."""
    times, by = _IN_A_MS[notation.times or "ms"]
    first = 0 if notation.times else YEAR_1971_MS
    fits = (values >= first) & (values < LATEST_MS * by // times)
    return np.where(fits, values, 0).astype(np.int64) * times // by, fits


def _ms_of_floats(values: npt.NDArray[np.float64], notation: Notation) -> tuple[Int64s, Flags]:
    """As above. A float holds today's second to a quarter of a microsecond: rounded to whole ones,
    0.997 s is not 0.996999 s.
    """
    times, by = _IN_A_MS[notation.times or "ms"]
    first = 0 if notation.times else YEAR_1971_MS
    with np.errstate(invalid="ignore", over="ignore"):
        micros = np.rint(values * (1000 * times / by))
        fits = (values >= first) & (micros < LATEST_MS * 1000)
    return np.where(fits, micros, 0).astype(np.int64) // 1000, fits


def _text_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    """ISO 8601 with or without a zone, or a number in the unit."""
    text = pc.utf8_trim_whitespace(column)
    number = _number_text(column, notation)
    is_integer = _true(pc.match_substring_regex(number, r"^[0-9]{1,19}$"))
    is_float = _true(pc.match_substring_regex(number, r"^[0-9]+\.[0-9]*$"))
    ms = np.zeros(len(column), np.int64)
    fits = np.zeros(len(column), np.bool_)
    if is_integer.any():
        digits = number.filter(pa.array(is_integer)).cast(pa.uint64())
        ms[is_integer], fits[is_integer] = _ms_of_integers(digits.to_numpy(), notation)
    if is_float.any():
        floats = number.filter(pa.array(is_float)).cast(pa.float64())
        ms[is_float], fits[is_float] = _ms_of_floats(floats.to_numpy(), notation)
    is_iso = _is_valid(number) & ~is_integer & ~is_float
    if is_iso.any():
        ms[is_iso], fits[is_iso] = _ms_of_iso(text.filter(pa.array(is_iso)), notation)
    return _times(ms, fits, _is_valid(number))


def _ms_of_iso(text: pa.Array, notation: Notation) -> tuple[Int64s, Flags]:
    parts = pc.extract_regex(text, _ISO)
    number = {
        name: _small_integers(parts.field(name))
        for name in ("year", "month", "day", "hour", "minute", "second", "zone_hour", "zone_minute")
    }
    months = ((number["year"] - 1970) * 12 + number["month"] - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (number["day"] - 1)
    fits = (
        _is_valid(parts)
        & (number["month"] >= 1)
        & (number["month"] <= 12)  # noqa: PLR2004
        & (number["day"] >= 1)
        & (days.astype("datetime64[M]") == months)
        & (number["hour"] < 24)  # noqa: PLR2004
        & (number["minute"] < 60)  # noqa: PLR2004
        & (number["second"] < 60)  # noqa: PLR2004
        & (number["zone_hour"] < 24)  # noqa: PLR2004
        & (number["zone_minute"] < 60)  # noqa: PLR2004
    )
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(parts.field("fraction"), 3, "0"), 0, 3)
    minutes = (days.astype(np.int64) * 24 + number["hour"]) * 60 + number["minute"]
    ms = (minutes * 60 + number["second"]) * 1000 + _small_integers(fraction)
    zone = parts.field("zone")
    ahead = (number["zone_hour"] * 60 + number["zone_minute"]) * 60_000
    ms -= np.where(_true(pc.starts_with(zone, "-")), -ahead, ahead)
    if notation.time_zone != "UTC":
        is_local = _true(pc.equal(zone, ""))
        ms[is_local], is_one = _utc_of_local(ms[is_local], notation.time_zone)
        fits[is_local] &= is_one
    return ms, fits & (ms >= 0) & (ms < LATEST_MS)


def _utc_of_local(ms: Int64s, time_zone: str) -> tuple[Int64s, Flags]:
    """Local times in UTC, and which exist, once: not those that a change of the clocks skips or
    repeats.
    """
    local = pa.array(ms).cast(pa.timestamp("ms"))
    first, last = (
        pc.assume_timezone(local, time_zone, ambiguous=which, nonexistent=which)
        .cast(pa.int64())
        .to_numpy()
        for which in ("earliest", "latest")
    )
    return first, first == last


def _instants_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """Timestamps and dates of Arrow. Those without a zone are local."""
    values = column.cast(pa.int64())
    in_unit = Notation(times=column.type.unit)
    if column.type.tz is not None or notation.time_zone == "UTC":
        return _integers_as_times(values, kind, in_unit)
    ms, fits = _ms_of_integers(values.fill_null(0).to_numpy(), in_unit)
    ms, is_one = _utc_of_local(ms, notation.time_zone)
    return _times(ms, fits & is_one & (ms >= 0), _is_valid(column))


def _times(ms: Int64s, fits: Flags, is_value: Flags) -> Typed:
    values = _made(ms, fits & is_value).cast(ARROW_TYPES["timestamp_ms"])
    return Typed(values, is_value & ~fits)


# Lists. An element is read like a value of its own.


def _lists(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    flat = typed(column.flatten(), _element_of(kind), notation)
    return _relisted(flat, lengths, _is_valid(column), kind)


def _lists_of_objects(values: list[list[Any]], kind: ColumnType, notation: Notation) -> Typed:
    flat = typed_objects([each for one in values for each in one], _element_of(kind), notation)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return _relisted(flat, lengths, np.ones(len(values), np.bool_), kind)


def _relisted(
    flat: Typed, lengths: npt.NDArray[np.integer[Any]], is_value: Flags, kind: ColumnType
) -> Typed:
    ends = np.cumsum(lengths)
    bad_before = np.concatenate([[0], np.cumsum(flat.is_bad)])
    is_bad = is_value & (bad_before[ends] > bad_before[ends - lengths])
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lists = pa.ListArray.from_arrays(
        pa.array(offsets), flat.values, mask=pa.array(~is_value | is_bad)
    )
    return Typed(lists.cast(ARROW_TYPES[kind]), is_bad)


def _text_as_lists(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """A JSON array, or elements with the separator between them."""
    parse = partial(_parts_of_text, separator=notation.list_separator)
    return typed_objects([text and parse(text) for text in column.to_pylist()], kind, notation)


def _parts_of_text(text: str, *, separator: str) -> list[Any] | dict[str, Any]:
    """What is neither becomes an object, which is no list."""
    if text.lstrip().startswith("["):
        try:
            parts = json.loads(text, parse_int=integer_of_json)
        except (ValueError, RecursionError):
            return {}
        return parts if isinstance(parts, list) else {}
    elements = [part.strip() for part in text.split(separator)]
    return elements if all(elements) else {}


def _element_of(kind: ColumnType) -> ColumnType:
    return "string" if kind == "list<string>" else "int64"


Reader = Callable[[pa.Array, ColumnType, Notation], Typed]

_FAMILIES: dict[str, Callable[[pa.DataType], bool]] = {
    "text": pa.types.is_string,
    "integer": pa.types.is_integer,
    "float": pa.types.is_floating,
    "boolean": pa.types.is_boolean,
    "instant": pa.types.is_timestamp,
    "list": pa.types.is_list,
    "other": lambda _: True,
}
_READERS: dict[tuple[str, ColumnType], Reader] = {
    ("text", "string"): _as_it_is,
    ("text", "int64"): _text_as_int64,
    ("text", "float64"): _text_as_float64,
    ("text", "bool"): _text_as_bool,
    ("text", "timestamp_ms"): _text_as_times,
    ("text", "list<string>"): _text_as_lists,
    ("text", "list<int64>"): _text_as_lists,
    ("integer", "string"): _as_it_is,
    ("integer", "int64"): _integers,
    ("integer", "float64"): lambda column, kind, notation: _floats(
        column.cast(pa.float64(), safe=False), kind, notation
    ),
    ("integer", "bool"): _number_as_bool,
    ("integer", "timestamp_ms"): _integers_as_times,
    ("float", "string"): _whole_floats,
    ("float", "int64"): _whole_floats,
    ("float", "float64"): _floats,
    ("float", "bool"): _number_as_bool,
    ("float", "timestamp_ms"): _floats_as_times,
    ("boolean", "bool"): _as_it_is,
    ("instant", "timestamp_ms"): _instants_as_times,
    ("list", "list<string>"): _lists,
    ("list", "list<int64>"): _lists,
}
"""(what the column is, what is declared) -> how it is read. What stands not here is not read: a
boolean is no number, and text neither."""


def _none(rows: int, kind: ColumnType) -> Typed:
    return Typed(pa.nulls(rows, ARROW_TYPES[kind]), np.zeros(rows, np.bool_))


def _bad(values: list[Any], kind: ColumnType) -> Typed:
    return Typed(pa.nulls(len(values), ARROW_TYPES[kind]), np.ones(len(values), np.bool_))


def _made(values: npt.NDArray[Any], is_value: Flags) -> pa.Array:
    return pa.array(values, mask=~is_value)


def _floats_of(column: pa.Array) -> tuple[npt.NDArray[np.float64], Flags]:
    """Floats, and which are there: null and NaN are not."""
    values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    return values, ~np.isnan(values)


def _small_integers(text: pa.Array) -> Int64s:
    digits = pc.if_else(pc.equal(text, ""), "0", text)
    return np.asarray(digits.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))


def _is_valid(column: pa.Array) -> Flags:
    return _true(column.is_valid())


def _true(flags: pa.Array) -> Flags:
    return np.asarray(flags.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)  # noqa: FBT003


# What to say of a value that is not read.


def why(value: object, kind: ColumnType, notation: Notation) -> str:
    """Why a value is bad, and what it looks like."""
    shown = repr(value) if isinstance(value, str | bytes) else str(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."  # noqa: PLR2004
    if isinstance(value, bytes) or (isinstance(value, str) and _HALF.search(value)):
        return f"{shown} is no text in UTF-8"
    if kind == "timestamp_ms":
        return f"{shown} is no time: {_why_no_time(value, notation)}"
    return f"{shown} is no {kind}{_advice(value, kind)}"


def _advice(value: object, kind: ColumnType) -> str:
    match value, kind:
        case bool(), "string":
            return ": declare the column as bool"
        case float(), "string" | "int64":
            return ": only whole numbers below 2**53 are exact; is it float64?"
        case str(), "list<string>" | "list<int64>":
            return ": neither a JSON array nor elements with `list_separator` between them"
        case str(), "float64" if "," in value:
            return ": is `decimal` another sign?"
    return ""


def _why_no_time(value: object, notation: Notation) -> str:
    try:
        number = float(str(value).strip().replace(notation.decimal, "."))
    except ValueError:
        number = float("nan")
    if isinstance(value, bool) or np.isnan(number):
        if notation.time_zone != "UTC" and isinstance(value, str):
            return (
                "it must be ISO 8601 (2026-03-01T00:03:12.5+01:00), between 1970 and 2100; without "
                f"a zone a time that {notation.time_zone} skips or has twice cannot be known"
            )
        return "it must be ISO 8601, such as 2026-03-01T00:03:12.5Z, between 1970 and 2100"
    likely: list[TimeUnit] = [
        unit
        for unit, (times, by) in _IN_A_MS.items()
        if _EARLIEST_LIKELY_MS <= number * times / by < LATEST_MS
    ]
    unit = notation.times or "ms"
    looks = "".join(
        f"it looks like {_UNIT_NAMES[unit]}: declare `times: {unit}`" for unit in likely[:1]
    )
    if isinstance(value, str) and "e" in value.lower():
        return "a power of ten has lost digits"
    if notation.times is None and 0 <= number < YEAR_1971_MS:
        at = f"{from_unix_ms(int(number)):%Y-%m-%d}"
        return f"as milliseconds it is {at}, and {looks or 'if so, declare `times: ms`'}"
    return f"as {_UNIT_NAMES[unit]} it is not between 1970 and 2100" + (looks and f", and {looks}")

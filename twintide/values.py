"""One rule for every value, wherever it comes from: a message, CSV, JSON lines or Parquet.

`typed` turns a column, as its format holds it (text, numbers, booleans, instants, lists), into the
type that `events.columns` declares. What the rule does not read is bad, and never becomes something
else. A value is missing where it is null, NaN, or a text that is empty or blank. The table for
people is in docs/data-files.md.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.events import ARROW_TYPES, ColumnType
from twintide.forms import plain
from twintide.notation import (
    Flags,
    Notation,
    Typed,
    floats_of,
    is_true,
    is_valid,
    made,
    number_text,
)
from twintide.times import floats_as_times, instants_as_times, integers_as_times, text_as_times

_LONGEST_SHORT_INTEGER = 18
_INT64 = range(-(2**63), 2**63)
_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")
_BOOLEANS = pa.array([*_TRUE, *_FALSE])


def typed(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """A column of any Arrow type in the declared one."""
    column, is_garbled = plain(column)
    family = _family(column.type)
    if family == "text":
        column = _without_blanks(column, notation)
    read = _READERS.get((family, kind), _not_at_all)
    result = read(column, kind, notation)
    return result if is_garbled is None else Typed(result.values, result.is_bad | is_garbled)


@lru_cache(maxsize=256)
def _family(kind: pa.DataType) -> str:
    return next(name for name, belongs in _FAMILIES.items() if belongs(kind))


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
    return Typed(pa.nulls(len(column), ARROW_TYPES[kind]), is_valid(column))


def _as_it_is(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    return Typed(column.cast(ARROW_TYPES[kind]), np.zeros(len(column), np.bool_))


def _integers(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """Integers as int64, which of the unsigned not all are."""
    if not pa.types.is_uint64(column.type):
        return _as_it_is(column, kind, notation)
    fits = pc.less_equal(column, pa.scalar(2**63 - 1, pa.uint64()))
    kept = pc.if_else(fits, column, pa.scalar(None, pa.uint64()))
    return Typed(kept.cast(pa.int64()), is_true(pc.invert(fits)))


def _whole_floats(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    """Floats that are exactly an integer, as pandas writes integers beside missing ones."""
    values, is_value = floats_of(column)
    exact = 2**24 if pa.types.is_float32(column.type) else 2**53
    fits = is_value & (np.abs(values) < exact) & (values == np.floor(values))
    whole = made(np.where(fits, values, 0).astype(np.int64), fits)
    return Typed(whole.cast(ARROW_TYPES[kind]), is_value & ~fits)


def _floats(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    values, is_value = floats_of(column.cast(pa.float64()))
    fits = is_value & np.isfinite(values)
    return Typed(made(values, fits), is_value & ~fits)


def _number_as_bool(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    values, is_value = floats_of(column.cast(pa.float64(), safe=False))
    fits = is_value & ((values == 0) | (values == 1))
    return Typed(made(values == 1, fits), is_value & ~fits)


def _text_as_int64(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    text = number_text(column, notation)
    whole = pc.match_substring_regex(text, r"^-?[0-9]+(\.0*)?$")
    digits = pc.replace_substring_regex(text, r"\.0*$", "")
    is_short = pc.less_equal(pc.binary_length(digits), _LONGEST_SHORT_INTEGER)
    short = pc.if_else(pc.and_(whole, is_short), digits, pa.scalar(None, pa.string()))
    values = short.cast(pa.int64())
    is_long = is_true(pc.and_(whole, pc.invert(is_short)))
    if is_long.any():
        texts = digits.filter(pa.array(is_long)).to_pylist()
        long = [int(each) if len(each) < 100 and int(each) in _INT64 else None for each in texts]  # noqa: PLR2004  zeros in front
        values = pc.replace_with_mask(values, pa.array(is_long), pa.array(long, pa.int64()))
    return Typed(values.cast(ARROW_TYPES[kind]), is_true(text.is_valid()) & ~is_valid(values))


def _text_as_float64(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    text = number_text(column, notation)
    is_number = pc.match_substring_regex(
        text, r"^-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    )
    numbers = pc.if_else(is_number, text, pa.scalar(None, pa.string()))
    result = _floats(numbers.cast(pa.float64()), kind, notation)
    return Typed(result.values, result.is_bad | is_true(pc.invert(is_number)))


def _text_as_bool(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    word = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    place = pc.index_in(word, _BOOLEANS)
    return Typed(pc.less(place, len(_TRUE)), is_true(pc.and_(column.is_valid(), place.is_null())))


# Lists. An element is read like a value of its own.


def _lists(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    flat = typed(column.flatten(), _element_of(kind), notation)
    return _relisted(flat, lengths, is_valid(column), kind)


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
    return _ELEMENTS[kind]


_ELEMENTS: dict[str, ColumnType] = {
    "list<string>": "string",
    "list<int64>": "int64",
    "list<float64>": "float64",
}


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
    ("text", "timestamp_ms"): text_as_times,
    ("text", "list<string>"): _text_as_lists,
    ("text", "list<int64>"): _text_as_lists,
    ("text", "list<float64>"): _text_as_lists,
    ("integer", "string"): _as_it_is,
    ("integer", "int64"): _integers,
    ("integer", "float64"): lambda column, kind, notation: _floats(
        column.cast(pa.float64(), safe=False), kind, notation
    ),
    ("integer", "bool"): _number_as_bool,
    ("integer", "timestamp_ms"): integers_as_times,
    ("float", "string"): _whole_floats,
    ("float", "int64"): _whole_floats,
    ("float", "float64"): _floats,
    ("float", "bool"): _number_as_bool,
    ("float", "timestamp_ms"): floats_as_times,
    ("boolean", "bool"): _as_it_is,
    ("instant", "timestamp_ms"): instants_as_times,
    ("list", "list<string>"): _lists,
    ("list", "list<int64>"): _lists,
    ("list", "list<float64>"): _lists,
}
"""(what the column is, what is declared) -> how it is read. What stands not here is not read: a
boolean is no number, and text neither."""


def _none(rows: int, kind: ColumnType) -> Typed:
    return Typed(pa.nulls(rows, ARROW_TYPES[kind]), np.zeros(rows, np.bool_))


def _bad(values: list[Any], kind: ColumnType) -> Typed:
    return Typed(pa.nulls(len(values), ARROW_TYPES[kind]), np.ones(len(values), np.bool_))

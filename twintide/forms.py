"""The one Arrow form of each family of types: text, integers, floats, lists, instants."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pyarrow as pa

from twintide.notation import Flags


def plain(column: pa.Array) -> tuple[pa.Array, Flags | None]:
    """The column in the one Arrow type of its family; and which of its texts are no UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not _is_plain(column.type):
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


@lru_cache(maxsize=256)
def _is_plain(kind: pa.DataType) -> bool:
    """Kept for each type: mostly there is nothing to do, many times over."""
    return not any(belongs(kind) for belongs, _ in _PLAIN)

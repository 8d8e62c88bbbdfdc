"""Filters of a request: which items of a version may be answered."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from publisher.reader import Attributes
from serving.bounds import check_names
from twintide.errors import Refused
from twintide.events import EventSchema
from twintide.keys import Keys, key_of

Bools = npt.NDArray[np.bool_]
Value = bool | int | str
_FITS: dict[str, type] = {"int64": int, "string": str, "bool": bool}


def having(
    filters: Mapping[str, Any], attributes: Attributes, events: EventSchema, *, of: str
) -> dict[str, Keys]:
    """Of each column the keys of its values, one of which an item must have.

    Raises Refused where there is no such column, or a value is of another type.
    """
    check_names(
        filters,
        attributes,
        says=f"filters: {of} cannot be filtered by",
        there="publishing.filters declares the columns that it can",
    )
    return {name: _keys(name, given, events) for name, given in filters.items()}


def allowed(wanted: Mapping[str, Keys], attributes: Attributes) -> Bools | None:
    """[items]: which have, of every column, one of these keys; None without columns."""
    parts = [attributes[name].having(keys) for name, keys in wanted.items()]
    return reduce(np.logical_and, parts) if parts else None


def _keys(column: str, given: Value | list[Value], events: EventSchema) -> Keys:
    values = given if isinstance(given, list) else [given]
    kind = events.columns[column].removeprefix("list<").removesuffix(">")
    for value in values:
        if type(value) is not _FITS[kind]:
            raise _misfit(column, kind, value)
    try:
        return np.array([key_of(value) for value in values], np.uint64)
    except OverflowError as error:
        raise _misfit(column, kind, error.args[0]) from None


def _misfit(column: str, kind: str, value: object) -> Refused:
    return Refused(
        f"filters.{column} must be of type {kind}, or a list of such values, as column {column!r} "
        f"of the events is; it is {str(value)[:80]!r} ({type(value).__name__})",
        hint=f'such as {{"{column}": [3, 7]}}; `twintide config show` prints the columns',
    )

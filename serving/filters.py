"""Filters of a request: which items of a version may be answered."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np

from publisher.index.selection import Mask
from publisher.reader import LoadedVersion
from twintide.errors import Refused
from twintide.keys import Keys, key_of

Value = bool | int | str
_FITS: dict[str, type] = {"int64": int, "string": str, "bool": bool}


def having(filters: Mapping[str, Any], version: LoadedVersion) -> dict[str, Keys]:
    """Of each column the keys of its values, one of which an item must have.

    Raises Refused where the version knows no such column, or a value is of another type.
    """
    unknown = sorted(set(filters) - set(version.attributes))
    if unknown:
        there = ", ".join(version.attributes) or "none"
        raise Refused(
            f"filters: version {version.name} cannot be filtered by "
            f"{', '.join(map(repr, unknown))[:200]}",
            hint=f"the columns that it can: {there}; publishing.filters declares them",
        )
    return {name: _keys(name, given, version) for name, given in filters.items()}


def allowed(wanted: Mapping[str, Keys], version: LoadedVersion) -> Mask | None:
    """The items that have, of every column, one of these keys; None without columns."""
    parts = [version.attributes[name].having(keys) for name, keys in wanted.items()]
    return Mask.of(reduce(np.logical_and, parts)) if parts else None


def _keys(column: str, given: Value | list[Value], version: LoadedVersion) -> Keys:
    values = given if isinstance(given, list) else [given]
    kind = version.manifest.events.columns[column].removeprefix("list<").removesuffix(">")
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

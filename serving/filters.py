"""Filters of a request: which items of a version may be answered."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from publisher.reader import LoadedVersion
from twintide.errors import Refused
from twintide.keys import Keys, key_of

Bools = npt.NDArray[np.bool_]
Value = bool | int | str
_FITS: dict[str, type] = {"int64": int, "string": str, "bool": bool}


def allowed(filters: Mapping[str, Any], version: LoadedVersion) -> Bools | None:
    """[items]: which have, of every column, one of its values; None without filters.

    Raises Refused where the version knows no such column, or a value is of another type.
    """
    if not filters:
        return None
    unknown = sorted(set(filters) - set(version.attributes))
    if unknown:
        there = ", ".join(version.attributes) or "none"
        raise Refused(
            f"filters: version {version.name} cannot be filtered by "
            f"{', '.join(map(repr, unknown))[:200]}",
            hint=f"the columns that it can: {there}; publishing.filters declares them",
        )
    parts = [
        version.attributes[name].having(_keys(name, given, version))
        for name, given in filters.items()
    ]
    return reduce(np.logical_and, parts)


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

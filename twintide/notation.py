"""How sources write values, and columns on their way from what they are to what is declared."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.clock import DAY_MS
from twintide.events import TimeUnit

Flags = npt.NDArray[np.bool_]
Int64s = npt.NDArray[np.int64]

YEAR_1971_MS = 365 * DAY_MS
"""Seconds taken for milliseconds lie before it: a number of no declared unit must not."""

IN_A_MS: dict[TimeUnit, tuple[int, int]] = {
    "s": (1000, 1),
    "ms": (1, 1),
    "us": (1, 1000),
    "ns": (1, 1_000_000),
}
"""A number in the unit, times the first, by the second, is milliseconds."""


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


def number_text(column: pa.Array, notation: Notation) -> pa.Array:
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


def made(values: npt.NDArray[Any], is_value: Flags) -> pa.Array:
    return pa.array(values, mask=~is_value)


def floats_of(column: pa.Array) -> tuple[npt.NDArray[np.float64], Flags]:
    """Floats, and which are there: null and NaN are not."""
    values = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    return values, ~np.isnan(values)


def is_valid(column: pa.Array) -> Flags:
    return is_true(column.is_valid())


def is_true(flags: pa.Array) -> Flags:
    return np.asarray(flags.fill_null(False).to_numpy(zero_copy_only=False), np.bool_)  # noqa: FBT003

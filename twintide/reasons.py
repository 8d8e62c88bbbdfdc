"""What to say of a value that the rule of `twintide.values` does not read."""

import re

import numpy as np

from twintide.clock import from_unix_ms
from twintide.events import EARLIEST_MS, LATEST_MS, ColumnType, TimeUnit
from twintide.notation import IN_A_MS, YEAR_1971_MS, Notation

_HALF = re.compile("[\ud800-\udfff]")
_UNIT_NAMES: dict[TimeUnit, str] = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}


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
        case str(), "list<string>" | "list<int64>" | "list<float64>":
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
        for unit, (times, by) in IN_A_MS.items()
        if EARLIEST_MS <= number * times / by < LATEST_MS
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

"""Times: ISO 8601, numbers in a unit, timestamps of Arrow. What is finer than a ms is cut off."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twintide.events import ARROW_TYPES, LATEST_MS, ColumnType
from twintide.notation import (
    IN_A_MS,
    YEAR_1971_MS,
    Flags,
    Int64s,
    Notation,
    Typed,
    floats_of,
    is_true,
    is_valid,
    made,
    number_text,
)

_ISO = (
    r"^(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r" ?(?P<zone>[Zz]|UTC|GMT|(?:[+-](?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?))?)?$"
)


def integers_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    is_value = is_valid(column)
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return _times(*_ms_of_integers(values, notation), is_value)


def floats_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    values, is_value = floats_of(column.cast(pa.float64()))
    return _times(*_ms_of_floats(values, notation), is_value)


def _ms_of_integers(
    values: npt.NDArray[np.integer[Any]], notation: Notation
) -> tuple[Int64s, Flags]:
    """Unix milliseconds, and which of them are times at all."""
    times, by = IN_A_MS[notation.times or "ms"]
    first = 0 if notation.times else YEAR_1971_MS
    fits = (values >= first) & (values < LATEST_MS * by // times)
    return np.where(fits, values, 0).astype(np.int64) * times // by, fits


def _ms_of_floats(values: npt.NDArray[np.float64], notation: Notation) -> tuple[Int64s, Flags]:
    """As above. A float holds today's second to a quarter of a microsecond: rounded to whole ones,
    0.997 s is not 0.996999 s.
    """
    times, by = IN_A_MS[notation.times or "ms"]
    first = 0 if notation.times else YEAR_1971_MS
    with np.errstate(invalid="ignore", over="ignore"):
        micros = np.rint(values * (1000 * times / by))
        fits = (values >= first) & (micros < LATEST_MS * 1000)
    return np.where(fits, micros, 0).astype(np.int64) // 1000, fits


def text_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:  # noqa: ARG001
    """ISO 8601 with or without a zone, or a number in the unit."""
    text = pc.utf8_trim_whitespace(column)
    number = number_text(column, notation)
    is_integer = is_true(pc.match_substring_regex(number, r"^[0-9]{1,19}$"))
    is_float = is_true(pc.match_substring_regex(number, r"^[0-9]+\.[0-9]*$"))
    ms = np.zeros(len(column), np.int64)
    fits = np.zeros(len(column), np.bool_)
    if is_integer.any():
        digits = number.filter(pa.array(is_integer)).cast(pa.uint64())
        ms[is_integer], fits[is_integer] = _ms_of_integers(digits.to_numpy(), notation)
    if is_float.any():
        floats = number.filter(pa.array(is_float)).cast(pa.float64())
        ms[is_float], fits[is_float] = _ms_of_floats(floats.to_numpy(), notation)
    is_iso = is_valid(number) & ~is_integer & ~is_float
    if is_iso.any():
        ms[is_iso], fits[is_iso] = _ms_of_iso(text.filter(pa.array(is_iso)), notation)
    return _times(ms, fits, is_valid(number))


def _ms_of_iso(text: pa.Array, notation: Notation) -> tuple[Int64s, Flags]:
    parts = pc.extract_regex(text, _ISO)
    number = {
        name: _small_integers(parts.field(name))
        for name in ("year", "month", "day", "hour", "minute", "second", "zone_hour", "zone_minute")
    }
    months = ((number["year"] - 1970) * 12 + number["month"] - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (number["day"] - 1)
    fits = (
        is_valid(parts)
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
    ms -= np.where(is_true(pc.starts_with(zone, "-")), -ahead, ahead)
    if notation.time_zone != "UTC":
        is_local = is_true(pc.equal(zone, ""))
        ms[is_local], is_one = _utc_of_local(ms[is_local], notation.time_zone)
        fits[is_local] &= is_one
    return ms, fits & (ms >= 0) & (ms < LATEST_MS)


def _utc_of_local(ms: Int64s, time_zone: str) -> tuple[Int64s, Flags]:
    """Local times in UTC, and which exist once: no change of the clocks skips or repeats them."""
    local = pa.array(ms).cast(pa.timestamp("ms"))
    first, last = (
        pc.assume_timezone(local, time_zone, ambiguous=which, nonexistent=which)
        .cast(pa.int64())
        .to_numpy()
        for which in ("earliest", "latest")
    )
    return first, first == last


def instants_as_times(column: pa.Array, kind: ColumnType, notation: Notation) -> Typed:
    """Timestamps and dates of Arrow. Those without a zone are local."""
    values = column.cast(pa.int64())
    in_unit = Notation(times=column.type.unit)
    if column.type.tz is not None or notation.time_zone == "UTC":
        return integers_as_times(values, kind, in_unit)
    ms, fits = _ms_of_integers(values.fill_null(0).to_numpy(), in_unit)
    ms, is_one = _utc_of_local(ms, notation.time_zone)
    return _times(ms, fits & is_one & (ms >= 0), is_valid(column))


def _times(ms: Int64s, fits: Flags, is_value: Flags) -> Typed:
    values = made(ms, fits & is_value).cast(ARROW_TYPES["timestamp_ms"])
    return Typed(values, is_value & ~fits)


def _small_integers(text: pa.Array) -> Int64s:
    digits = pc.if_else(pc.equal(text, ""), "0", text)
    return np.asarray(digits.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False))

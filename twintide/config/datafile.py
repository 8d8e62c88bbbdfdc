"""`data_file:`, how a data file writes events."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from twintide.config.section import Config
from twintide.events import TimeUnit, ZoneName


def _separator(text: str) -> str:
    if len(text) != 1 or not text.isascii() or text in '"\r\n':
        raise ValueError("must be one character that is neither a quote nor a newline, such as ';'")
    return text


class DataFileConfig(Config):
    """How a data file writes events: Parquet, CSV or JSON lines; see docs/data-files.md."""

    columns: dict[str, str] = Field(default={})
    """Event column -> column of the file, where the names differ."""

    times: TimeUnit | None = None
    """Unit of times that are numbers, where it is not that of `events.times`."""

    time_zone: ZoneName | None = None
    """IANA name: the zone of times without one, where it is not that of `events.time_zone`."""

    separator: Annotated[str, AfterValidator(_separator)] = ","
    """Between the fields of a CSV."""

    decimal: Literal[".", ","] = "."
    """Sign before the fraction of a number that is written as text."""

    list_separator: Annotated[str, Field(min_length=1)] = ","
    """Between the elements of a list that is written as text and is no JSON array."""

    null_values: tuple[str, ...] = ()
    """Texts that are no value, such as NA or null, besides the empty and blank ones."""

"""What stands in the manifests and footers of artifacts: small frozen records, written as JSON.

A record that does not parse is Corrupt: its file is not used, and nothing is guessed.
"""

import hashlib
import re
from datetime import UTC, date, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.functional_validators import AfterValidator

from twintide.clock import iso
from twintide.errors import Corrupt

_EARLIEST_YEAR, _LATEST_YEAR = 1900, 9000


def _of_our_time(day: date) -> date:
    if not _EARLIEST_YEAR <= day.year < _LATEST_YEAR:
        raise ValueError(f"a day of the year {day.year}")
    return day


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError("an instant without a time zone")
    try:
        utc = at.astimezone(UTC)
    except OverflowError:
        raise ValueError("an instant before year 1 or behind year 9999") from None
    if not _EARLIEST_YEAR <= utc.year < _LATEST_YEAR:  # sums with it must not overflow
        raise ValueError(f"an instant of the year {utc.year}")
    return utc


Instant = Annotated[datetime, AfterValidator(_utc), PlainSerializer(iso, when_used="json")]
"""A moment in UTC with whole seconds in JSON, such as 2022-05-01T00:00:00Z."""

Day = Annotated[date, AfterValidator(_of_our_time)]
"""A training day."""

Offset = Annotated[int, Field(ge=0, lt=2**63)]
"""A place in a partition's log."""

Position = dict[int, Offset]
"""Partition -> next offset to take."""

CheckpointName = Annotated[str, Field(pattern=r"^(nightly|hourly)-[0-9]{6}$")]
"""Such as nightly-000012; both lines count together."""

_OPEN_SEAL = b'"seal": ""'
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"')


class Record(BaseModel):
    """Frozen and strict: a manifest with an unknown key was written by something else."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def to_json(self) -> bytes:
        """UTF-8 JSON that ends with a newline."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes | str, *, name: str) -> Self:
        """Raises Corrupt, naming `name`, where `data` is no such record."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            at = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
            raise Corrupt(
                f"{name} is damaged or of another format{f', at {at}' if at else ''}"
            ) from None


class Sealed(Record):
    """A record that carries the sha256 of its own JSON, so that no changed byte goes unnoticed."""

    seal: str = ""
    """Set by `to_json`, checked by `from_json`; empty in memory."""

    def to_json(self) -> bytes:
        """UTF-8 JSON with the seal filled in."""
        open_ = self.model_copy(update={"seal": ""}).model_dump_json(indent=1).encode() + b"\n"
        digest = hashlib.sha256(open_).hexdigest().encode()
        return open_.replace(_OPEN_SEAL, b'"seal": "' + digest + b'"')

    @classmethod
    def from_json(cls, data: bytes | str, *, name: str) -> Self:
        """Raises Corrupt where `data` is no such record, or was changed since it was sealed."""
        written = data.encode() if isinstance(data, str) else data
        seals = _SEAL.findall(written)
        digest = hashlib.sha256(_SEAL.sub(_OPEN_SEAL, written)).hexdigest().encode()
        if seals != [digest]:
            raise Corrupt(f"{name} was changed after it was written: its seal does not fit")
        record = super().from_json(written, name=name)
        return record.model_copy(update={"seal": ""})


class Counted(Record):
    """How far the derived state of a count, or of a version made of it, has come beyond what is
    learnt.
    """

    number: Annotated[int, Field(ge=1, lt=1_000_000)]
    """Of the counts of its checkpoint."""

    position: Position
    """Partition -> next offset to count."""

    newest_event_at: Instant | None
    """Event time of the newest click in it."""

    as_of: Instant | None
    """The instant for which the item statistics hold; histories are newer."""

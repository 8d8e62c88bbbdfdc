"""Manifests and footers: strict, sealed where nothing else vouches for them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from twintide.errors import Corrupt
from twintide.records import Instant, Position, Record, Sealed

NOON = datetime(2026, 1, 5, 12, 0, 7, tzinfo=UTC)


class Plain(Record):
    name: str
    at: Instant
    position: Position = {}  # noqa: RUF012  pydantic gives each record its own


class Kept(Sealed):
    name: str
    at: Instant


@given(name=st.text(), position=st.dictionaries(st.integers(0, 99), st.integers(0, 2**62)))
@settings(max_examples=50, deadline=None)
def test_a_record_is_read_as_it_was_written(name: str, position: Position) -> None:
    """Whatever text it holds; instants to the second, in UTC."""
    record = Plain(name=name, at=NOON, position=position)

    assert Plain.from_json(record.to_json(), name="record") == record
    assert record.to_json().endswith(b"}\n")
    assert b'"at": "2026-01-05T12:00:07Z"' in record.to_json()


def test_an_instant_of_another_zone_is_the_same_one() -> None:
    """And one without a zone is refused: it could be any of 38."""
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))

    assert Plain(name="a", at=there).to_json() == Plain(name="a", at=NOON).to_json()
    with pytest.raises(ValidationError, match="without a time zone"):
        Plain(name="a", at=NOON.replace(tzinfo=None))


DAMAGED = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"name": "\xff"}',
    "a list": b"[]",
    "a key missing": b'{"at": "2026-01-05T12:00:07Z"}',
    "a key too many": b'{"name": "a", "at": "2026-01-05T12:00:07Z", "more": 1}',
    "another type": b'{"name": 1, "at": "2026-01-05T12:00:07Z"}',
    "no zone": b'{"name": "a", "at": "2026-01-05T12:00:07"}',
    "no instant": b'{"name": "a", "at": "noon"}',
    "deep": b'{"name": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a position by name": b'{"name": "a", "at": "2026-01-05T12:00:07Z", "position": {"a": 1}}',
}


@pytest.mark.promise("X1")
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_such_record_is_corrupt(data: bytes) -> None:
    """Named, in one line, in our words."""
    with pytest.raises(Corrupt, match=r"^the manifest is damaged or of another format") as corrupt:
        Plain.from_json(data, name="the manifest")

    assert "\n" not in str(corrupt.value)
    assert "valid" not in str(corrupt.value)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_changed_byte_of_a_sealed_record_goes_unnoticed(data: st.DataObject) -> None:
    """Exchanged, put in or taken out anywhere, in the seal as well."""
    sealed = Kept(name='a "seal": "" b', at=NOON).to_json()
    at = data.draw(st.integers(0, len(sealed) - 1))
    new = data.draw(st.binary(max_size=3))
    changed = sealed[:at] + new + sealed[at + data.draw(st.integers(0, 3)) :]
    if changed == sealed:
        return

    with pytest.raises(Corrupt):
        Kept.from_json(changed, name="the state")


def test_a_sealed_record_is_read_as_it_was_written() -> None:
    """The seal itself is empty in memory, so that equal records are equal."""
    kept = Kept(name="a", at=NOON)

    assert Kept.from_json(kept.to_json(), name="the state") == kept
    assert Kept.from_json(kept.to_json().decode(), name="the state") == kept
    assert kept.to_json() == kept.to_json()

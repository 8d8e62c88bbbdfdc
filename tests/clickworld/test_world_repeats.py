"""A world is a function of its configuration and its start."""

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest

from clickworld import ClickWorld, WorldConfig, simulate
from twintide.errors import Refused

SMALL = WorldConfig(users=500, impressions_per_hour=600, items_per_hour=20)


def as_bytes(events: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, events.schema) as writer:
        writer.write_table(events)
    return bytes(sink.getvalue())


def test_two_worlds_of_one_configuration_are_the_same_to_the_byte(start_at: datetime) -> None:
    """A demo or a test that fails can be run again and sees the very same events."""
    assert as_bytes(simulate(SMALL, start_at, 6)) == as_bytes(simulate(SMALL, start_at, 6))


def test_another_seed_makes_another_world(start_at: datetime) -> None:
    """The seed reaches users, items and traffic."""
    other = WorldConfig(seed=2, users=500, impressions_per_hour=600, items_per_hour=20)

    one, two = simulate(SMALL, start_at, 2), simulate(other, start_at, 2)

    assert one["user_id"].to_pylist()[:50] != two["user_id"].to_pylist()[:50]
    assert one["item_id"].to_pylist()[:50] != two["item_id"].to_pylist()[:50]


def test_a_world_that_goes_on_equals_one_that_never_stopped(start_at: datetime) -> None:
    """Asking for three hours and then three more gives the six hours asked for at once."""
    world = ClickWorld(SMALL)

    first = list(world.hours(start_at, 3))
    then = list(world.hours(start_at + timedelta(hours=3), 3))

    assert as_bytes(pa.concat_tables(first + then).combine_chunks()) == as_bytes(
        simulate(SMALL, start_at, 6)
    )


def test_a_world_never_goes_back(start_at: datetime) -> None:
    """Events that were handed out cannot be taken back, so another start is refused."""
    world = ClickWorld(SMALL)
    list(world.hours(start_at, 2))

    with pytest.raises(Refused, match="cannot go on at 2026-01-05 00:00"):
        list(world.hours(start_at, 1))


@pytest.mark.parametrize(
    "start_at",
    [
        datetime(2026, 1, 5, 0, 30, tzinfo=UTC),
        datetime(2026, 1, 5, 0, 0),  # noqa: DTZ001  what is refused
        datetime(2026, 1, 5, 0, 0, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_only_a_full_hour_in_utc_is_a_start(start_at: datetime) -> None:
    """Hours of the world are hours of the learner, so they begin where those do."""
    with pytest.raises(Refused, match="start of an hour"):
        list(ClickWorld(SMALL).hours(start_at, 1))


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"shown": 11}, "cannot pre-rank"),
        ({"pre_ranked": 25}, "cannot pre-rank"),
        ({"categories": 73}, "do not fill"),
        ({"users": 0}, "needs a user"),
    ],
)
def test_a_world_that_cannot_be_is_refused(wrong: dict[str, int], reason: str) -> None:
    """A wrong number is named when the world is declared, not in the middle of an hour."""
    with pytest.raises(Refused, match=reason):
        WorldConfig(**wrong)  # type: ignore[arg-type]

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.twintide.ledger_world import SCHEMA, World
from twintide.columns import Changes, changes_of_newest, read_events
from twintide.errors import Refused
from twintide.events import EventSchema
from twintide.rowgroups import RowGroups

COLUMNS = SCHEMA.model_dump()["columns"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "shards")


def declared(columns: dict[str, str], **more: Any) -> EventSchema:
    roles = {"user": "user", "item": "item", "time": "at"}
    return EventSchema.model_validate_json(json.dumps({"columns": columns, **roles, **more}))


GOES_ON = {
    "as it was": (COLUMNS, {}),
    "a column more": ({"price": "float64", **COLUMNS, "tags": "list<string>"}, {}),
    "a column less, others in another order": ({"at": "timestamp_ms", "item": "int64"}, {}),
    "other roles": ({**COLUMNS, "who": "string"}, {"user": "who"}),
    "other clicks": (COLUMNS, {"positive": {"column": "item", "equals": 3}}),
}


@pytest.mark.parametrize(("columns", "roles"), GOES_ON.values(), ids=GOES_ON.keys())
def test_a_shard_is_read_as_events_are_declared_now(
    world: World, columns: dict[str, str], roles: dict[str, Any]
) -> None:
    """What it lacks is null, what is declared no longer is left out; roles bind nothing."""
    path = world.commit(10)
    if "user" not in columns:
        columns = {**columns, "user": "string"}
    schema = declared(columns, **roles)

    events = read_events(path, schema)
    assert events.schema.equals(schema.shard_schema())
    assert events["item"].to_pylist() == list(range(10))
    assert pa.concat_tables([events, schema.shard_schema().empty_table()]) == events
    for added in set(columns) - set(COLUMNS):
        assert events[added].null_count == 10
    found = changes_of_newest(world.ledger, schema)
    assert set(found.added) == set(columns) - set(COLUMNS)
    assert set(found.left_out) == set(COLUMNS) - set(columns)


def test_a_column_that_moved_in_messages_is_told(world: World) -> None:
    """What it meant may have changed with its place: the log of ingest says which, and both places;
    nothing is refused, since a producer may move what stays the same.
    """
    was = declared(COLUMNS, paths={"user": "who.id"})
    footer = world.footer(0, 3, minute=0)
    rows = pa.table(world.rows_of(footer).columns, schema=was.shard_schema())
    world.ledger.commit(footer, RowGroups.of(rows), after=None)
    (path,) = world.paths()

    assert read_events(path, was).schema.equals(was.shard_schema(), check_metadata=True)
    assert changes_of_newest(world.ledger, was) == Changes((), ())
    for paths, now in (({"user": "who.name"}, "who.name"), ({}, "user")):
        found = changes_of_newest(world.ledger, declared(COLUMNS, paths=paths))
        assert found.added == (f"user (at {now})",)
        assert found.left_out == ("user (at who.id)",)
        assert read_events(path, declared(COLUMNS, paths=paths))["user"][0].as_py() == "u0"


REFUSED = {
    "retyped": ({**COLUMNS, "user": "int64"}, {}, "'user' as string, and events: .* int64"),
    "retyped required": ({**COLUMNS, "item": "string"}, {}, "'item' as int64, and .* string"),
    "new required": ({**COLUMNS, "sku": "string"}, {"item": "sku"}, "lacks column 'sku'"),
}


@pytest.mark.parametrize(("columns", "roles", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_a_shard_that_cannot_be_read_as_declared_is_refused(
    world: World, columns: dict[str, str], roles: dict[str, str], says: str
) -> None:
    """Naming shard, column and both types; ingest says so before its first shard."""
    path = world.commit(10)
    schema = declared(columns, **roles)

    for look in (
        lambda: read_events(path, schema),
        lambda: changes_of_newest(world.ledger, schema),
    ):
        with pytest.raises(Refused, match=says) as refused:
            look()
        assert str(path) in refused.value.message
        assert "data_dir of its own" in refused.value.hint


def test_a_column_that_must_not_be_null_and_is_in_an_older_shard_is_refused(world: World) -> None:
    """It was another column that said which item it is."""
    was = declared({**COLUMNS, "sku": "int64"})
    footer = world.footer(0, 2, minute=0)
    rows = world.rows_of(footer)
    columns = [*rows.columns[:4], pa.array([1, None]), *rows.columns[4:]]
    world.ledger.commit(
        footer, RowGroups.of(pa.table(columns, schema=was.shard_schema())), after=None
    )

    with pytest.raises(Refused, match="1 rows without 'sku'"):
        read_events(world.paths()[0], declared({**COLUMNS, "sku": "int64"}, item="sku"))

"""Where a column's value lies: in messages, in lines, in structs of Parquet."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.streaming.line import NOON_MS, deployment_values
from twintide import config
from twintide.columnpath import AstrayError, ColumnPath
from twintide.config import Deployment
from twintide.datafile import read_file
from twintide.errors import Refused
from twintide.events import EventSchema
from twintide.features.weighted_varlen import WeightedVarlen
from twintide.jsonrows import parse

EVENTS = {
    "columns": {
        "user": "int64",
        "item": "string",
        "at": "timestamp_ms",
        "tags": "list<string>",
        "sure": "list<float64>",
        "words": "list<string>",
        "city": "string",
        "b.c": "int64",
    },
    "paths": {
        "user": "user.id",
        "tags": "topics[].name",
        "sure": "topics[].score",
        "words": "user.words",
        "city": "user.home.city",
    },
    "user": "user",
    "item": "item",
    "time": "at",
}
SCHEMA = EventSchema.model_validate(EVENTS)
GOOD = {"item": "i", "at": NOON_MS}


def row(**found: Any) -> dict[str, Any]:
    nothing = {name: None for name in EVENTS["columns"] if name != "at"}
    return nothing | {"item": "i"} | found


def rows_of(events: pa.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = events.drop_columns("at").to_pylist()
    return rows


MEANT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing there": ({}, {}),
    "null on the way": ({"user": None, "topics": None}, {}),
    "empty on the way": ({"user": {}, "topics": []}, {"tags": [], "sure": []}),
    "null further in": ({"user": {"home": None, "id": None}}, {}),
    "all of it": (
        {
            "user": {"id": 7, "words": ["a", None], "home": {"city": "Graz", "zip": 1}},
            "topics": [{"name": "x", "score": 0.5}, {"name": "y", "score": 1.0}],
        },
        {"user": 7, "words": ["a", None], "city": "Graz", "tags": ["x", "y"], "sure": [0.5, 1.0]},
    ),
    "gaps in a list": (
        {"topics": [{"name": "x"}, None, {"score": 0.25}, {"name": None, "score": None}]},
        {"tags": ["x", None, None, None], "sure": [None, None, 0.25, None]},
    ),
    "a name with a dot": ({"b.c": 5}, {"b.c": 5}),
    "the names of the columns": ({"tags": ["no"], "sure": [9.0], "city": "no"}, {}),
}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a number for an object": ({"user": 5}, "user.id: user is a number, and no object"),
    "a text for an object": ({"user": ""}, "user.id: user is text, and no object"),
    "a list for an object": ({"user": [{"id": 1}]}, "user.id: user is a list, and no object"),
    "a truth further in": (
        {"user": {"home": True}},
        "user.home.city: user.home is true or false, and no object",
    ),
    "an object for a list": (
        {"topics": {"name": "x"}},
        "topics[].name: topics is an object, and no list",
    ),
    "a list of texts": ({"topics": ["x"]}, "topics[].name: topics[] is text, and no object"),
    "an object at the end": ({"user": {"id": {}}}, "user.id: () is no int64"),
    "a word for a number": (
        {"topics": [{"score": 0.5}, {"score": "high"}]},
        "topics[].score: [0.5, 'high'] is no list<float64>",
    ),
    "a list in the list": (
        {"topics": [{"name": ["x"]}]},
        "topics[].name: [['x']] is no list<string>",
    ),
}
TWICE = {
    b'"user":{"id":1,"id":1}': "user.id: user.id stands twice",
    b'"user":{"home":null,"home":{}}': "user.home.city: user.home stands twice",
    b'"topics":[{"score":1},{"score":1,"score":2}]': "topics[].score: topics[].score stands twice",
    b'"user":{},"user":{}': "user stands twice",
}


def message(fields: dict[str, Any]) -> bytes:
    return json.dumps(GOOD | fields).encode()


@pytest.mark.promise("S8")
def test_a_value_lies_where_its_path_says() -> None:
    """Missing on the way is null, an object that lacks it keeps its place in a list; what is of
    another kind there is bad, by a reason that names it; each alone and all together.
    """
    bad = [(message(fields), reason) for fields, reason in BAD.values()]
    bad += [(message({})[:-1] + b"," + raw + b"}", reason) for raw, reason in TWICE.items()]
    good = [(message(fields), row(**found)) for fields, found in MEANT.values()]

    for each, found in good:
        assert rows_of(parse([each], SCHEMA).events) == [found]
    for each, reason in bad:
        assert parse([each], SCHEMA).rejected == ((0, reason),)
    parsed = parse([each for each, _ in good + bad], SCHEMA)
    assert rows_of(parsed.events) == [found for _, found in good]
    assert parsed.rejected == tuple(enumerate((reason for _, reason in bad), len(good)))


def deployment(folder: Path, **sections: Any) -> Deployment:
    return config.parse(deployment_values(folder) | {"events": EVENTS} | sections, name="twintide")


STRUCTS = pa.struct([("name", pa.string()), ("score", pa.float32())])
HOME = pa.struct([("city", pa.large_string())])
USER = pa.struct([("id", pa.int32()), ("words", pa.list_(pa.string())), ("home", HOME)])
IN_PARQUET = {
    "item": pa.string(),
    "at": pa.int64(),
    "user": USER,
    "topics": pa.list_(STRUCTS),
    "b.c": pa.int64(),
    "city": pa.string(),
}


def as_table(**types: pa.DataType) -> pa.Table:
    fields = [GOOD | fields for fields, _ in MEANT.values()]
    return pa.table(
        {
            name: pa.array([each.get(name) for each in fields], kind)
            for name, kind in (IN_PARQUET | types).items()
        }
    )


@pytest.mark.parametrize("lists", [pa.list_, pa.large_list])
def test_a_row_of_a_file_means_what_it_means_as_a_message(tmp_path: Path, lists: Any) -> None:
    """Structs and lists of structs in Parquet, objects in lines: one table."""
    parquet, lines = tmp_path / "a.parquet", tmp_path / "a.jsonl"
    pq.write_table(as_table(topics=lists(STRUCTS)), parquet, row_group_size=3)
    lines.write_bytes(b"\n".join(message(fields) for fields, _ in MEANT.values()))

    for path in (parquet, lines):
        found = read_file(deployment(tmp_path), path)
        assert rows_of(found.events) == [row(**each) for _, each in MEANT.values()]
        assert found.missing == ()


def test_what_a_file_lacks_on_the_way_is_null(tmp_path: Path) -> None:
    """A struct without the field, a column of nulls, no column at all; which is told."""
    path = tmp_path / "a.parquet"
    table = as_table(user=pa.struct([("id", pa.int64())]))
    pq.write_table(table.drop_columns("b.c").drop_columns("topics"), path)

    found = read_file(deployment(tmp_path), path)

    assert found.missing == ("topics", "b.c")
    assert found.events["user"].to_pylist() == [each.get("user") for _, each in MEANT.values()]
    for name in ("tags", "sure", "words", "city", "b.c"):
        assert found.events[name].null_count == len(MEANT)


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("user", pa.string(), "column 'user.id': user is string, and no struct"),
        ("user", pa.map_(pa.string(), pa.int64()), "user is map<string, int64.*, and no struct"),
        ("topics", pa.list_(pa.string()), r"'topics\[\].name': topics\[\] is string, and no stru"),
        ("topics", STRUCTS, "topics is struct<name: string, score: float>, and no list"),
    ],
)
def test_a_column_of_another_kind_on_the_way_is_refused(
    tmp_path: Path, name: str, kind: pa.DataType, said: str
) -> None:
    """By file, path and type, with what may be declared; a column of nulls is none."""
    values = {"string": "x", "map": [("id", 1)], "list": ["x"], "struct": {"name": "x"}}
    filled = pa.array([next(v for k, v in values.items() if str(kind).startswith(k))], kind)
    for column in (filled, pa.nulls(1, kind)):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table({"item": ["i"], "at": [NOON_MS], name: column}), path)
        if column.null_count:
            assert rows_of(read_file(deployment(tmp_path), path).events) == [row()]
            continue
        with pytest.raises(Refused, match=said) as refused:
            read_file(deployment(tmp_path), path)
        assert "events.paths" in refused.value.hint


def test_a_file_that_has_a_column_flat_says_so(tmp_path: Path) -> None:
    """`data_file.columns` names a column of the file by its whole name, dots and all."""
    path = tmp_path / "a.csv"
    path.write_text(f'item,at,user.id,tags\ni,{NOON_MS},7,"x,y"\n')
    flat = {"user": "user.id", "tags": "tags"}

    found = read_file(deployment(tmp_path, data_file={"columns": flat}), path)

    assert rows_of(found.events) == [row(user=7, tags=["x", "y"])]


def test_weights_and_ids_of_one_list_of_objects_stay_side_by_side() -> None:
    """A weighted list through two paths is the same as `id:weight` text of the same."""
    topics = [
        [{"name": "sports", "score": 0.7}, {"name": "news", "score": 0.3}],
        [{"name": "news"}, None, {"score": 0.5}, {"name": "art", "score": 2.0}],
        [],
        None,
    ]
    texts = ["sports:0.7,news:0.3", "art:2.0", "", None]
    nested = WeightedVarlen(
        kind="weighted_varlen", name="t", column="tags", weights="sure", table="t"
    )
    text = WeightedVarlen(kind="weighted_varlen", name="t", column="city", table="t")

    events = parse([message({"topics": each}) for each in topics], SCHEMA).events
    found = nested.encode(events, time_column="at")
    same = text.encode(pa.table({"city": pa.chunked_array([texts])}), time_column="at")

    assert found.keys.tolist() == same.keys.tolist()
    assert found.offsets.tolist() == same.offsets.tolist() == [0, 2, 3, 3, 3]
    assert found.weights is not None
    assert same.weights is not None
    np.testing.assert_array_equal(found.weights, same.weights)


KINDS = [
    pa.struct([("b", pa.struct([("c", pa.int64())])), ("c", pa.int64())]),
    pa.list_(pa.struct([("b", pa.struct([("c", pa.int64())]))])),
    pa.struct([("b", pa.list_(pa.struct([("c", pa.int64())])))]),
    pa.null(),
    pa.int64(),
]
PATHS = ["a.b.c", "a[].b.c", "a.b[].c", "a.c", "a.missing", "a"]


def some_value(kind: pa.DataType, chance: random.Random) -> Any:
    if chance.random() < 0.2 or pa.types.is_null(kind):
        return None
    if pa.types.is_struct(kind):
        return {field.name: some_value(field.type, chance) for field in kind}
    if pa.types.is_list(kind):
        return [some_value(kind.value_type, chance) for _ in range(chance.randrange(4))]
    return chance.randrange(9)


def as_pairs(value: Any) -> Any:
    """Objects as the reader of messages has them."""
    if isinstance(value, dict):
        return tuple((name, as_pairs(each)) for name, each in value.items())
    return [as_pairs(each) for each in value] if isinstance(value, list) else value


def test_arrow_and_python_find_the_same() -> None:
    """Of any values, slices of columns too, each path gives the same by both ways, or is bad."""
    chance = random.Random(3)
    for kind in KINDS:
        for path in map(ColumnPath.of, PATHS):
            values = [some_value(kind, chance) for _ in range(40)]
            column = pa.array([None, *values, None], kind).slice(1, len(values))
            try:
                expected = [path.in_row({"a": as_pairs(value)}) for value in values]
            except AstrayError:
                with pytest.raises(AstrayError):
                    path.in_column(column)
                continue
            if path.is_named:
                expected = values
            try:
                assert path.in_column(column).to_pylist() == expected, f"{path} in {kind}"
            except AstrayError:  # a type tells more than values that are all null
                assert not any(expected)

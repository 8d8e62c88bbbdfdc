import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.streaming.line import NOON_MS, Line, deployment_values
from twintide.datafile import read_data
from twintide.errors import Refused


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def reading(path: Path, columns: dict[str, str] | None = None) -> pa.Table:
        values = deployment_values(tmp_path / "data", data_file={"columns": columns or {}})
        return read_data(Line(values, 1).deployment, path)

    return reading


def rows(count: int = 3) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "user": None if number == 1 else f"u{number}",
            "item": f"i{number}",
            "at": NOON_MS + (count - number) * 1000,
            "price": number / 2,
            "liked": number % 2 == 0,
            "tags": ["a", "b"][:number],
            "codes": [number, 7],
        }
        for number in range(count)
    ]


def as_csv(path: Path, names: list[str], lines: list[str]) -> Path:
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return path


def plain(events: pa.Table) -> list[dict[str, Any]]:
    ms = events["at"].cast(pa.int64())
    result: list[dict[str, Any]] = events.set_column(3, "at", ms).to_pylist()
    return result


def test_parquet_csv_and_jsonl_give_the_same_events(read: Any, tmp_path: Path) -> None:
    """Typed by the schema, sorted by time, nulls kept."""
    parquet, jsonl = tmp_path / "a.parquet", tmp_path / "a.jsonl"
    pq.write_table(pa.Table.from_pylist(rows()), parquet)
    jsonl.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    csv = as_csv(
        tmp_path / "a.csv",
        ["id", "user", "item", "at", "price", "liked", "tags", "codes"],
        [
            f'0,u0,i0,{NOON_MS + 3000},0.0,true,,"0,7"',
            f'1,,i1,{NOON_MS + 2000},0.5,false,a,"1,7"',
            f'2,u2,i2,{NOON_MS + 1000},1.0,true,"a,b","2,7"',
        ],
    )
    expected = list(reversed(rows()))

    assert plain(read(parquet)) == expected
    assert plain(read(jsonl)) == expected
    expected[-1]["tags"] = None  # CSV cannot tell an empty list from a missing one
    assert plain(read(csv)) == expected


def test_equal_times_keep_the_order_of_the_file(read: Any, tmp_path: Path) -> None:
    """The sort is stable, so a replay is the same every time."""
    table = pa.Table.from_pylist([{**row, "at": NOON_MS} for row in rows(1000)])
    pq.write_table(table, tmp_path / "a.parquet")

    assert read(tmp_path / "a.parquet")["id"].to_pylist() == list(range(1000))


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("us"), pa.timestamp("s", tz="UTC"), pa.timestamp("ns", tz="Europe/Vienna")],
)
def test_timestamps_of_any_kind_are_instants(read: Any, tmp_path: Path, kind: pa.DataType) -> None:
    """Without a zone they are UTC."""
    table = pa.Table.from_pylist(rows())
    times = table["at"].cast(pa.timestamp("ms", tz="UTC" if kind.tz else None)).cast(kind)
    pq.write_table(table.set_column(3, "at", times), tmp_path / "a.parquet")

    assert [row["at"] for row in plain(read(tmp_path / "a.parquet"))] == [
        NOON_MS + 1000,
        NOON_MS + 2000,
        NOON_MS + 3000,
    ]


def test_words_that_look_like_nothing_are_ids(read: Any, tmp_path: Path) -> None:
    """In CSV only an empty field is null: NA is an item like any other."""
    names = ["id", "user", "item", "at", "price", "liked", "tags", "codes"]
    path = as_csv(tmp_path / "a.csv", names, [f",null,NA,{NOON_MS},,,,"])

    assert plain(read(path))[0] | {"tags": None, "codes": None} == {
        "id": None,
        "user": "null",
        "item": "NA",
        "at": NOON_MS,
        "price": None,
        "liked": None,
        "tags": None,
        "codes": None,
    }


def without(name: str) -> pa.Table:
    return pa.Table.from_pylist(rows()).drop_columns([name])


def with_column(name: str, values: list[Any]) -> pa.Table:
    table = pa.Table.from_pylist(rows())
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (without("item"), r"has no column \['item'\]; it has \['at', 'codes'"),
        (with_column("item", ["a", None, "b"]), "row 2 has no item"),
        (with_column("price", [None, "b", "c"]), "row 2, column 'price': 'b' is no float64"),
        (with_column("id", [1.0, 2.0, 0.5]), "row 3, column 'id': 0.5 is no int64"),
        (with_column("at", [NOON_MS // 1000] * 3), "looks like seconds: declare `times: s`"),
    ],
    ids=["missing column", "null item", "text as number", "fraction as integer", "seconds"],
)
def test_a_file_that_does_not_fit_is_refused(
    read: Any, tmp_path: Path, table: pa.Table, message: str
) -> None:
    """It names the column, and the hint the part of the configuration to change."""
    pq.write_table(table, tmp_path / "a.parquet")

    with pytest.raises(Refused, match=message) as refused:
        read(tmp_path / "a.parquet")
    assert refused.value.hint


@pytest.mark.parametrize("name", ["none.parquet", "notes.txt", "torn.parquet", "torn.csv"])
def test_a_file_that_cannot_be_read_is_refused(read: Any, tmp_path: Path, name: str) -> None:
    """Missing, of no known kind, or damaged."""
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "torn.csv").write_bytes(b"\xff\xfe,\x00\n1,2,3\n")

    with pytest.raises(Refused, match=name):
        read(tmp_path / name)


def test_a_mapping_of_a_column_that_no_event_has_is_refused(read: Any, tmp_path: Path) -> None:
    """A misspelt key would otherwise be ignored in silence."""
    with pytest.raises(Refused, match="'idd'"):
        read(tmp_path / "none.parquet", {"idd": "number"})


def written(folder: Path) -> list[Path]:
    """Three clicks, two of them without a user, in every way of writing that."""
    at = [NOON_MS, NOON_MS + 1, NOON_MS + 2]
    nobody = float("nan")
    columns: dict[str, pa.Array] = {
        "nan": pa.array([nobody, 19.0, nobody]),
        "null": pa.array([None, "19", None]),
        "empty": pa.array(["", "19", ""]),
        "blank": pa.array([" ", "19", "\t"]),
        "category": pa.array([None, "19", None]).dictionary_encode(),
    }
    paths = []
    for name, users in columns.items():
        paths.append(folder / f"{name}.parquet")
        pq.write_table(pa.table({"user": users, "item": ["a", "b", "c"], "at": at}), paths[-1])
    texts = {
        "absent.jsonl": ['{"item":"a","at":%d}', '{"item":"b","at":%d,"user":19}'],
        "null.jsonl": ['{"user":null,"item":"a","at":%d}', '{"item":"b","at":%d,"user":19.0}'],
        "empty.jsonl": ['{"user":"","item":"a","at":%d}', '{"item":"b","at":%d,"user":"19"}'],
        "empty.csv": [",a,%d", "19,b,%d"],
        "quoted.csv": ['"","a","%d"', '"19","b","%d"'],
        "blank.csv": ["  ,a,%d", "19,b,%d"],
    }
    for file, (without, with_one) in texts.items():
        last = without.replace('"a"', '"c"').replace(",a,", ",c,")
        lines = [without % at[0], with_one % at[1], last % at[2]]
        head = ["user,item,at"] if file.endswith(".csv") else []
        paths.append(folder / file)
        paths[-1].write_text("\n".join([*head, *lines]))
    return paths


@pytest.mark.promise("S14")
def test_no_user_is_one_thing(read: Any, tmp_path: Path) -> None:
    """Null, absent, empty, quoted-empty, blank and NaN: no user, and none that is called so."""
    for path in written(tmp_path):
        found = read(path)
        assert found["user"].to_pylist() == [None, "19", None], path.name
        assert found["item"].to_pylist() == ["a", "b", "c"], path.name

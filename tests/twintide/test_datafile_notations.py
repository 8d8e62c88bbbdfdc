"""The same events in every notation, format and compression: one table, or a refusal."""

import bz2
import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.streaming.line import EVENTS, NOON_MS, deployment_values
from twintide import config, datafile
from twintide.datafile import read_file
from twintide.errors import Refused
from twintide.events import EventSchema
from twintide.jsonrows import parse

Row = dict[str, Any]
NAMES = list(EVENTS["columns"])


def events(count: int = 200) -> list[Row]:
    """As they are meant: `at` in Unix milliseconds."""
    chance = random.Random(7)
    rows = []
    for number in range(count):
        row: Row = {
            "id": number,
            "user": str(chance.randrange(20)),
            "item": str(chance.randrange(30)),
            "at": NOON_MS + number * 61_007,
            "price": chance.randrange(400) / 4 + 0.25,
            "liked": chance.random() < 0.5,
            "tags": ["a", "b c", "d"][: chance.randint(1, 3)],
            "codes": [chance.randrange(9), number],
        }
        for name in ("id", "user", "price", "liked", "tags", "codes"):
            if chance.random() < 0.2:
                row[name] = None
        rows.append(row)
    return rows


def instant(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


def in_vienna(ms: int) -> str:
    return instant(ms).astimezone(ZoneInfo("Europe/Vienna")).isoformat(" ").rpartition("+")[0]


Spell = Callable[[Any], Any]


@dataclass(frozen=True)
class Notation:
    """How a writer spells the values of some columns, and what `data_file` then declares."""

    spell: dict[str, Spell] = field(default_factory=dict)
    declared: Row = field(default_factory=dict)
    nothing: Any = None
    """What stands for a missing value."""


def at(spell: Spell, **declared: Any) -> Notation:
    return Notation({"at": spell}, declared)


def texts(nothing: Any) -> Notation:
    spell: dict[str, Spell] = dict.fromkeys(NAMES, str)
    return Notation(spell | {"tags": json.dumps, "codes": json.dumps}, nothing=nothing)


NOTATIONS = {
    "plain": Notation(),
    "all in text": texts(None),
    "all in text, missing is empty": texts(""),
    "all in text, missing is blank": texts("  "),
    "ids as numbers": Notation({"user": int, "item": int}),
    "ids as pandas writes them": Notation({"id": float, "liked": float}),
    "words of pandas": Notation({"liked": str, "price": str, "id": str}),
    "words of Postgres": Notation({"liked": lambda value: "t" if value else "f"}),
    "ones and zeros": Notation({"liked": int}),
    "lists with commas": Notation(
        {"tags": ",".join, "codes": lambda value: ", ".join(map(str, value))}
    ),
    "lists with bars": Notation(
        {"tags": "|".join, "codes": lambda value: "|".join(map(str, value))},
        {"list_separator": "|"},
    ),
    "a comma before the fraction": Notation(
        {"price": lambda value: str(value).replace(".", ",")}, {"decimal": ",", "separator": ";"}
    ),
    "a word for nothing": Notation(
        dict.fromkeys(NAMES, str) | {"tags": json.dumps, "codes": json.dumps},
        {"null_values": ["\\N", "NULL"]},
        nothing="NULL",
    ),
    "milliseconds, declared": at(int, times="ms"),
    "milliseconds as floats": at(float),
    "milliseconds in text": at(str),
    "seconds as floats": at(lambda ms: ms / 1000, times="s"),
    "seconds with a fraction in text": at(lambda ms: f"{ms / 1000:.3f}", times="s"),
    "microseconds": at(lambda ms: ms * 1000 + 7, times="us"),
    "microseconds as floats": at(lambda ms: ms * 1000.0, times="us"),
    "nanoseconds": at(lambda ms: ms * 1_000_000 + 999_999, times="ns"),
    "isoformat with a zone": at(lambda ms: instant(ms).isoformat()),
    "isoformat without a zone": at(lambda ms: instant(ms).replace(tzinfo=None).isoformat()),
    "ISO with Z": at(lambda ms: instant(ms).isoformat(timespec="milliseconds")[:-6] + "Z"),
    "ISO with microseconds and Z": at(lambda ms: f"{instant(ms):%Y-%m-%dT%H:%M:%S.%f}Z"),
    "ISO with nanoseconds": at(lambda ms: f"{instant(ms):%Y-%m-%d %H:%M:%S.%f}999+0000"),
    "ISO with a comma": at(lambda ms: f"{instant(ms):%Y-%m-%dT%H:%M:%S,%f}Z"),
    "ISO with UTC": at(lambda ms: f"{instant(ms):%Y-%m-%d %H:%M:%S.%f} UTC"),
    "ISO in Kolkata": at(lambda ms: instant(ms).astimezone(ZoneInfo("Asia/Kolkata")).isoformat()),
    "ISO in Vienna, without a zone": at(in_vienna, time_zone="Europe/Vienna"),
}


def spelled(rows: list[Row], notation: Notation) -> list[Row]:
    return [
        {
            name: notation.nothing
            if value is None
            else notation.spell.get(name, lambda each: each)(value)
            for name, value in row.items()
        }
        for row in rows
    ]


def as_csv(rows: list[Row], declared: Row) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=declared.get("separator", ","))
    writer.writerow(NAMES)
    for row in rows:
        writer.writerow(
            json.dumps(row[name]) if isinstance(row[name], list) else row[name] for name in NAMES
        )
    return text.getvalue().encode()


def as_jsonl(rows: list[Row], declared: Row) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows: list[Row], declared: Row) -> bytes:
    """A column of Parquet has one type: one of mixed values is text."""
    columns = {name: [row[name] for row in rows] for name in NAMES}
    for name, values in columns.items():
        if len({type(value) for value in values if value is not None}) > 1:
            columns[name] = [
                value if value is None or isinstance(value, str) else json.dumps(value)
                for value in values
            ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


FORMATS = {".csv": as_csv, ".jsonl": as_jsonl, ".parquet": as_parquet}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}


def written(folder: Path, rows: list[Row], declared: Row) -> Iterator[Path]:
    """In every format, whole and in parts, which differ in compression."""
    for suffix, write in FORMATS.items():
        whole = folder / f"events{suffix}"
        whole.write_bytes(write(rows, declared))
        yield whole
        parts = folder / f"parts{suffix}"
        parts.mkdir()
        for number, (packed, compress) in enumerate(COMPRESSIONS.items()):
            own = rows[number * 50 : (number + 1) * 50]
            (parts / f"part-{number}{suffix}{packed}").write_bytes(compress(write(own, declared)))
        (parts / "_SUCCESS").touch()
        yield parts


def meant(rows: list[Row]) -> pa.Table:
    schema = EventSchema.model_validate(EVENTS).arrow_schema()
    columns = [
        pa.array([row[each.name] for row in rows], pa.int64()).cast(each.type)
        if pa.types.is_timestamp(each.type)
        else pa.array([row[each.name] for row in rows], each.type)
        for each in schema
    ]
    return pa.table(columns, schema=schema)


def deployment(tmp_path: Path, declared: Row, **of_events: Any) -> config.Deployment:
    values = deployment_values(tmp_path / "data", data_file=declared)
    values["events"] = values["events"] | of_events
    return config.parse(values, name="test")


@pytest.mark.promise("S14")
@pytest.mark.parametrize("notation", NOTATIONS.values(), ids=NOTATIONS.keys())
def test_the_same_events_are_the_same_table(tmp_path: Path, notation: Notation) -> None:
    """200 events in CSV, JSON lines and Parquet, one file or parts, packed or not; and as messages,
    where the notation is one that messages have.
    """
    rows = events()
    expected = meant(rows)
    written_rows = spelled(rows, notation)

    for path in written(tmp_path, written_rows, notation.declared):
        found = read_file(deployment(tmp_path, notation.declared), path)
        assert found.events.equals(expected), path.name
        assert found.missing == ()
    if set(notation.declared) <= {"times", "time_zone"}:
        schema = deployment(tmp_path, {}, **notation.declared).events
        parsed = parse(as_jsonl(written_rows, {}).splitlines(), schema)
        assert parsed.rejected == ()
        assert parsed.events.combine_chunks().equals(expected)


WRONG: dict[str, tuple[str, Any, Row, str]] = {
    "seconds": ("at", NOON_MS // 1000, {}, "declare `times: s`"),
    "seconds with a fraction": ("at", NOON_MS / 1000 + 0.25, {}, "declare `times: s`"),
    "seconds in text": ("at", str(NOON_MS // 1000), {}, "declare `times: s`"),
    "microseconds": ("at", NOON_MS * 1000, {}, "declare `times: us`"),
    "nanoseconds": ("at", NOON_MS * 1_000_000, {}, "declare `times: ns`"),
    "zero": ("at", 0, {}, "1970-01-01"),
    "negative": ("at", -1, {}, "between 1970 and 2100"),
    "another order of the date": ("at", "15.11.2023 12:00", {}, "ISO 8601"),
    "a date without hyphens": ("at", "20231115", {}, "1970-01-01"),
    "a 30th of February": ("at", "2023-02-30", {}, "ISO 8601"),
    "a power of ten": ("at", "1.70005E+12", {}, "lost digits"),
    "an hour that is twice": (
        "at",
        "2023-10-29 02:30:00",
        {"time_zone": "Europe/Vienna"},
        "Europe/Vienna skips or has twice",
    ),
    "an hour that is skipped": (
        "at",
        "2023-03-26T02:30:00",
        {"time_zone": "Europe/Vienna"},
        "Europe/Vienna skips or has twice",
    ),
    "no time": ("at", None, {}, "at"),
    "no item": ("item", "", {}, "item"),
    "a word for a number": ("price", "much", {}, "'much' is no float64"),
    "infinity": ("price", "inf", {}, "no float64"),
    "a comma in a number": ("price", "1,5", {}, "decimal"),
    "thousands": ("price", "1.500,00", {"decimal": ","}, "no float64"),
    "a word for a truth": ("liked", "perhaps", {}, "'perhaps' is no bool"),
    "a number for a truth": ("liked", 2, {}, "2' is no bool|2 is no bool"),
    "a repr for a list": ("tags", "['a']", {}, "JSON array"),
    "a gap in a list": ("tags", "a,,b", {}, "list_separator"),
    "words in a list of numbers": ("codes", "a", {}, "no list<int64>"),
    "a fraction": ("id", 0.5, {}, "no int64"),
    "too large": ("id", str(2**63), {}, "no int64"),
}


@pytest.mark.promise("S14")
@pytest.mark.parametrize(
    ("column", "value", "declared", "reason"), WRONG.values(), ids=WRONG.keys()
)
def test_what_is_not_read_is_refused_by_row_and_column(
    tmp_path: Path, column: str, value: Any, declared: Row, reason: str
) -> None:
    """In each format the same row and column, the same reason, and what to declare; and as a
    message it is rejected.
    """
    rows = events(60)
    if declared.get("decimal"):
        rows = spelled(rows, NOTATIONS["a comma before the fraction"])
    rows[30][column] = value

    for suffix, write in FORMATS.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(write(rows, declared))
        with pytest.raises(Refused, match=reason) as refused:
            read_file(deployment(tmp_path, declared), path)
        assert f"{path}, {'line' if suffix == '.jsonl' else 'row'} 31" in refused.value.message
        assert column in refused.value.message
        assert "data_file" in refused.value.hint
    if set(declared) <= {"times", "time_zone"}:
        schema = deployment(tmp_path, {}, **declared).events
        assert [index for index, _ in parse(as_jsonl(rows, {}).splitlines(), schema).rejected] == [
            30
        ]


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ANY_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.none() | st.integers(-(2**63), 2**63 - 1),
            "user": st.none() | ANY_TEXT,
            "item": ANY_TEXT.filter(lambda text: bool(text.strip())),
            "at": st.integers(31_536_000_000, 4_102_444_799_999),
            "price": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "liked": st.none() | st.booleans(),
            "tags": st.none()
            | st.lists(ANY_TEXT.filter(lambda text: bool(text.strip())), max_size=3),
            "codes": st.none() | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        }
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.promise("S14")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ANY_ROWS)
def test_any_table_is_read_as_it_was_written(tmp_path: Path, rows: list[Row]) -> None:
    """Random values through the writers of CSV, JSON and Parquet: one table, the one meant."""
    blank = [row | {"user": None} if not (row["user"] or "").strip() else row for row in rows]
    expected = meant(sorted(blank, key=lambda row: row["at"]))
    declared: Row = {"times": "ms"}

    for suffix, write in FORMATS.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(write(rows, declared))
        found = read_file(deployment(tmp_path, declared), path).events
        assert found.equals(expected), suffix


def lines_of(path: Path, rows: int, line: Callable[[int], str], head: str = "") -> Path:
    path.write_text(head + "".join(line(number) for number in range(rows)))
    return path


@pytest.mark.promise("S14")
def test_later_blocks_are_read_like_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many blocks, in which a word comes first after many numbers: all are text."""
    monkeypatch.setattr(datafile, "_CSV_BLOCK_BYTES", 50_000)
    monkeypatch.setattr(datafile, "_JSON_BLOCK_BYTES", 50_000)
    rows = 5_000
    csv_path = lines_of(
        tmp_path / "a.csv",
        rows,
        lambda number: f"{number if number < rows - 1 else 'last'},{NOON_MS + number},{'x' * 60}\n",
        "item,at,other\n",
    )
    jsonl_path = lines_of(
        tmp_path / "a.jsonl",
        rows,
        lambda number: (
            json.dumps({"item": number if number < rows - 1 else "last", "at": NOON_MS + number})
            + "\n"
        ),
    )

    for path in (csv_path, jsonl_path):
        found = read_file(deployment(tmp_path, {}), path)
        items = found.events["item"].to_pylist()
        assert items == [*map(str, range(rows - 1)), "last"]
        assert found.missing == ("id", "user", "price", "liked", "tags", "codes")


def test_a_column_that_may_be_missing_is_null_and_named(tmp_path: Path) -> None:
    """In every format, and in one part of several; one that `data_file` names must be there."""
    rows = [{"item": "i", "at": NOON_MS, "price": 1.5}]
    for suffix, text in (
        (".csv", f"item,at,price\ni,{NOON_MS},1.5\n"),
        (".jsonl", json.dumps(rows[0])),
    ):
        path = tmp_path / f"a{suffix}"
        path.write_text(text)
        found = read_file(deployment(tmp_path, {}), path)
        assert found.missing == ("id", "user", "liked", "tags", "codes")
        assert found.events["price"].to_pylist() == [1.5]
        with pytest.raises(Refused, match="score"):
            read_file(deployment(tmp_path, {"columns": {"price": "score"}}), path)


def test_folders_that_name_a_value_are_columns(tmp_path: Path) -> None:
    """As Spark and Hive write parts: item=7/part-0.csv holds no column item."""
    for item in ("7", "8"):
        for suffix, text in ((".csv", f"at\n{NOON_MS}\n"), (".jsonl", f'{{"at":{NOON_MS}}}')):
            path = tmp_path / suffix / f"item={item}" / f"part-0{suffix}"
            path.parent.mkdir(parents=True)
            path.write_text(text)
    for suffix in (".csv", ".jsonl"):
        found = read_file(deployment(tmp_path, {}), tmp_path / suffix)
        assert found.events["item"].to_pylist() == ["7", "8"]


REFUSED_FILES: dict[str, tuple[str, bytes, str]] = {
    "a quote that is not closed": (".csv", b'item,at\n"a,1\nb,2\n', "quotes"),
    "a row with a field too many": (".csv", b"item,at\na,1,2\n", "Expected 2 columns, got 3"),
    "a column twice": (".csv", b"item,item,at\na,b,1\n", "two columns 'item'"),
    "no header": (".csv", b"a,1700049600000\nb,1700049600000\n", "has no column"),
    "nothing": (".csv", b"", "Empty CSV"),
    "a header alone": (".csv", b"item,at\n", "holds no event"),
    "other bytes than UTF-8": (
        ".csv",
        b"item,at\n\xff,1700049600000\n",
        "row 1, column 'item'.*UTF",
    ),
    "another separator": (".csv", b"item;at\na;1700049600000\n", "item;at"),
    "half a gzip": (".csv.gz", gzip.compress(bytes(range(256)) * 99)[:200], "cannot be read"),
    "no gzip": (".csv.gz", b"item,at\na,1700049600000\n", "cannot be read"),
    "one array": (".jsonl", b'[{"item":"a","at":1700049600000}]', "one JSON array"),
    "half a line": (".jsonl", b'{"item":"a","at":1700049600000}\n{"item":', "line 2"),
    "no object": (".jsonl", b"7\n", "line 1"),
    "a field twice": (".jsonl", b'{"item":"a","item":"b","at":1700049600000}', "stands twice"),
    "integers of pandas": (".csv", b"item,at\n12.0,1700049600000\n", "int64"),
}


@pytest.mark.promise("S14")
@pytest.mark.parametrize(
    ("suffix", "data", "reason"), REFUSED_FILES.values(), ids=REFUSED_FILES.keys()
)
def test_a_file_that_means_nothing_is_refused(
    tmp_path: Path, suffix: str, data: bytes, reason: str
) -> None:
    """With the file's name, the reason, and what to do."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)

    with pytest.raises(Refused, match=reason) as refused:
        read_file(deployment(tmp_path, {}), path)
    assert str(path) in refused.value.message
    assert refused.value.hint


MEANT_FILES: dict[str, tuple[str, bytes]] = {
    "a byte order mark": (".csv", b"\xef\xbb\xbfitem,at\na,1700049600000\n"),
    "a byte order mark in JSON": (".jsonl", b'\xef\xbb\xbf{"item":"a","at":1700049600000}\n'),
    "Windows' line ends": (".csv", b"item,at\r\na,1700049600000\r\n"),
    "Windows' line ends in JSON": (".jsonl", b'{"item":"a","at":1700049600000}\r\n\r\n'),
    "tabs": (".tsv", b"item\tat\na\t1700049600000\n"),
    "two gzips": (".csv.gz", gzip.compress(b"item,at\n") + gzip.compress(b"a,1700049600000\n")),
    "a newline in a value": (".csv", b'other,item,at\n"x\n""y",a,1700049600000\n'),
    "other columns of any kind": (
        ".jsonl",
        b'{"item":"a","at":1700049600000,"x":[1,"\xff"],"x":{}}',
    ),
}


@pytest.mark.promise("S14")
@pytest.mark.parametrize(("suffix", "data"), MEANT_FILES.values(), ids=MEANT_FILES.keys())
def test_what_does_not_matter_does_no_harm(tmp_path: Path, suffix: str, data: bytes) -> None:
    """One event, of item a."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)

    found = read_file(deployment(tmp_path, {}), path).events
    assert found.select(["item", "at"]).to_pylist() == [{"item": "a", "at": instant(NOON_MS)}]

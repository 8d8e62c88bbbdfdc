"""Data files that nobody meant: each is read as a table of events, or refused in one sentence."""

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.mutations import ODD_VALUES, damaged
from tests.streaming.line import NOON_MS
from tests.twintide.test_datafile_notations import (
    COMPRESSIONS,
    FORMATS,
    NAMES,
    NOTATIONS,
    deployment,
    events,
    spelled,
)
from twintide import config
from twintide.config import Deployment
from twintide.datafile import read_file
from twintide.errors import Refused

ROWS = events(20)
SPELLED = {name: spelled(ROWS, notation) for name, notation in NOTATIONS.items()}
TYPES = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.uint64(),
    pa.float16(),
    pa.float64(),
    pa.decimal128(38, 3),
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.binary(4),
    pa.date32(),
    pa.date64(),
    pa.time64("ns"),
    pa.timestamp("s"),
    pa.timestamp("ns", "America/New_York"),
    pa.timestamp("us", "+05:45"),
    pa.duration("ms"),
    pa.dictionary(pa.int8(), pa.string()),
    pa.list_(pa.string()),
    pa.list_(pa.float64()),
    pa.list_(pa.list_(pa.int64())),
    pa.large_list(pa.int64()),
    pa.list_(pa.int16(), 2),
    pa.struct([("a", pa.int64())]),
    pa.map_(pa.string(), pa.int64()),
]
SOME: dict[str, list[Any]] = {
    "numbers": [0, 1, -1, 127, 12, None],
    "texts": ["", "a", "12", "1.0", "true", "[1]", None, "é"],
    "lists": [[], [1, 2], [None, 1], None],
    "fields": [{"a": 1}, {}, None],
}


def some_column(kind: pa.DataType, count: int, rng: random.Random) -> pa.Array:
    """A column of that type, of values that it takes; of nulls where it takes none of these."""
    values = rng.choice(list(SOME.values()))
    drawn = rng.choices(values, k=count)
    try:
        return pa.array(drawn, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return pa.nulls(count, kind)


def parquet_of_any_types(rows: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Some columns as they are meant, some of another type, of a second name, or not there."""
    table = pq.read_table(pa.BufferReader(FORMATS[".parquet"](rows, {})))
    for name in rng.sample(NAMES, k=rng.randrange(1, 4)):
        column = some_column(rng.choice(TYPES), len(rows), rng)
        table = table.set_column(NAMES.index(name), name, column)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def csv_of_any_form(rows: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Other separators, quotes and line ends."""
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=rng.choice(",;\t|"),
        quoting=rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
        lineterminator=rng.choice(["\n", "\r\n", "\r"]),
        doublequote=rng.random() < 0.8,
        escapechar="\\",
    )
    writer.writerow(NAMES)
    for row in rows:
        writer.writerow(json.dumps(row[name]) if row[name] else row[name] for name in NAMES)
    return text.getvalue().encode(rng.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))


FORMS: list[tuple[str, Callable[[list[dict[str, Any]], random.Random], bytes]]] = [
    *((suffix, lambda rows, _, write=write: write(rows, {})) for suffix, write in FORMATS.items()),
    (".parquet", parquet_of_any_types),
    (".csv", csv_of_any_form),
]


def some_file(notation: str, rng: random.Random) -> tuple[str, bytes]:
    """Its suffix and content: events in that notation, a few values exchanged for odd ones, in some
    format, packed or not, at times damaged before or after that.
    """
    rows = [dict(row) for row in SPELLED[notation][: rng.randrange(1, 20)]]
    for _ in range(rng.choice([0, 0, 1, 3])):
        rng.choice(rows)[rng.choice(NAMES)] = rng.choice(ODD_VALUES)
    suffix, write = rng.choice(FORMS)
    try:
        data = write(rows, rng)
    except (UnicodeEncodeError, pa.ArrowException, csv.Error, OverflowError):
        data = json.dumps(rows).encode()  # what this format cannot hold: as one array
    if rng.random() < 0.5:
        data = damaged(data, rng)
    packed = rng.choice(["", "", "", *COMPRESSIONS])
    data = COMPRESSIONS[packed](data)
    return suffix + packed, damaged(data, rng) if packed and rng.random() < 0.5 else data


def check(folder: Path, seeds: range) -> Counter[str]:
    """That each is a table of events or refused in one sentence; how many were what."""
    found: Counter[str] = Counter()
    declared = {name: deployment(folder, each.declared) for name, each in NOTATIONS.items()}
    for seed in seeds:
        rng = random.Random(seed)
        notation = rng.choice(list(NOTATIONS))
        suffix, data = some_file(notation, rng)
        path = folder / f"a{suffix}"
        path.write_bytes(data)
        own = declared[notation if rng.random() < 0.8 else rng.choice(list(NOTATIONS))]
        found["read" if is_read(own, path, seed) else "refused"] += 1
    return found


def is_read(own: Deployment, path: Path, seed: int) -> bool:
    try:
        read = read_file(own, path).events
    except Refused as error:
        refused = error
    else:
        assert read.schema == own.events.arrow_schema(), seed
        assert len(read) > 0, seed
        read.validate(full=True)
        return True
    assert refused.hint, seed
    assert str(path) in refused.message, (seed, refused.message)
    assert "\n" not in refused.message, (seed, refused.message)
    assert len(refused.message) < 1_000, (seed, refused.message)
    return False


PATHS = {
    "user": "user.id",
    "item": "item.a.b",
    "price": "price.a",
    "tags": "tags[].a",
    "codes": "codes.a[].b",
}
NESTED_TYPES = [
    *TYPES,
    pa.list_(pa.struct([("a", pa.string())])),
    pa.list_(pa.struct([("a", pa.list_(pa.int64()))])),
    pa.list_(pa.struct([("a", pa.int64()), ("a", pa.int64())])),
    pa.large_list(pa.struct([("a", pa.float32()), ("b", pa.date32())])),
    pa.list_(pa.struct([("a", pa.string())]), 2),
    pa.struct([("a", pa.list_(pa.struct([("b", pa.int8())])))]),
    pa.struct([("a", pa.struct([("b", pa.large_string())]))]),
    pa.struct([("a\n" * 500, pa.int64())]),
    pa.struct([("id", pa.dictionary(pa.int8(), pa.string())), ("id.x", pa.null())]),
]


def some_nested(kind: pa.DataType, rng: random.Random) -> Any:
    """A value of such a type, where it is nested."""
    if rng.random() < 0.1:
        return None
    if pa.types.is_struct(kind):
        return {field.name: some_nested(field.type, rng) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [some_nested(kind.value_type, rng) for _ in range(rng.randrange(3))]
    return {"int64": 3, "int8": 3, "float": 0.5, "string": "x", "large_string": "x"}.get(str(kind))


def nested_column(kind: pa.DataType, count: int, rng: random.Random) -> pa.Array:
    try:
        return pa.array([some_nested(kind, rng) for _ in range(count)], kind)
    except (pa.ArrowException, ValueError):
        return pa.nulls(count, kind)


@pytest.mark.promise("S14")
def test_a_file_of_any_nested_types_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    """Structs where lists are meant, fields that stand twice, names of any length."""
    own = config.fill_in(deployment(tmp_path, {}), {"events": {"paths": PATHS}})
    path = tmp_path / "a.parquet"
    found: Counter[bool] = Counter()
    for seed in range(100):
        rng = random.Random(seed)
        columns = {"at": pa.array([NOON_MS] * 5), "id": pa.array(range(5))}
        columns["item"] = pa.array([{"a": {"b": "i"}}] * 5, pa.struct([("a", IN_ITEM)]))
        for name in rng.sample(list(PATHS), k=2):
            columns[name] = nested_column(rng.choice(NESTED_TYPES), 5, rng)
        try:
            pq.write_table(pa.table(columns), path)
        except pa.ArrowException:  # what Parquet cannot hold
            continue
        found[is_read(own, path, seed)] += 1
    assert min(found[True], found[False]) > 15


IN_ITEM = pa.struct([("b", pa.string())])
NO_SUCH_VALUE_IN_PYTHON = {
    "a nanosecond": pa.array([1], pa.timestamp("ns")),
    "a nanosecond of a day": pa.array([1], pa.time64("ns")),
    "the year 300000": pa.array([300_000 * 31_556_952], pa.timestamp("s")),
    "a list of nanoseconds": pa.array([[1]], pa.list_(pa.timestamp("ns"))),
}


@pytest.mark.promise("S14")
@pytest.mark.parametrize(
    "column", NO_SUCH_VALUE_IN_PYTHON.values(), ids=NO_SUCH_VALUE_IN_PYTHON.keys()
)
def test_a_value_that_python_has_not_is_refused_by_row_and_column(
    tmp_path: Path, column: pa.Array
) -> None:
    """It was a ValueError of Arrow, while the refusal was being worded."""
    path = tmp_path / "a.parquet"
    sound = pq.read_table(pa.BufferReader(FORMATS[".parquet"](ROWS[:1], {})))
    pq.write_table(sound.set_column(NAMES.index("price"), "price", column), path)

    with pytest.raises(Refused, match=r"row 1, column 'price': .* is no float64"):
        read_file(deployment(tmp_path, {}), path)


@pytest.mark.promise("S14")
def test_what_a_library_says_of_a_file_is_one_short_line(tmp_path: Path) -> None:
    """Arrow quotes the whole row, and ends lines where it likes."""
    torn, wide = tmp_path / "torn.parquet", tmp_path / "wide.csv"
    torn.write_bytes(b"PAR1" + b"\xff" * 40 + (40).to_bytes(4, "little") + b"PAR1")
    wide.write_text("item,at\n" + "x," * 50_000 + "\n")

    for path in (torn, wide):
        with pytest.raises(Refused, match="cannot be read") as refused:
            read_file(deployment(tmp_path, {}), path)
        assert "\n" not in str(refused.value)
        assert len(refused.value.message) < 1_000


@pytest.mark.promise("S14")
def test_any_file_is_read_or_refused(tmp_path: Path) -> None:
    """Events in each format and notation, with odd values, of other types, damaged, 150 times."""
    found = check(tmp_path, range(150))

    assert min(found["read"], found["refused"]) > 15


@pytest.mark.long
@pytest.mark.promise("S14")
def test_many_files_are_read_or_refused(tmp_path: Path) -> None:
    """The same, 3,000 times."""
    check(tmp_path, range(10_000, 13_000))


@pytest.mark.faults
@pytest.mark.timeout(7200)
@pytest.mark.promise("S14")
def test_any_file_is_read_or_refused_at_length(tmp_path: Path) -> None:
    """The same, 15,000 times."""
    check(tmp_path, range(1_000_000, 1_015_000))

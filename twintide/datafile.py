"""Data files as events: typed by the one rule of `twintide.values`, in event-time order.

A file is Parquet, CSV or JSON lines, compressed or not, or a folder of such parts. Text is taken as
text, never guessed from the first rows, so a value means the same wherever it stands; what is not
read is refused by row and column. Replay and evaluation read through here and see the same events.
"""

import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from twintide.columnpath import AstrayError, ColumnPath, paths_of
from twintide.config import Deployment
from twintide.errors import Refused, words_of
from twintide.jsonrows import JsonReader
from twintide.notation import Notation
from twintide.reasons import why
from twintide.values import typed

KINDS = "a .parquet, .csv, .tsv or .jsonl file, also with .gz, .zst or .bz2, or a folder of such"

_CSV_BLOCK_BYTES = 16 << 20
_JSON_BLOCK_BYTES = 4 << 20
_PARQUET_ROWS = 1 << 16
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_HOW = (
    "`events.columns` declares types; `data_file` says how the file writes: columns, times, "
    "time_zone, separator, decimal, list_separator, null_values"
)
_COLUMNS = "`data_file.columns` maps event column -> column of the file"


@dataclass(frozen=True)
class DataFile:
    """What a file, or a folder of parts, holds."""

    events: pa.Table
    """In the schema's `arrow_schema()`, sorted by time; equal times keep the order of the file."""

    missing: tuple[str, ...]
    """Columns of the file that events could have and no part has: they are null in every event."""

    parts: int


def read_data(deployment: Deployment, path: Path) -> pa.Table:
    """The events of a file or a folder of parts; see `read_file`."""
    return read_file(deployment, path).events


def read_file(deployment: Deployment, path: Path) -> DataFile:
    """Every row of the file as an event. Columns that no event column asks for never matter, and
    one that is not required may be missing.

    Raises Refused where there is no such file, or where it holds what the rule does not read: by
    file, row, column and value, with what to declare.
    """
    parts = parts_of(path)
    seen = _Seen(deployment)
    tables = [table for part in parts for table in _tables(part, path, seen)]
    schema = deployment.events.arrow_schema()
    events = pa.concat_tables([schema.empty_table(), *tables])
    if not len(events):
        raise Refused(f"{path} holds no event", hint=f"give {KINDS}")
    seen.refuse_integers_of_pandas(path)
    order = pc.sort_indices(events, sort_keys=[(deployment.events.time, "ascending")])
    return DataFile(events.take(order).combine_chunks(), seen.missing(path), len(parts))


def read_in_pieces(deployment: Deployment, path: Path) -> Iterator[pa.Table]:
    """The same events as they stand in the file, some at a time, so that memory does not grow with
    it; what is compressed as a whole, a part at a time. What `read_file` refuses at its end is
    refused behind the last piece.
    """
    seen = _Seen(deployment)
    for part in parts_of(path):
        yield from _tables(part, path, seen)
    seen.refuse_integers_of_pandas(path)
    seen.missing(path)


def has_rows(deployment: Deployment, part: Path, path: Path) -> bool:
    """Whether one of the files of `path` holds an event. Raises Refused as `read_in_pieces`."""
    return any(len(events) for events in _tables(part, path, _Seen(deployment)))


Raw: TypeAlias = pa.Array | list[Any]
"""A column as a file has it: of Arrow, or values of JSON."""


def first_rows(path: Path, *, rows: int) -> tuple[dict[str, Raw], str]:
    """The first rows of a file, every column of it as it stands, and the separator of a CSV.

    For whoever does not know yet what is in it. Raises Refused where it is none that is read here.
    """
    part = parts_of(path)[0]
    source, codec = _source(part, path)
    try:
        with _opened(part, codec) as stream:
            if source.kind in _TEXT_ONLY:
                return _first_of_csv(stream, rows)
            if source.kind in _PARQUET:
                file = pq.ParquetFile(pa.BufferReader(stream.read_buffer()))
                found = pa.Table.from_batches([next(file.iter_batches(rows))], file.schema_arrow)
                names = found.column_names
                return {name: found[name].combine_chunks() for name in names}, ","
            return _first_of_json(stream, rows), ","
    except (pa.ArrowException, OSError, ValueError, StopIteration) as error:
        raise Refused(f"{part} cannot be read: {words_of(error)}", hint=f"give {KINDS}") from error


def fields_of(messages: Sequence[bytes]) -> dict[str, Raw]:
    """The same of messages; what is no JSON object is left out. Raises Refused where none is."""
    objects = []
    for value in messages:
        with suppress(ValueError, RecursionError):
            objects.append(json.loads(value))
    objects = [each for each in objects if isinstance(each, dict)]
    if not objects:
        raise Refused(
            f"none of {len(messages)} messages is a JSON object",
            hint="events are JSON objects, one a message; were any sent yet?",
        )
    return _columns_of(objects)


def _columns_of(objects: list[dict[str, Any]]) -> dict[str, Raw]:
    names = dict.fromkeys(name for each in objects for name in each)
    return {name: [each.get(name) for each in objects] for name in names}


def _first_of_csv(stream: pa.NativeFile, rows: int) -> tuple[dict[str, Raw], str]:
    data = stream.read(_CSV_BLOCK_BYTES)
    header = data.split(b"\n", 1)[0].decode(errors="replace")
    separator = max(",;\t|", key=header.count)
    parse = pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
    lines = data[: data.rfind(b"\n") + 1] or data
    names = pa_csv.open_csv(pa.BufferReader(lines), parse_options=parse).schema.names
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    found = pa_csv.read_csv(
        pa.BufferReader(lines), parse_options=parse, convert_options=convert
    ).slice(0, rows)
    return {name: found[name].combine_chunks() for name in found.column_names}, separator


def _first_of_json(stream: pa.NativeFile, rows: int) -> dict[str, Raw]:
    lines = stream.read(_JSON_BLOCK_BYTES).removeprefix(codecs.BOM_UTF8).split(b"\n")[:rows]
    objects = [json.loads(line) for line in lines[:-1] or lines if line.strip()]
    if not all(isinstance(each, dict) for each in objects):
        raise ValueError("a line of it is no JSON object")
    return _columns_of(objects)


def null_columns(events: pa.Table) -> list[str]:
    """Columns that are null in every event: whoever reads the result should know."""
    return [name for name in events.column_names if holds_nothing(events[name])]


def holds_nothing(column: pa.ChunkedArray) -> bool:
    """Whether each value is null, or each of a list's: a path that finds no field gives such."""
    if pa.types.is_list(column.type) and column.null_count < len(column):
        values = pc.list_flatten(column)
        return bool(0 < len(values) == values.null_count)
    return bool(column.null_count == len(column))


def notation_of(deployment: Deployment) -> Notation:
    """How this deployment's files write; what `data_file` leaves open is as in messages."""
    declared = deployment.data_file
    return Notation(
        times=declared.times or deployment.events.times,
        time_zone=declared.time_zone or deployment.events.time_zone,
        decimal=declared.decimal,
        list_separator=declared.list_separator,
        null_values=declared.null_values,
    )


@dataclass
class _Seen:
    """What is asked of the parts, and what they have had so far."""

    deployment: Deployment
    present: set[str] = field(default_factory=set)
    """Columns of the file that some part has."""

    all_like_12_0: dict[str, bool] = field(default_factory=dict)
    """Text columns of CSV, and whether each value so far is a whole number with ".0"."""

    def __post_init__(self) -> None:
        self.notation = notation_of(self.deployment)
        columns = self.deployment.data_file.columns
        self.paths = paths_of(self.deployment.events, columns)
        self.wanted = list(dict.fromkeys(path.top for path in self.paths.values()))
        required = self.deployment.events.required()
        self.must = [self.paths[name].top for name in dict.fromkeys([*required, *columns])]
        """What is never null, and what `data_file` says is there."""

    def found(self, names: Sequence[str], part: "_Part") -> list[str]:
        """The wanted columns that a part has. Raises Refused where it lacks one that must be there,
        or has one twice.
        """
        twice = sorted({name for name in self.wanted if names.count(name) > 1})
        if twice:
            raise Refused(f"{part.path} has two columns {twice[0]!r}", hint="rename one of them")
        everything = [*names, *part.folded]
        absent = [name for name in self.must if name not in everything]
        if absent:
            raise Refused(
                f"{part.path} has no column {absent}; it has {sorted(everything)}",
                hint=_separator_in(names) or _COLUMNS,
            )
        found = [name for name in self.wanted if name in everything]
        self.present |= set(found)
        return found

    def look_at_lines(self, lines: Sequence[bytes]) -> None:
        """Which fields occur; a line need not have them all."""
        for name in self.wanted:
            if name not in self.present:
                key = json.dumps(name).encode(), json.dumps(name, ensure_ascii=False).encode()
                if any(key[0] in line or key[1] in line for line in lines):
                    self.present.add(name)

    def missing(self, path: Path) -> tuple[str, ...]:
        """Columns that no part has. Raises Refused where `data_file` says that they are there."""
        absent = [name for name in self.wanted if name not in self.present]
        declared = [name for name in absent if name in self.must]
        if declared:
            raise Refused(f"no line of {path} has {declared}", hint=_COLUMNS)
        return tuple(absent)

    def look_at_text(self, raw: dict[str, pa.Array]) -> None:
        """CSV cannot say whether 12.0 is a text or what pandas makes of the integer 12."""
        for name, kind in self.deployment.events.columns.items():
            source = str(self.paths[name])
            if kind == "string" and source in raw and self.all_like_12_0.get(source, True):
                text = raw[source].filter(pc.not_equal(raw[source], ""))
                if len(text):
                    is_like = pc.match_substring_regex(text, r"^-?[0-9]+\.0$")
                    self.all_like_12_0[source] = pc.all(is_like).as_py()

    def refuse_integers_of_pandas(self, path: Path) -> None:
        for source, is_like in self.all_like_12_0.items():
            if is_like:
                name = next(name for name, path in self.paths.items() if str(path) == source)
                raise Refused(
                    f"every value of column {source!r} of {path} is a whole number that is written "
                    "as a float, such as 12.0, but it is declared as string: 12 or 12.0?",
                    hint=f"declare `events.columns.{name}: int64`; or write text in JSON lines or "
                    "Parquet, which tell text from numbers",
                )


def _separator_in(names: Sequence[str]) -> str:
    """What to declare where a whole header was taken for one name."""
    likely = [mark for mark in ";\t|," if len(names) == 1 and mark in names[0]]
    return f"is `data_file.separator` {likely[0]!r}?" if likely else ""


def parts_of(path: Path) -> list[Path]:
    """The file, or the files of a folder by name; not those that begin with _ or a dot."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise Refused(f"there is no data file {path}", hint=f"give {KINDS}")
    parts = []
    for each in sorted(path.rglob("*")):
        if any(part.startswith(("_", ".")) for part in each.relative_to(path).parts):
            continue
        if each.is_symlink() and not each.is_file():  # what is behind it would be left out
            what = "a folder" if each.is_dir() else "what is not there"
            raise Refused(f"{each} is a link to {what}", hint="put the files themselves there")
        if each.is_file():
            parts.append(each)
    for each in parts:
        if any("\ud800" <= sign <= "\udfff" for sign in str(each)):  # bytes that were no text
            raise Refused(f"the name of {str(each)!a} is no UTF-8", hint="give it another one")
    if not parts:
        raise Refused(f"{path} is a folder without data files", hint=f"give {KINDS}")
    return parts


def _tables(part: Path, root: Path, seen: _Seen) -> Iterator[pa.Table]:
    """The events of one part, some at a time."""
    source, codec = _source(part, root)
    try:
        with _opened(part, codec) as stream:
            yield from _READERS[source.kind](stream, source, seen)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Refused(f"{part} cannot be read: {words_of(error)}", hint=_HOW) from error


def _source(part: Path, root: Path) -> tuple["_Part", str | None]:
    """What kind of file it is, and how it is compressed."""
    suffixes = [suffix.lower() for suffix in part.suffixes]
    codec = _CODECS.get(suffixes[-1]) if suffixes else None
    kind = "".join(suffixes[-2:-1] if codec else suffixes[-1:])
    if kind not in _READERS:
        raise Refused(
            f"{part} is of no known kind: {part.suffix or 'it has no suffix'}", hint=f"give {KINDS}"
        )
    return _Part(part, kind, _folded(part, root)), codec


def _opened(part: Path, codec: str | None) -> pa.NativeFile:
    if codec is None and part.stat().st_size:
        return pa.memory_map(str(part))
    return pa.input_stream(str(part), compression=codec)


@dataclass(frozen=True)
class _Part:
    """One file."""

    path: Path
    kind: str
    folded: dict[str, str | None]
    """What the names of its folders say, as in date=2026-03-01/part-0.parquet."""


def _folded(part: Path, root: Path) -> dict[str, str | None]:
    named = [each.split("=", 1) for each in part.relative_to(root).parts[:-1] if "=" in each]
    return {name: None if value == _NO_PARTITION else unquote(value) for name, value in named}


def _csv(stream: pa.NativeFile, part: _Part, seen: _Seen) -> Iterator[pa.Table]:
    """Every field as text."""
    data = stream.read_buffer()
    _refuse_an_open_quote(data, part)
    separator = seen.deployment.data_file.separator
    parse = pa_csv.ParseOptions(
        delimiter="\t" if part.kind == ".tsv" and separator == "," else separator,
        newlines_in_values=True,
    )
    names = pa_csv.open_csv(pa.BufferReader(data), parse_options=parse).schema.names
    found = [name for name in seen.found(names, part) if name in names]
    batches = pa_csv.open_csv(
        pa.BufferReader(data),
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
        parse_options=parse,
        convert_options=pa_csv.ConvertOptions(
            check_utf8=False,  # what is none is named by row
            include_columns=found,
            column_types=dict.fromkeys(found, pa.string()),
            strings_can_be_null=False,
        ),
    )
    return _typed_batches(batches, part, seen)


def _refuse_an_open_quote(data: pa.Buffer, part: _Part) -> None:
    """It would take all that follows for one value."""
    quotes = sum(
        int(
            np.count_nonzero(
                np.frombuffer(data[start : start + _CSV_BLOCK_BYTES], np.uint8) == _QUOTE
            )
        )
        for start in range(0, data.size, _CSV_BLOCK_BYTES)
    )
    if quotes % 2:
        raise Refused(
            f"{part.path} has an odd number of quotes: one is not closed",
            hint='a quote within a value is doubled, and the value stands in quotes: "5"" pipe"',
        )


def _parquet(stream: pa.NativeFile, part: _Part, seen: _Seen) -> Iterator[pa.Table]:
    is_plain = isinstance(stream, pa.MemoryMappedFile)
    file = pq.ParquetFile(stream if is_plain else pa.BufferReader(stream.read_buffer()))
    names = file.schema_arrow.names
    found = [name for name in seen.found(names, part) if name in names]
    batches = file.iter_batches(_PARQUET_ROWS, columns=found, use_threads=False)
    return _typed_batches(batches, part, seen)


def _typed_batches(
    batches: Iterator[pa.RecordBatch], part: _Part, seen: _Seen
) -> Iterator[pa.Table]:
    """Columns of the file as columns of events. Raises Refused by the first row that is bad."""
    schema, rows = seen.deployment.events, 0
    for batch in batches:
        raw = dict(zip(batch.schema.names, batch.columns, strict=True))
        if part.kind in _TEXT_ONLY:
            seen.look_at_text(raw)
        for name, value in part.folded.items():
            raw.setdefault(name, pa.repeat(pa.scalar(value, pa.string()), len(batch)))
        columns = []
        for name, kind in schema.columns.items():
            path = seen.paths[name]
            column = _at(path, raw.get(path.top, pa.nulls(len(batch), pa.string())), part)
            result = typed(column, kind, seen.notation)
            if result.is_bad.any():
                index = int(result.is_bad.argmax())
                raise Refused(
                    f"{part.path}, row {rows + index + 1}, column {str(path)!r}: "
                    f"{why(_value(column, index), kind, seen.notation)}",
                    hint=_HOW,
                )
            if name in schema.required() and result.values.null_count:
                index = pc.index(result.values.is_null(), value=True).as_py()
                raise Refused(
                    f"{part.path}, row {rows + index + 1} has no {path}; nor have "
                    f"{result.values.null_count - 1} more of {len(batch)}",
                    hint=f"leave such rows out, or map another column: {_COLUMNS}",
                )
            columns.append(result.values)
        yield pa.table(columns, schema=schema.arrow_schema())
        rows += len(batch)


def _at(path: ColumnPath, column: pa.Array, part: _Part) -> pa.Array:
    """The values that lie there in a column of the file."""
    try:
        return path.in_column(column)
    except AstrayError as error:
        raise Refused(
            f"{part.path}, column {str(path)!r}: {error}",
            hint="`events.paths` says where a column lies; where this file has it in a column of "
            f"its own, {_COLUMNS}",
        ) from None


def _value(column: pa.Array, index: int) -> Any:
    """For a message; as Arrow prints it where Python has no such value."""
    value = column[index]
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return value.cast(pa.binary()).as_py()
    except (ValueError, OverflowError):  # a nanosecond, the year 300000
        return " ".join(column.slice(index, 1).to_string().split())


def _json_lines(stream: pa.NativeFile, part: _Part, seen: _Seen) -> Iterator[pa.Table]:
    """Each line as if it were a message."""
    reader = JsonReader(seen.deployment.events, seen.notation, seen.paths)
    for first, lines in _blocks_of_lines(stream):
        numbers = [number for number, line in enumerate(lines, first) if line.strip()]
        values = [_with_folded(lines[number - first], part) for number in numbers]
        if first == 1 and values and values[0].lstrip().startswith(b"["):
            raise Refused(
                f"{part.path} is one JSON array, not lines of JSON",
                hint=f"one object a line: `jq -c '.[]' {part.path.name} > events.jsonl`",
            )
        seen.look_at_lines(values)
        parsed = reader.parse(values)
        if parsed.rejected:
            index, reason = parsed.rejected[0]
            raise Refused(f"{part.path}, line {numbers[index]}: {reason}", hint=_HOW)
        yield parsed.events


def _with_folded(line: bytes, part: _Part) -> bytes:
    """The line with what the names of its folders say as further fields, where it lacks them."""
    for name, value in part.folded.items():
        key = json.dumps(name).encode()
        if key not in line and line.lstrip().startswith(b"{"):
            line = b"{%s:%s,%s" % (key, json.dumps(value).encode(), line.lstrip()[1:])
    return line


def _blocks_of_lines(stream: pa.NativeFile) -> Iterator[tuple[int, list[bytes]]]:
    """Runs of lines, and the number of the first of each."""
    first, rest = 1, b""
    while piece := stream.read(_JSON_BLOCK_BYTES):
        if first == 1 and not rest:
            piece = piece.removeprefix(codecs.BOM_UTF8)
        *lines, rest = (rest + piece).split(b"\n")
        yield first, lines
        first += len(lines)
    yield first, [rest]


_QUOTE = ord('"')
_TEXT_ONLY = (".csv", ".tsv")
_PARQUET = (".parquet", ".pq")
_CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_READERS: dict[str, Callable[[pa.NativeFile, _Part, _Seen], Iterator[pa.Table]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
}

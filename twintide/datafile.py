"""Data files (Parquet, CSV, JSONL) as events: typed by the schema, in event-time order.

`data_file.columns` says which column of the file an event's column comes from, where the names
differ. Replay and evaluation read through here, so both see the same events.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from twintide.config import Deployment
from twintide.errors import Refused
from twintide.events import EARLIEST_MS, LATEST_MS, EventSchema

_HINT = "`data_file.columns` maps event column -> column of the file"


def read_data(deployment: Deployment, path: Path) -> pa.Table:
    """Every row of the file as an event, in the schema's `arrow_schema()`, sorted by time (stable).

    Raises Refused where the file or a column of it is missing, or holds what the schema does not
    allow. Columns of the file that no event column asks for are left out.
    """
    schema = deployment.events
    sources = {name: deployment.data_file.columns.get(name, name) for name in schema.columns}
    unknown = sorted(set(deployment.data_file.columns) - set(schema.columns))
    if unknown:
        raise Refused(f"data_file.columns names {unknown}, which no event has", hint=_HINT)
    raw = _read(path, schema, sources)
    columns = [_typed(raw[sources[name]], schema, name, path) for name in schema.columns]
    events = pa.table(columns, schema=schema.arrow_schema())
    _refuse_other_units(events[schema.time], path)
    order = pc.sort_indices(events, sort_keys=[(schema.time, "ascending")])
    return events.take(order).combine_chunks()


def _read(path: Path, schema: EventSchema, sources: dict[str, str]) -> pa.Table:
    """The columns of the file that events are made of, as the file types them."""
    if not path.is_file():
        raise Refused(f"there is no data file {path}", hint="give a .parquet, .csv or .jsonl file")
    wanted = list(dict.fromkeys(sources.values()))
    try:
        present = _column_names(path)
        missing = [name for name in wanted if name not in present]
        if missing:
            raise Refused(f"{path} has no column {missing}; it has {sorted(present)}", hint=_HINT)
        return _read_columns(path, wanted, schema, sources)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}", hint=_HINT) from error


def _column_names(path: Path) -> list[str]:
    match path.suffix.lower():
        case ".parquet":
            return list(pq.read_schema(path).names)
        case ".csv":
            return list(pa_csv.open_csv(path).schema.names)
        case ".jsonl" | ".ndjson":
            return list(pa_json.read_json(path).schema.names)
    raise Refused(
        f"{path} is of no known kind: {path.suffix or 'it has no suffix'}",
        hint="give a .parquet, .csv or .jsonl file",
    )


def _read_columns(
    path: Path, wanted: list[str], schema: EventSchema, sources: dict[str, str]
) -> pa.Table:
    match path.suffix.lower():
        case ".parquet":
            return pq.read_table(path, columns=wanted)
        case ".csv":
            types = _types_in_text(schema, sources, lists=pa.string())
            return pa_csv.read_csv(
                path,
                convert_options=pa_csv.ConvertOptions(
                    column_types=types,
                    include_columns=wanted,
                    null_values=[""],  # "NA" and "null" may be names of items
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        case _:
            types = _types_in_text(schema, sources, lists=None)
            return pa_json.read_json(
                path, parse_options=pa_json.ParseOptions(explicit_schema=pa.schema(types))
            )


def _types_in_text(
    schema: EventSchema, sources: dict[str, str], *, lists: pa.DataType | None
) -> dict[str, pa.DataType]:
    """What to read columns as; the reader finds out about instants, and lists without a type."""
    types = {
        source: lists
        if schema.columns[name].startswith("list")
        else schema.arrow_schema().field(name).type
        for name, source in sources.items()
        if schema.columns[name] != "timestamp_ms"
    }
    return {source: kind for source, kind in types.items() if kind is not None}


def _typed(column: pa.ChunkedArray, schema: EventSchema, name: str, path: Path) -> pa.ChunkedArray:
    """A column of the file as the schema wants it. Integers are instants in Unix milliseconds."""
    field = schema.arrow_schema().field(name)
    try:
        typed = _cast(column, field.type)
    except pa.ArrowException as error:
        raise Refused(
            f"column {name!r} of {path} is {column.type}, not {schema.columns[name]}: {error}",
            hint="change `events.columns`, or map another column in `data_file.columns`",
        ) from error
    if not field.nullable and typed.null_count:
        raise Refused(f"{typed.null_count} rows of {path} have no {name}", hint="leave them out")
    return typed


def _refuse_other_units(times: pa.ChunkedArray, path: Path) -> None:
    """Seconds or microseconds taken for milliseconds would lie in 1970 or far ahead."""
    bounds = pc.min_max(times.cast(pa.int64())).as_py()
    if bounds["min"] is None or (bounds["min"] >= EARLIEST_MS and bounds["max"] < LATEST_MS):
        return
    raise Refused(
        f"the times of {path} reach from {bounds['min']} to {bounds['max']} Unix milliseconds, "
        "which is not between 2000 and 2100",
        hint="integers must be milliseconds; or map a column of timestamps in `data_file.columns`",
    )


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(wanted):
        if pa.types.is_integer(column.type):
            return column.cast(pa.int64()).cast(wanted)
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            # Without a zone it is taken as UTC; finer than milliseconds is cut off.
            return column.cast(pa.timestamp("ms"), safe=False).cast(wanted)
        return column.cast(wanted, safe=False)
    if pa.types.is_boolean(wanted) and pa.types.is_integer(column.type):
        return pc.not_equal(column, 0)
    if pa.types.is_list(wanted) and pa.types.is_string(column.type):
        return _list_of_text(column, wanted)
    return column.cast(wanted)


def _list_of_text(column: pa.ChunkedArray, wanted: pa.ListType) -> pa.ChunkedArray:
    """Text such as "12,65" as a list; empty text is an empty list."""
    parts = pc.split_pattern(column, ",")
    empty = pa.scalar([], pa.list_(pa.string()))
    return pc.if_else(pc.equal(column, ""), empty, parts).cast(wanted)

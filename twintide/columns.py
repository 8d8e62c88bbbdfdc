"""What binds a shard: the names and types of its columns, and nothing else of a declaration.

A column that an older shard lacks is null in it; one that is declared no longer is left out. A
column of another type, or one that must be there and is not, is refused, naming both sides. A
column that lay elsewhere in messages goes on, and whoever goes on is told so.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from twintide.errors import Refused
from twintide.events import PATH_KEY, EventSchema
from twintide.shardfile import columns_in, opened, path_of
from twintide.shards import Ledger


@dataclass(frozen=True)
class Changes:
    """How a declaration differs from what a shard holds, where it can go on all the same."""

    added: tuple[str, ...]
    left_out: tuple[str, ...]
    moved: tuple[str, ...] = ()
    """Columns that lie elsewhere in messages than when the shard was made."""


def read_events(path: Path, schema: EventSchema) -> pa.Table:
    """The events of a shard in the schema's `shard_schema()`, page checksums verified.

    Raises Corrupt, and Refused where it cannot be read as declared.
    """
    wanted = schema.shard_schema()
    with opened(path) as shard:
        added = changes(path, shard.columns, schema).added
        held = shard.read([name for name in wanted.names if name not in added])
    columns = []
    for field in wanted:
        if field.name in added:
            columns.append(pa.nulls(len(held), field.type))
            continue
        column = held[field.name]
        if column.null_count and not field.nullable:
            raise Refused(
                f"shard {path} has {column.null_count} rows without {field.name!r}, which must "
                "never be null as events: is declared now",
                hint=f"declare as item and time what they were before, or {_OF_ITS_OWN}",
            )
        columns.append(column)
    return pa.table(columns, schema=wanted)


def changes(path: Path, columns: pa.Schema, schema: EventSchema) -> Changes:
    """Between the columns of a shard and a declaration. Raises Refused where the one cannot go on
    in the other.
    """
    held = dict(zip(columns.names, columns.types, strict=True))
    wanted = schema.shard_schema()
    added = []
    for field in wanted:
        if field.name in held and held[field.name] != field.type:
            raise Refused(
                f"shard {path} holds column {field.name!r} as {held[field.name]}, and events: "
                f"declares it as {_declared(schema, field)}",
                hint="declare it as it was, or the new one under another name (events.paths and "
                f"data_file.columns map it), or {_OF_ITS_OWN}",
            )
        if field.name not in held and not field.nullable:
            raise Refused(
                f"shard {path} lacks column {field.name!r}, which must never be null as events: "
                "is declared now",
                hint=f"declare as item and time what they were before, or {_OF_ITS_OWN}",
            )
        if field.name not in held:
            added.append(field.name)
    return Changes(
        tuple(added),
        tuple(name for name in held if name not in wanted.names),
        tuple(
            name
            for name in wanted.names
            if name in held and _lay_at(columns.field(name)) != _lay_at(wanted.field(name))
        ),
    )


def changes_of_newest(ledger: Ledger, schema: EventSchema) -> Changes:
    """Between the newest shards and a declaration that shall go on behind them: a column that moved
    is told as one that left and one that came. Raises Refused.
    """
    wanted = schema.shard_schema()
    added: dict[str, None] = {}
    left_out: dict[str, None] = {}
    for partition in ledger.partitions():
        newest = ledger.newest(partition)
        if newest is not None:
            path = path_of(ledger.root, newest)
            held = columns_in(path)
            found = changes(path, held, schema)
            added |= dict.fromkeys(found.added)
            left_out |= dict.fromkeys(found.left_out)
            for name in found.moved:
                added[f"{name} (at {_lay_at(wanted.field(name))})"] = None
                left_out[f"{name} (at {_lay_at(held.field(name))})"] = None
    return Changes(tuple(added), tuple(left_out))


_OF_ITS_OWN = "give the new declaration a data_dir of its own, which ingest fills from Kafka"


def _lay_at(field: pa.Field) -> str:
    """Where in messages a shard's column lay."""
    path: bytes = (field.metadata or {}).get(PATH_KEY, field.name.encode())
    return path.decode(errors="replace")


def _declared(schema: EventSchema, field: pa.Field) -> str:
    """In the words of the declaration, where it is a column of the events."""
    return str(schema.columns.get(field.name, field.type))

"""Listings: what a source of items said at one reading, kept as training and publishing use it.

A listing is an immutable folder beside the versions, `listing-000012`; checkpoints and versions
name the one that they were made with. The newest one counts. Where a source cannot be read, or what
it holds is wrong, the newest listing goes on counting, and why is written down for whoever asks.
What an item is called is remembered for a month after it has left the source, since its clicks are
learnt after that.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twintide.arrays import MANIFEST, parse_table, read_verified, write_table
from twintide.clock import Clock
from twintide.errors import Corrupt, Refused, TwintideError
from twintide.events import ARROW_TYPES, ColumnType, EventSchema
from twintide.files import (
    exclusive_lock,
    make_folder,
    mark_used,
    publish_file,
    publish_folder_once,
    remove_file,
    sweep_temporaries,
    write_and_fsync,
)
from twintide.itemfile import ATTRIBUTE, AVAILABLE, ITEM_ID, LISTED_AT, Aside, ItemRows, read
from twintide.itemsource import ItemsConfig
from twintide.keys import distinct, keys_of
from twintide.listed import IS_LISTED, LEFT_AT, LISTING_NAME, Listing, ListingRef
from twintide.modelspec import ModelSpec
from twintide.records import Instant, Record
from twintide.telemetry import get_log

ITEMS = "items.parquet"
REMEMBERED = timedelta(days=30)
"""How long it is known what an item was that has left its source."""

_TROUBLE = "trouble.json"
_INSTANTS = pa.timestamp("ms", tz="UTC")

log = get_log("items")


class Trouble(Record):
    """Why the newest state of a source is not used."""

    since: Instant
    what: str
    hint: str


def items_folder(versions_dir: Path) -> Path:
    """Where listings lie: beside the versions."""
    return versions_dir.with_name(f"{versions_dir.name}.items")


def refreshed(
    root: Path, items: ItemsConfig, events: EventSchema, model: ModelSpec, *, clock: Clock
) -> Listing | None:
    """What the declared source says now, or said last where it cannot be read; None without one.

    Raises Refused or Retryable where it cannot be read and never could.
    """
    if not items.is_declared:
        return None
    if items.file is None:
        last = newest(root, events)
        if last is None:
            raise Refused(
                f"the topic of items, {items.topic}, was not read yet",
                hint="the commands that train and publish read it, and no other stage does",
            )
        return last

    def read_file(before: Listing | None) -> ItemRows | None:
        return read(items, events, model, known=before.ref.source_sha256 if before else None)

    return taken(root, read_file, items, events, clock=clock)


def taken(
    root: Path,
    read: Callable[[Listing | None], ItemRows | None],
    items: ItemsConfig,
    events: EventSchema,
    *,
    clock: Clock,
) -> Listing:
    """What `read` finds, or the newest listing where it fails. It is given that listing, and may
    say None: the same as then.

    Raises what it raises where there is none.
    """
    make_folder(root)
    with exclusive_lock(root / ".lock", who="reading items", wait_seconds=600.0):
        sweep_temporaries(root, older_than_seconds=0)
        before = newest(root, events)
        try:
            rows = read(before)
        except TwintideError as error:
            if before is None:
                raise
            _note(root, error, before.ref.name, clock=clock)
            return before
        remove_file(root / _TROUBLE)
        if rows is not None:
            _write(root, rows, before, complete=items.complete, now=clock.now())
            before = newest(root, events)
    if before is None:
        raise Corrupt(f"the listing that was just made in {root} is damaged")
    mark_used(root / before.ref.name)  # gc leaves it, though nothing names it before this run ends
    return before


def newest(root: Path, events: EventSchema) -> Listing | None:
    """The newest one that is sound; None where there is none."""
    for name in reversed(listing_names(root)):
        try:
            return _opened(root, read_ref(root, name), events)
        except Corrupt as error:
            log.warning("listing_passed_over", listing=name, reason=error.message)
    return None


def open_listing(root: Path, ref: ListingRef | None, events: EventSchema) -> Listing | None:
    """The one that a manifest names; None where it names none. Raises Corrupt where it is not there
    or not as it was.
    """
    if ref is None:
        return None
    if not (root / ref.name).is_dir():
        raise Corrupt(
            f"the items of {ref.name} are not there: {root / ref.name}",
            hint="bring the folder back beside the versions",
        )
    return _opened(root, ref, events)


def trouble(root: Path) -> Trouble | None:
    """Why the newest state of the source is not used; None where it is."""
    try:
        return Trouble.from_json((root / _TROUBLE).read_bytes(), name=str(root / _TROUBLE))
    except (FileNotFoundError, NotADirectoryError):
        return None


def listing_names(root: Path) -> list[str]:
    """Every listing that is there, oldest first."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if LISTING_NAME.match(path.name))


def read_ref(root: Path, name: str) -> ListingRef:
    """The manifest of a listing. Raises Corrupt where it is damaged."""
    path = root / name / MANIFEST
    try:
        ref = ListingRef.from_json(path.read_bytes(), name=str(path))
    except OSError as error:
        raise Corrupt(f"{path} cannot be read: {error.strerror}") from error
    if ref.name != name:
        raise Corrupt(f"{path} describes {ref.name}")
    return ref


def _note(root: Path, error: TwintideError, used: str, *, clock: Clock) -> None:
    before = trouble(root)
    since = before.since if before else clock.now()
    said = Trouble(since=since, what=error.message, hint=error.hint)
    if said != before:
        publish_file(root / _TROUBLE, said.to_json())
    log.warning("items_not_read", why=error.message, hint=error.hint, used=used)


def _write(
    root: Path, rows: ItemRows, before: Listing | None, *, complete: bool, now: datetime
) -> None:
    number = max((int(name[-6:]) for name in listing_names(root)), default=0) + 1
    name = f"listing-{number:06d}"
    table = _with_remembered(_listed(rows.table), before, rows.aside, now=now)
    listed = table[IS_LISTED]
    with publish_folder_once(root / name) as folder:
        ref = ListingRef(
            name=name,
            source_sha256=rows.sha256,
            read_at=now,
            complete=complete,
            attributes=dict(_attributes_in(rows.table)),
            listed=_count(listed),
            unavailable=_count(pc.and_(listed, pc.invert(table[AVAILABLE]))),
            remembered=_count(pc.invert(listed)),
            unread=rows.aside.count if rows.aside else 0,
            files=write_table(folder, ITEMS, table),
        )
        write_and_fsync(folder / MANIFEST, ref.to_json())
    log.info(
        "items_read",
        listing=name,
        listed=ref.listed,
        unavailable=ref.unavailable,
        remembered=ref.remembered,
        unread=ref.unread,
    )


def _count(truths: pa.ChunkedArray) -> int:
    return int(pc.sum(truths.cast(pa.int64())).as_py() or 0)


def _attributes_in(table: pa.Table) -> Iterator[tuple[str, ColumnType]]:
    kinds = {kind: name for name, kind in ARROW_TYPES.items()}
    for field in table.schema:
        if field.name.startswith(ATTRIBUTE):
            yield field.name.removeprefix(ATTRIBUTE), kinds[field.type]  # type: ignore[misc]


def _listed(given: pa.Table) -> pa.Table:
    """What a source says, with what stands for what it leaves out."""
    rows = len(given)
    true = pa.repeat(pa.scalar(value=True), rows)
    available = pc.fill_null(given[AVAILABLE], true[0]) if AVAILABLE in given.schema.names else true
    listed_at = given[LISTED_AT] if LISTED_AT in given.schema.names else pa.nulls(rows, _INSTANTS)
    attributes = {name: given[name] for name in given.column_names if name.startswith(ATTRIBUTE)}
    return pa.table(
        {
            ITEM_ID: given[ITEM_ID],
            AVAILABLE: available,
            IS_LISTED: true,
            LISTED_AT: listed_at,
            LEFT_AT: pa.nulls(rows, _INSTANTS),
        }
        | attributes
    )


def _with_remembered(
    listed: pa.Table, before: Listing | None, aside: Aside | None, *, now: datetime
) -> pa.Table:
    """With what is known of items that are not listed any more, or cannot be read."""
    parts, is_told = [listed], keys_of(listed[ITEM_ID])
    if before is not None:
        others = before.table.filter(pa.array(~np.isin(before.keys, is_told)))
        parts += _before(_as_now(others, listed.schema), aside, now=now)
        is_told = np.concatenate((is_told, before.keys))
    if aside is not None:
        ids = aside.delisted.filter(pa.array(~np.isin(keys_of(aside.delisted), is_told)))
        never_known = _as_now(pa.table({ITEM_ID: ids}), listed.schema)
        parts.append(_gone(never_known, now=now, is_delisted=True))
    return pa.concat_tables(parts).combine_chunks()


def _before(others: pa.Table, aside: Aside | None, *, now: datetime) -> Iterator[pa.Table]:
    """Items that are not told now: those that cannot be read, as they were; the others as gone."""
    if aside is not None:
        is_unread = pa.array(np.isin(keys_of(others[ITEM_ID]), keys_of(aside.unread)))
        yield others.filter(is_unread)
        others = others.filter(pc.invert(is_unread))
    gone = _gone(others, now=now, is_delisted=aside is not None)
    is_recent = pc.greater(gone[LEFT_AT], pa.scalar(now - REMEMBERED, _INSTANTS))
    # What was not to be had when it left must not come back, however long ago that was.
    yield gone.filter(pc.or_(is_recent, pc.invert(gone[AVAILABLE])))


def _gone(rows: pa.Table, *, now: datetime, is_delisted: bool) -> pa.Table:
    """Rows as of items that have left the source."""
    false = pa.repeat(pa.scalar(value=False), len(rows))
    changed = {
        IS_LISTED: false,
        AVAILABLE: false if is_delisted else rows[AVAILABLE],
        LEFT_AT: pc.fill_null(rows[LEFT_AT], pa.scalar(now, _INSTANTS)),
    }
    return pa.table({name: changed.get(name, rows[name]) for name in rows.column_names})


def _as_now(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns of this reading; null where they have none of that name and type."""
    return pa.table(
        {
            field.name: rows[field.name] if _has(rows, field) else pa.nulls(len(rows), field.type)
            for field in schema
        }
    )


def _has(table: pa.Table, field: pa.Field) -> bool:
    at = table.schema.get_field_index(field.name)
    return bool(at >= 0 and table.schema.field(at).type == field.type)


def _opened(root: Path, ref: ListingRef, events: EventSchema) -> Listing:
    table = parse_table(read_verified(root / ref.name, ref.files), ITEMS)
    wanted = dict.fromkeys((AVAILABLE, IS_LISTED), pa.bool_())
    wanted |= dict.fromkeys((LISTED_AT, LEFT_AT), _INSTANTS)
    wanted |= {ATTRIBUTE + name: ARROW_TYPES[kind] for name, kind in ref.attributes.items()}
    held = dict(zip(table.schema.names, table.schema.types, strict=True))
    kind = held.pop(ITEM_ID, None)
    if held != wanted or kind != ARROW_TYPES[events.columns[events.item]]:
        raise Corrupt(f"{root / ref.name / ITEMS} does not hold the columns that it must")
    never_null = (ITEM_ID, AVAILABLE, IS_LISTED)
    if any(table[name].null_count for name in never_null) or not len(table):
        raise Corrupt(f"{root / ref.name / ITEMS} holds a null where none may be, or nothing")
    keys = keys_of(table[ITEM_ID])
    if len(distinct(keys)) != len(keys):
        raise Corrupt(f"{root / ref.name / ITEMS} holds an item twice")
    return Listing(ref, table, keys, events)

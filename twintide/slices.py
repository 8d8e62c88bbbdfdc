"""The slice format: what a learner reads.

A slice is one Parquet file: the clicks of the newest shards of one hour, and other events from
which an objective learns, by unit (the minute that all partitions are in) and event time, with
every feature encoded as of the event's own time. Slices form one chain, numbered from 1; the number
is the lock, since a slice is published where nobody has published yet. All of a slice belongs to
one training day.

What slices hold depends on a declaration, so each has a folder of its own below `slices/`, named by
a fingerprint of what they depend on. Another declaration makes its slices from the same shards.
"""

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, model_validator

from twintide import __version__
from twintide.errors import Corrupt, words_of
from twintide.events import EventSchema
from twintide.files import publish_file_once
from twintide.modelspec import ModelSpec
from twintide.positions import reaches
from twintide.records import Day, Instant, Offset, Position, Record
from twintide.rowgroups import DAMAGED

FOOTER_KEY = b"twintide.slice"
EVENT_TIME = "event_at"
ITEM_ID = "item_id"
USER_KEY = "user"
ITEM_KEY = "item"
PARTITION = "kafka_partition"
OFFSET = "kafka_offset"
HARD = "hard_negatives"
"""Keys of the items that are negatives of this row for certain, where the model says so."""

UNIT = "unit_at"
"""When the unit of the event begins: the minute of its shard."""

IS_CLICK = "is_click"
"""Whether the row is a click: only clicks make histories and counts, and only they are scored."""

_OF_MEMORIES = (PARTITION, OFFSET, UNIT, EVENT_TIME, USER_KEY, ITEM_KEY)

REMEMBERED = "remembered."
"""Behind it the name of a memory: whether the event is of those that it remembers."""

_NAME = re.compile(r"^(\d{8})\.parquet$")
_FINGERPRINT = re.compile(r"^[0-9a-f]{16}$")


Ends = dict[int, tuple[int, datetime]]
"""Partition -> next offset to slice and newest unit that is sliced."""


def offsets_of(ends: Ends) -> Position:
    """Without the units."""
    return {partition: next_ for partition, (next_, _) in ends.items()}


class SliceFooter(Record):
    """Key-value metadata of the Parquet file, under `twintide.slice`."""

    format: Literal[3] = 3
    sequence: int
    day: Day
    """The training day whose nightly epoch learns these rows."""

    hour_at: Instant
    """The hour that the shards belong to."""

    until: Instant
    """Every unit read ends by this instant."""

    ranges: dict[int, tuple[Offset, Offset]]
    """Partition -> offset range [first, next) that was read."""

    units: dict[int, Instant]
    """Partition -> the newest unit of it that was read."""

    ends: dict[int, tuple[Offset, Instant]] | None = None
    """Partition -> where the chain stands behind it: next offset and newest unit, of each partition
    that the chain has ever read. So nobody has to read a chain from its start. None: an older
    program made it.
    """

    events: int
    """Rows of the shards."""

    rows: int
    """Of these, the rows of the slice: clicks, and positives of other objectives."""

    remembered: Annotated[int, Field(ge=0)] = 0
    """Rows behind these, of events that histories are made of and nothing is learnt from."""

    newest_event_at: Instant | None
    """Event time of the newest click; None where there is none."""

    fingerprint: str
    """Of what its rows depend on, as `fingerprint_of` has it; also the name of its folder."""

    code_version: str = __version__

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if set(self.units) != set(self.ranges):
            raise ValueError("its units and its ranges are of different partitions")
        if any(first >= next_ for first, next_ in self.ranges.values()):
            raise ValueError("one of its ranges of offsets is none")
        return self


@dataclass(frozen=True)
class Contents:
    """What a slice holds, or the part of it behind a position."""

    rows: pa.Table
    """What is learnt."""

    remembered: pa.Table | None = None
    """Events that histories are made of which are none of clicks: keys, times, and for each memory
    whether it remembers the event. None where there is no such memory.
    """


@dataclass(frozen=True)
class Slice:
    """A slice whose footer was read."""

    path: Path
    footer: SliceFooter

    @property
    def name(self) -> str:
        """Its number, as it stands in the file's name."""
        return f"{self.footer.sequence:08d}"

    def read(self, *, after: Position | None = None) -> pa.Table:
        """The rows, page checksums verified; those at or behind a position, where one is given.

        Raises Corrupt.
        """
        return self.contents(after=after).rows

    def contents(self, *, after: Position | None = None, until: Position | None = None) -> Contents:
        """All that it holds, or what lies at or behind one position, or before another, read in one
        go. Raises Corrupt.
        """
        table = self._table()
        memories = [name for name in table.column_names if name.startswith(REMEMBERED)]
        rows = table.slice(0, self.footer.rows).drop_columns(memories)
        remembered = table.slice(self.footer.rows)
        if after is not None:
            rows, remembered = self.behind(after, rows), self.behind(after, remembered)
        if until is not None:
            rows, remembered = self.before(until, rows), self.before(until, remembered)
        if not memories:
            return Contents(rows)
        return Contents(rows, remembered.select([*_OF_MEMORIES, *memories]))

    def _table(self) -> pa.Table:
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                table = file.read()
        except DAMAGED as error:
            raise self._damaged(words_of(error)) from error
        names = set(table.column_names)
        remembers = any(name.startswith(REMEMBERED) for name in names)
        if not {PARTITION, OFFSET, IS_CLICK, *(_OF_MEMORIES if remembers else ())} <= names:
            raise self._damaged("it lacks columns that each slice has")
        return table

    def _damaged(self, why: str) -> Corrupt:
        return Corrupt(
            f"slice {self.path} is damaged: {why}",
            hint="remove it and all later ones: the next run makes them anew from the shards",
        )

    def behind(self, position: Position, rows: pa.Table) -> pa.Table:
        """Those of its rows that a checkpoint at that position has not learnt."""
        return rows.filter(self._is_behind(rows, position))

    def before(self, position: Position, rows: pa.Table) -> pa.Table:
        """Those of its rows that a checkpoint at that position has learnt."""
        return rows.filter(pc.invert(self._is_behind(rows, position)))

    def _is_behind(self, rows: pa.Table, position: Position) -> pa.ChunkedArray:
        """Which rows a checkpoint at `position` has not learnt."""
        next_ = pa.array([position.get(each, 0) for each in self.footer.ranges], pa.int64())
        partitions = pa.array(list(self.footer.ranges), rows.schema.field(PARTITION).type)
        return pc.greater_equal(
            rows[OFFSET], next_.take(pc.index_in(rows[PARTITION], partitions).combine_chunks())
        )

    @property
    def came_to(self) -> Ends:
        """Of each partition that it has read."""
        own = self.footer
        return {each: (next_, own.units[each]) for each, (_, next_) in own.ranges.items()}

    def is_covered_by(self, position: Position) -> bool:
        """Whether a checkpoint at `position` has learnt all of it."""
        behind = {partition: next_ for partition, (_, next_) in self.footer.ranges.items()}
        return reaches(position, behind)

    def begins_before(self, position: Position) -> bool:
        """Whether a checkpoint at `position` has learnt any of it."""
        return any(
            first < position.get(partition, 0)
            for partition, (first, _) in self.footer.ranges.items()
        )


@dataclass(frozen=True)
class Tail:
    """The newest slices of a chain, all those among them that a position has not covered."""

    before: int
    """Number of the slice before the first of these; 0 where that is the first of all."""

    starts: Ends | None
    """Where the chain stood there; None where older slices, which nobody said it of, are gone."""

    slices: list[Slice]
    """Oldest first."""

    in_all: int
    """How many slices of the chain are there, with those before."""

    @property
    def ends(self) -> Ends:
        """Where the chain ends. Raises Corrupt where too much of it is gone to tell."""
        if self.starts is None:
            raise self.cut_off()
        found = dict(self.starts)
        for each in self.slices:
            found |= each.came_to
        return found

    def cut_off(self) -> Corrupt:
        """What is wrong where slices are needed that are gone."""
        root = self.slices[0].path.parents[1]
        return Corrupt(
            f"the slices below {root} begin with {self.slices[0].name}, and what was learnt does "
            "not reach so far",
            hint="remove that folder: the next run makes slices anew from the shards, where these "
            "are still there",
        )


def fingerprint_of(events: EventSchema, model: ModelSpec) -> str:
    """16 hex digits that change when anything does that rows of slices depend on: a feature, a
    role, what is a click or a positive and what it counts, the type of a column that one of these
    reads. A column that nothing reads changes nothing, nor does how messages write: where a column
    lies in them, what times look like. Shards hold the values.
    """
    as_written = {"columns", "paths", "times", "time_zone"}
    roles = events.model_dump(mode="json", exclude=as_written)
    columns = {name: events.columns[name] for name in columns_read(events, model)}
    objectives = {
        name: each.binds() | {"scenario": scenario and scenario.model_dump(mode="json")}
        for name, each in model.every_objective().items()
        for scenario in [model.scenario_of(each)]
    }
    parts = [
        SliceFooter.model_fields["format"].default,
        model.features_identity(),
        objectives,
        roles,
        columns,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def columns_read(events: EventSchema, model: ModelSpec) -> list[str]:
    """The event columns that learning depends on."""
    read = {*model.columns_read("query"), *model.columns_read("candidate")}
    read |= {events.user, events.item, events.time}
    read |= {events.positive.column} if events.positive else set()
    read |= {memory.of.column for memory in model.memories().values() if memory.of}
    for objective in model.every_objective().values():
        scenario = model.scenario_of(objective)
        read |= objective.columns_read() | ({scenario.column} if scenario else set())
    if hard := model.hard():
        read |= set(hard.from_columns)
    return [name for name in sorted(events.columns) if name in read]


def chain_dir(root: Path, events: EventSchema, model: ModelSpec) -> Path:
    """Where below `slices/` the chain of a declaration lies."""
    return root / fingerprint_of(events, model)


def chain_dirs(root: Path) -> list[Path]:
    """The chains of all declarations."""
    return sorted(path for path in root.glob("*") if _FINGERPRINT.match(path.name))


def slice_path(root: Path, *, day: date, sequence: int) -> Path:
    """Where slice number `sequence` of a day goes."""
    return root / f"day={day.isoformat()}" / f"{sequence:08d}.parquet"


def publish_slice(
    root: Path, footer: SliceFooter, rows: pa.Table, remembered: pa.Table | None = None
) -> Slice:
    """Make the next slice of the chain visible. FileExistsError: another run has made it."""
    path = slice_path(root, day=footer.day, sequence=footer.sequence)
    sink = pa.BufferOutputStream()
    if remembered is not None:
        rows = pa.concat_tables([rows, remembered], promote_options="default")
    pq.write_table(
        rows.replace_schema_metadata({FOOTER_KEY: footer.model_dump_json().encode()}),
        sink,
        compression="zstd",
        compression_level=1,
        write_page_checksum=True,
    )
    publish_file_once(path, sink.getvalue().to_pybytes())
    return Slice(path, footer)


def read_slice(path: Path) -> Slice:
    """Its footer. Raises Corrupt where the file is not what its name says."""
    try:
        stat = path.stat()
    except OSError as error:
        raise Corrupt(f"slice {path} cannot be read: {words_of(error)}") from error
    return _read_slice(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=100_000)
def _read_slice(path: Path, _changed_ns: int, _bytes: int) -> Slice:
    """A chain is read by every run, and a slice never changes: each footer is parsed once."""
    try:
        metadata = pq.read_metadata(path)
    except DAMAGED as error:
        raise Corrupt(f"slice {path} cannot be read: {words_of(error)}") from error
    footer = SliceFooter.from_json(
        (metadata.metadata or {}).get(FOOTER_KEY, b""), name=f"the footer of slice {path}"
    )
    rows = footer.rows + footer.remembered
    if f"{footer.sequence:08d}" != path.stem or metadata.num_rows != rows:
        raise Corrupt(f"slice {path} is not the one that its footer describes")
    return Slice(path, footer)


def is_of_another_format(path: Path) -> bool:
    """Whether another program made it, in a folder of its own, which nobody reads any more."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
        said = json.loads(metadata.get(FOOTER_KEY, b"{}"))
    except (*DAMAGED, ValueError):
        return False
    own = SliceFooter.model_fields["format"].default
    return isinstance(said, dict) and said.get("format", own) != own


def all_paths(root: Path, *, after: int = 0) -> list[Path]:
    """Every file of a chain with a number above `after`, by number, whatever is in it."""
    found = []
    # Newest day first, while gc removes the oldest slice first: so nobody sees a gap meanwhile.
    for day in sorted(root.glob("day=*"), reverse=True):
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(day) as entries:
            found += [(each.name, day) for each in entries if _NAME.match(each.name)]
    return [day / name for name, day in sorted(found) if int(name[:8]) > after]


def chain_paths(root: Path, *, after: int = 0) -> list[Path]:
    """The same. Raises Corrupt where a number is missing, or is there twice; the first ones may be
    gone, where nobody needs them any more.
    """
    found = all_paths(root, after=after)
    first = after + 1 if after or not found else int(found[0].stem)
    for expected, path in enumerate(found, start=first):
        if int(path.stem) != expected:
            wrong = "is there twice" if int(path.stem) < expected else f"follows {expected - 1:08d}"
            raise Corrupt(
                f"the slices below {root} are not numbered without a gap: {path.stem} {wrong}",
                hint="remove it and all later ones: the next run makes them anew from the shards",
            )
    return found


def read_tail(root: Path, position: Position) -> Tail:
    """What a checkpoint at `position` has not learnt of a chain, and where the chain stood before
    that; its cost follows that, not the chain. Raises Corrupt as `read_chain` does.
    """
    paths = chain_paths(root)
    found: list[Slice] = []
    for path in reversed(paths):
        each = read_slice(path)
        ends = each.footer.ends
        if ends and reaches(position, offsets_of(ends)):
            return Tail(each.footer.sequence, dict(ends), found[::-1], len(paths))
        found.append(each)
    before = int(paths[0].stem) - 1 if paths else 0
    return Tail(before, None if before else {}, found[::-1], len(paths))


def goes_on(root: Path, *, after: int) -> bool:
    """Whether a chain has a slice with the number behind that one."""
    return next(root.glob(f"day=*/{after + 1:08d}.parquet"), None) is not None


def read_chain(root: Path, *, after: int = 0) -> list[Slice]:
    """All slices with a number above `after`, in order. Raises Corrupt where one is missing, there
    twice, or not what its name says.
    """
    return [read_slice(path) for path in chain_paths(root, after=after)]

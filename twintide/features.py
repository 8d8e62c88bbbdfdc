"""Features: what each tower sees, declared in YAML, and how an event's columns become its inputs.

    declared    ModelSpec
    -> encoded  `encode`: an event, a catalogue row or a request
    -> pooled   twintide.model

Two features depend on what happened before an event and not on the event alone: `history` and
`item_statistics`. The trainer's ordered pass writes those; the others are encoded here.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from twintide.clock import from_unix_ms
from twintide.events import EventSchema, ZoneName
from twintide.keys import Keys, keys_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must begin with a letter and hold up to 64 letters, digits, _ and -, "
            "since it becomes part of file names"
        )
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
"""It becomes part of file and column names."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Sparse(_Declared):
    """One id, looked up in an embedding table; an unknown or missing id is its default row."""

    kind: Literal["sparse"]
    name: Name
    """What it is called in slices; once in each tower."""

    column: str
    """Column of the event, string, int64 or bool."""

    table: Name
    """The embedding table; features of one table share its rows."""


class Varlen(_Declared):
    """A list of ids, pooled; an empty list is the zero vector."""

    kind: Literal["varlen"]
    name: Name
    """What it is called in slices; once in each tower."""

    column: str
    """Column of the event, list<string> or list<int64>."""

    table: Name
    """The embedding table; features of one table share its rows."""

    pooling: Literal["mean", "sum"] = "mean"
    """What becomes of several rows."""


LARGEST = 1e4
"""Scaled numbers are cut here: one absurd value must not stop a line for good."""


class Dense(_Declared):
    """A number, scaled by a declared transform and cut at ±10,000; a missing one is 0."""

    kind: Literal["dense"]
    name: Name
    """What it is called in slices; once in each tower."""

    column: str
    """Column of the event, int64, float64 or bool."""

    transform: Literal["none", "log1p"] = "none"
    """`log1p` takes sign(x) · log(1 + |x|), for prices, counts and lengths."""

    divided_by: Annotated[float, Field(ge=1e-6, le=1e18)] = 1.0
    """Brings it, once transformed, to about -1..1."""


class HourOfDay(_Declared):
    """The hour of the event, 0 to 23, as an id: tastes change between morning, noon and evening."""

    kind: Literal["hour_of_day"]
    name: Name
    """What it is called in slices; once in each tower."""

    table: Name
    """The embedding table; features of one table share its rows."""

    time_zone: ZoneName = "UTC"
    """Of the users whose hour it is."""


class History(_Declared):
    """The items that the user clicked last, before this event, pooled; derived from the stream."""

    kind: Literal["history"]
    name: Name
    """What it is called in slices; once in each tower."""

    table: Name
    """The embedding table; features of one table share its rows."""

    length: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Items that are remembered of each user."""

    pooling: Literal["mean", "sum"] = "mean"
    """What becomes of several rows."""


LOG_SHARE_SCALE = 3.0
"""What log shares are divided by, to bring them to about 0..2."""


MINUTES_OF_A_WEEK = 7 * 24 * 60
MINUTES_OF_A_YEAR = 366 * 24 * 60
WindowMinutes = Annotated[int, Field(ge=1, le=MINUTES_OF_A_YEAR)]


class ItemStatistics(_Declared):
    """How the item fares: log share of all clicks in each window, trend, age; derived from the
    stream.

    They are as of the start of the event's `refresh_minutes`, since that is what a server has.
    """

    kind: Literal["item_statistics"]
    name: Name
    """What it is called in slices."""

    windows_minutes: Annotated[tuple[WindowMinutes, ...], Field(min_length=1, max_length=16)] = (
        10,
        60,
        180,
        1440,
    )
    """How far back each share of clicks looks; the trend is the first less the last."""

    refresh_minutes: Annotated[int, Field(ge=1, le=MINUTES_OF_A_WEEK)] = 60
    """How often a version brings new statistics: 60 with hourly passes, 1440 without."""

    refresh_offset_minutes: Annotated[int, Field(ge=0, le=MINUTES_OF_A_WEEK)] = 0
    """Where the grid of refreshes begins, in minutes after midnight UTC."""

    @property
    def width(self) -> int:
        """Numbers that it gives for one item."""
        return len(self.windows_minutes) + 3


Feature = Annotated[
    Sparse | Varlen | Dense | HourOfDay | History | ItemStatistics, Field(discriminator="kind")
]
Looked = (Sparse, Varlen, HourOfDay, History)
"""Kinds that read an embedding table."""

Side = Literal["query", "candidate"]
SIDES: tuple[Side, Side] = ("query", "candidate")
LayerWidth = Annotated[int, Field(ge=16, le=16_384)]
"""In a narrower layer all units may die at once, and every item gets the same vector."""


class ModelSpec(_Declared):
    """A two-tower model: its features, its tables, its towers, its loss."""

    embedding_width: Annotated[int, Field(ge=4, le=1024)] = 64
    """Numbers in one row of a table."""

    query: Annotated[tuple[Feature, ...], Field(min_length=1)]
    """What the query tower sees: the user and the moment."""

    candidate: Annotated[tuple[Feature, ...], Field(min_length=1)]
    """What the candidate tower sees: the item. One sparse feature reads the item's id."""

    hidden: Annotated[tuple[LayerWidth, ...], Field(max_length=16)] = (256, 128)
    """Widths of the hidden layers of both towers."""

    output_width: Annotated[int, Field(ge=8, le=1024)] = 64
    """Numbers in one vector of the index."""

    temperature: Annotated[float, Field(ge=0.001, le=100)] = 0.05
    """What cosines are divided by; learnt from here on by the nightly retrain."""

    popularity_bias: bool = True
    """Add a learnt number per item to the score: on news-like streams popularity is signal."""

    logq: bool = True
    """Correct the sampled softmax for how often an item is drawn as a candidate."""

    def features(self, side: Side) -> tuple[Feature, ...]:
        """What the tower of that side sees, in the order of its inputs."""
        return self.query if side == "query" else self.candidate

    def table_names(self, side: Side) -> tuple[str, ...]:
        """Tables that a side reads, in order of first use."""
        return tuple(dict.fromkeys(f.table for f in self.features(side) if isinstance(f, Looked)))

    def all_table_names(self) -> tuple[str, ...]:
        """Tables that either side reads, in order of first use."""
        return tuple(dict.fromkeys((*self.table_names("query"), *self.table_names("candidate"))))

    def id_tables(self, events: EventSchema) -> tuple[str, ...]:
        """Tables looked up by user or item id: all that an hourly pass may change."""
        return tuple(
            dict.fromkeys(
                feature.table
                for feature in (*self.query, *self.candidate)
                if isinstance(feature, History)
                or (isinstance(feature, Sparse) and feature.column in {events.user, events.item})
            )
        )

    def item_table(self, events: EventSchema) -> str:
        """The table of the candidate's item id: it has a row for every item of the catalogue."""
        return next(
            f.table for f in self.candidate if isinstance(f, Sparse) and f.column == events.item
        )

    def history(self) -> History | None:
        """The history feature, where the model declares one."""
        return next((f for f in self.query if isinstance(f, History)), None)

    def item_statistics(self) -> ItemStatistics | None:
        """The item statistics, where the model declares them."""
        return next((f for f in self.candidate if isinstance(f, ItemStatistics)), None)


@dataclass(frozen=True)
class Ids:
    """An id feature of B rows: row i holds keys[offsets[i]:offsets[i + 1]]."""

    keys: Keys
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: npt.NDArray[np.int64]) -> "Ids":
        """The rows with these numbers, in this order."""
        return Ids.of_ranges(self.keys, self.offsets[rows], self.offsets[rows + 1])

    @classmethod
    def of_ranges(
        cls, keys: Keys, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
    ) -> "Ids":
        """Row i holds keys[begin[i]:end[i]]."""
        lengths = end - begin
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return cls(keys[np.repeat(begin, lengths) + within], offsets)


@dataclass(frozen=True)
class Numbers:
    """A number feature of B rows, float32 [B, width]."""

    values: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: npt.NDArray[np.int64]) -> "Numbers":
        """The rows with these numbers, in this order."""
        return Numbers(self.values[rows])


Encoded = dict[str, Ids | Numbers]
"""Feature name -> its rows: what a tower is given."""


def take(encoded: Encoded, rows: npt.NDArray[np.int64]) -> Encoded:
    """The rows with these numbers, in this order."""
    return {name: feature.take(rows) for name, feature in encoded.items()}


def joined(first: Encoded, second: Encoded) -> Encoded:
    """The rows of both, one after the other; both hold the same features."""
    return {name: _joined(rows, second[name]) for name, rows in first.items()}


def _joined(first: Ids | Numbers, second: Ids | Numbers) -> Ids | Numbers:
    if isinstance(first, Ids) and isinstance(second, Ids):
        offsets = np.concatenate((first.offsets, second.offsets[1:] + first.offsets[-1]))
        return Ids(np.concatenate((first.keys, second.keys)), offsets)
    if isinstance(first, Numbers) and isinstance(second, Numbers):
        return Numbers(np.concatenate((first.values, second.values)))
    raise TypeError("ids and numbers cannot be joined")


def encode(events: pa.Table, features: tuple[Feature, ...], *, time_column: str) -> Encoded:
    """The features that an event's own columns give; history and item statistics are left out."""
    encoded: Encoded = {}
    for feature in features:
        match feature:
            case Sparse():
                encoded[feature.name] = one_id_each(keys_of(events[feature.column]))
            case Varlen():
                encoded[feature.name] = lists_of_ids(events[feature.column])
            case Dense():
                encoded[feature.name] = Numbers(_scaled(events[feature.column], feature)[:, None])
            case HourOfDay():
                hours = local_hours(events[time_column], ZoneInfo(feature.time_zone))
                encoded[feature.name] = one_id_each(keys_of(pa.array(hours)))
            case History() | ItemStatistics():
                continue
    return encoded


def local_hours(instants: pa.ChunkedArray, zone: ZoneInfo) -> npt.NDArray[np.int64]:
    """The hour of each instant in that zone, 0 to 23.

    Arrow has a list of zones of its own, which knows other names and may be missing where Python's
    is not. No zone has changed its clocks within a quarter of an hour since the year 2000.
    """
    quarters, which = np.unique(
        np.asarray(instants.cast(pa.int64())) // _QUARTER_MS, return_inverse=True
    )
    hours = [from_unix_ms(int(each) * _QUARTER_MS).astimezone(zone).hour for each in quarters]
    return np.array(hours, np.int64)[which]


_QUARTER_MS = 15 * 60 * 1000


def one_id_each(keys: Keys) -> Ids:
    """A feature whose row i holds exactly keys[i]."""
    return Ids(keys, np.arange(len(keys) + 1))


def lists_of_ids(lists: pa.ChunkedArray) -> Ids:
    """A list column; a null list is an empty one, a null inside a list is dropped."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    keys = keys_of(array.flatten())
    lengths = (
        pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    return drop_missing(Ids(keys, np.concatenate(([0], np.cumsum(lengths)))))


def drop_missing(ids: Ids) -> Ids:
    """Without key 0, which would pool the default row into a list."""
    present = ids.keys != 0
    if present.all():
        return ids
    kept_before = np.concatenate(([0], np.cumsum(present)))
    return Ids(ids.keys[present], kept_before[ids.offsets])


def _scaled(column: pa.ChunkedArray, feature: Dense) -> npt.NDArray[np.float32]:
    exact_or_near = column.cast(pa.float64(), safe=False)  # whole numbers beyond 2^53 are rounded
    numbers = pc.fill_null(exact_or_near, 0.0).to_numpy()
    numbers = np.nan_to_num(numbers, posinf=0.0, neginf=0.0)
    if feature.transform == "log1p":
        numbers = np.sign(numbers) * np.log1p(np.abs(numbers))
    with np.errstate(over="ignore"):  # infinity is cut as well
        cut = np.clip(numbers / feature.divided_by, -LARGEST, LARGEST)
    return np.asarray(cut, np.float32)


def column_name(side: Side, feature_name: str) -> str:
    """How a feature's column is called in slices and catalogues."""
    return f"{side}.{feature_name}"


def to_columns(encoded: Encoded, features: tuple[Feature, ...], side: Side) -> dict[str, pa.Array]:
    """Encoded features as Arrow columns: uint64, list<uint64> or fixed-size lists of float32."""
    columns: dict[str, pa.Array] = {}
    for feature in features:
        rows = encoded[feature.name]
        if isinstance(rows, Numbers):
            width = rows.values.shape[1]
            flat = pa.array(np.ascontiguousarray(rows.values, np.float32).reshape(-1))
            array: pa.Array = pa.FixedSizeListArray.from_arrays(flat, width)
        elif isinstance(feature, Sparse | HourOfDay):
            array = pa.array(rows.keys)
        else:
            array = pa.LargeListArray.from_arrays(pa.array(rows.offsets), pa.array(rows.keys))
        columns[column_name(side, feature.name)] = array
    return columns


def from_columns(table: pa.Table, features: tuple[Feature, ...], side: Side) -> Encoded:
    """What `to_columns` wrote."""
    encoded: Encoded = {}
    for feature in features:
        array = table[column_name(side, feature.name)].combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks else pa.array([], array.type)
        if isinstance(feature, Dense | ItemStatistics):
            width = array.type.list_size
            encoded[feature.name] = Numbers(array.flatten().to_numpy().reshape(-1, width))
        elif isinstance(feature, Sparse | HourOfDay):
            encoded[feature.name] = one_id_each(array.to_numpy())
        else:
            offsets = array.offsets.to_numpy().astype(np.int64)
            encoded[feature.name] = Ids(
                array.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]
            )
    return encoded

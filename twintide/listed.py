"""What a listing says of items: which there are, which can be had, and what each of them is.

One rule, for the clicks that are learnt and for the items that are indexed: an attribute is what
the listing says, and where it says nothing, what clicks said last. So both towers see an item at
training as the index has it.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from twintide.arrays import Files
from twintide.errors import Refused
from twintide.events import ARROW_TYPES, ColumnType, EventSchema
from twintide.features import Feature
from twintide.features.columns import encode
from twintide.features.item_statistics import ItemStatistics
from twintide.itemfile import ATTRIBUTE, AVAILABLE, ITEM_ID, LISTED_AT
from twintide.keys import Keys, places_of
from twintide.ragged import Encoded, Ids, Numbers, joined, take
from twintide.records import Instant, Record

IS_LISTED = "is_listed"
"""Whether an item was in the source at the reading, and is not only remembered."""

LEFT_AT = "left_at"
"""When it was first seen that an item has left the source."""

LISTING_NAME = re.compile(r"^listing-[0-9]{6}$")

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class ListingRef(Record):
    """A listing, as checkpoints and versions name it; also its own manifest.json."""

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=LISTING_NAME.pattern)]
    source_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of what it was made from, and of how that was read."""

    read_at: Instant
    complete: bool
    """Whether what it does not list is no item any more."""

    attributes: dict[str, ColumnType]
    """Event columns that it fills, with their types."""

    listed: int
    """Items in the source, available or not."""

    unavailable: int
    """Those of them that are not available."""

    remembered: int
    """Items that have left the source."""

    unread: int = 0
    """Messages of a topic that could not be read: of their items stays what was said before."""

    files: Files


@dataclass(frozen=True)
class Listing:
    """An open listing."""

    ref: ListingRef
    table: pa.Table
    """M rows: `item_id`, `available`, `is_listed`, `listed_at`, `left_at`, `attribute.<column>`."""

    keys: Keys
    """[M], distinct."""

    events: EventSchema

    def seen_by(self, events: EventSchema) -> "Listing":
        """The same, for a model of these events. Raises Refused where ids would never meet."""
        kind = events.columns[events.item]
        if self.table.schema.field(ITEM_ID).type != ARROW_TYPES[kind]:
            raise Refused(
                f"the ids of {self.ref.name} are {self.table.schema.field(ITEM_ID).type}, and the "
                f"model was trained on items whose ids are {kind}",
                hint="declare the item's column as it was, or train with the one that holds now",
            )
        return replace(self, events=events)

    def rows_of(self, keys: Keys) -> Ints:
        """int64 [n]: the row of each item, -1 for one that it knows nothing of."""
        ascending, order = self._places
        places, is_known = places_of(keys, ascending)
        return np.where(is_known, order[places], -1)

    def may_be_answered(self, keys: Keys) -> Bools:
        """[n]: which items are not delisted."""
        rows = self.rows_of(keys)
        allowed = self._flags(AVAILABLE)
        if self.ref.complete:
            allowed = allowed & self._flags(IS_LISTED)
        found: Bools = np.where(rows >= 0, allowed[rows], not self.ref.complete)
        return found

    def unclicked(self, clicked: Keys) -> Ints:
        """Rows of items that can be had and that are not among those `clicked`."""
        to_be_had = self._flags(IS_LISTED) & self._flags(AVAILABLE)
        return np.flatnonzero(to_be_had & ~np.isin(self.keys, clicked))

    def ids_of(self, rows: Ints) -> pa.Array:
        """The item ids of some of its rows."""
        return self.table[ITEM_ID].combine_chunks().take(pa.array(rows))

    def encoded(self, features: tuple[Feature, ...], rows: Ints, *, at_ms: int) -> Encoded:
        """Candidate features of items that nobody has clicked, as of that instant."""
        moments = np.full(len(rows), at_ms, np.int64)
        found = encode(self._as_events(rows, moments), features, time_column=self.events.time)
        for feature in features:
            if isinstance(feature, ItemStatistics):
                hours = (moments - self._listed_ms[rows]) / 3_600_000
                is_known = self._knows_when[rows]
                found[feature.name] = Numbers(feature.unclicked(np.where(is_known, hours, 0.0)))
        return found

    def overlaid(
        self,
        encoded: Encoded,
        features: tuple[Feature, ...],
        keys: Keys,
        *,
        at_ms: Ints,
        refreshed_ms: Ints,
    ) -> Encoded:
        """Candidate features of clicks, or of clicked items, with what is said here in place of
        what they say. `at_ms` are their moments, `refreshed_ms` those of their statistics.
        """
        rows = self.rows_of(keys)
        found = dict(encoded)
        for feature in features:
            before = encoded[feature.name]
            if isinstance(feature, ItemStatistics) and isinstance(before, Numbers):
                where = (rows >= 0) & self._knows_when[rows]
                hours = (refreshed_ms - self._listed_ms[rows]) / 3_600_000
                found[feature.name] = Numbers(feature.aged(before.values, hours, where))
            elif self._fills(feature):
                places = np.flatnonzero((rows >= 0) & self._says(feature)[rows])
                said = self._said(feature, rows[places], at_ms[places])
                found[feature.name] = _replaced(before, places, said)
        return found

    def _fills(self, feature: Feature) -> bool:
        """Whether all that a feature reads of an item, but for its id, can be told from here."""
        read = self._attributes_read(feature)
        own, columns = self.ref.attributes, self.events.columns
        return bool(read) and all(own.get(name) == columns[name] for name in read)

    def _says(self, feature: Feature) -> Bools:
        """[M]: whether a row has a value for all of it."""
        columns = [self.table[ATTRIBUTE + name] for name in self._attributes_read(feature)]
        found: Bools = np.logical_and.reduce([np.asarray(pc.is_valid(each)) for each in columns])
        return found

    def _attributes_read(self, feature: Feature) -> list[str]:
        return [name for name in feature.reads() if name != self.events.item]

    def _said(self, feature: Feature, rows: Ints, at_ms: Ints) -> Ids | Numbers:
        if feature.reads_time:
            return feature.encode(self._as_events(rows, at_ms), time_column=self.events.time)
        distinct, which = np.unique(rows, return_inverse=True)
        events = self._as_events(distinct, np.zeros(len(distinct), np.int64))
        return feature.encode(events, time_column=self.events.time).take(which.astype(np.int64))

    def _as_events(self, rows: Ints, at_ms: Ints) -> pa.Table:
        """Rows as events of these moments would tell them; what is not known here is null."""
        chosen = self.table.take(pa.array(rows))
        columns = {name: self._column(chosen, name) for name in self.events.columns}
        times = pa.array(at_ms).cast(ARROW_TYPES["timestamp_ms"])
        return pa.table(columns | {self.events.time: times})

    def _column(self, chosen: pa.Table, name: str) -> pa.Array | pa.ChunkedArray:
        kind = self.events.columns[name]
        if name == self.events.item:
            return chosen[ITEM_ID]
        if self.ref.attributes.get(name) == kind:
            return chosen[ATTRIBUTE + name]
        return pa.nulls(len(chosen), ARROW_TYPES[kind])

    def _flags(self, name: str) -> Bools:
        return np.asarray(self.table[name])

    @cached_property
    def _places(self) -> tuple[Keys, Ints]:
        order = np.argsort(self.keys)
        return self.keys[order], order

    @cached_property
    def _listed_ms(self) -> Ints:
        """[M]: when each item was listed, 0 where nobody says."""
        listed = pc.fill_null(self.table[LISTED_AT].cast(pa.int64()), 0)
        return np.asarray(listed).astype(np.int64)

    @cached_property
    def _knows_when(self) -> Bools:
        return np.asarray(pc.is_valid(self.table[LISTED_AT]))


def _replaced(before: Ids | Numbers, places: Ints, said: Ids | Numbers) -> Ids | Numbers:
    """`before` with other rows in these places."""
    source = np.arange(len(before))
    source[places] = len(before) + np.arange(len(places))
    return take(joined({"": before}, {"": said}), source)[""]

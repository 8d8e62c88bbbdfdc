"""The catalogue: every item that an event of a slice was about, and what was said of it last.

It is changed in place: what a fold costs follows the items in it, however many there are. Items
that are idle for too long leave, where that is declared, and their rows are used again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.derived import idle
from twintide.derived.attributes import Attribute, attribute_in, attribute_of
from twintide.derived.clicks import Bools, Events, Ints
from twintide.derived.itemids import ItemIds, ids_in, ids_of
from twintide.features import Feature
from twintide.keyedrows import KEYS, KeyedRows
from twintide.keys import Keys, keys_of
from twintide.ragged import Encoded, Ids, Numbers, joined, take
from twintide.rowstore import Column, Parts, RowNumbers, RowStore

_IDS, SAID = ".ids", ".said."

UNKNOWN = -1
"""In place of a row of the catalogue."""

_COLUMNS = {
    KEYS: Column(np.uint64),
    "first_seen_ms": Column(np.int64),
    "known_since_ms": Column(np.int64),
    "clicks": Column(np.int64),
}


@dataclass(frozen=True)
class Order:
    """Items in the order in which they were known, where rows do not stand in it."""

    rows: Ints
    """[items]"""

    places: Ints
    """[rows]: which of these each row is; UNKNOWN for a row that is nobody's."""

    known_since_ms: Ints
    """[items], ascending: by when each was known."""


class Catalogue:
    """Items with what their events last said of them: all of them in order of their first event; or
    where idle ones are forgotten, in rows of which some are nobody's.
    """

    def __init__(
        self,
        items: KeyedRows,
        ids: ItemIds,
        attributes: Mapping[str, Attribute],
        *,
        forget_after_days: int | None = None,
    ) -> None:
        self._days = forget_after_days
        self._items = items
        """Row 1 of it is row 0 here."""

        self._ids = ids
        self._attributes = attributes

    @classmethod
    def empty(
        cls,
        id_type: pa.DataType,
        features: tuple[Feature, ...],
        *,
        forget_after_days: int | None = None,
    ) -> "Catalogue":
        """Without an item."""
        items = KeyedRows(RowStore.empty(_COLUMNS | idle.columns(forget_after_days)))
        said = {each.name: attribute_of(each) for each in features}
        return cls(items, ids_of(id_type), said, forget_after_days=forget_after_days)

    @classmethod
    def of(
        cls,
        features: tuple[Feature, ...],
        *,
        ids: pa.Array,
        first_seen_ms: Ints,
        attributes: Encoded,
        clicks: Ints | None = None,
    ) -> "Catalogue":
        """Of distinct items, in this order. None of them counts as touched."""
        made = cls.empty(ids.type, features)
        made.append(keys_of(ids), ids, first_seen_ms)
        made.say(np.arange(len(ids)), attributes)
        if clicks is not None:
            made.clicks[:] = clicks
        for each in made.parts("").saved().values():
            each.saved()
        return made

    def parts(self, name: str) -> Parts:
        """As a checkpoint has it: rows 1, 2, … of items are rows 0, 1, … of ids and attributes."""
        found = Parts(idle.stores(self._items, name, days=self._days), {})
        found = found.and_also(self._ids.parts(f"{name}{_IDS}"))
        for feature, attribute in self._attributes.items():
            found = found.and_also(attribute.parts(f"{name}{SAID}{feature}"))
        return found

    @classmethod
    def from_parts(
        cls,
        id_type: pa.DataType,
        features: tuple[Feature, ...],
        parts: Parts,
        *,
        name: str,
        forget_after_days: int | None = None,
    ) -> "Catalogue":
        """What `parts` gave: it goes on in these stores. Raises Corrupt where one is missing."""
        said = {f.name: attribute_in(parts, f"{name}{SAID}{f.name}", f) for f in features}
        items = idle.in_parts(parts, name, days=forget_after_days)
        ids = ids_in(parts, f"{name}{_IDS}", id_type)
        return cls(items, ids, said, forget_after_days=forget_after_days)

    def __len__(self) -> int:
        """Rows, those that are nobody's included."""
        return len(self._items) - 1

    def rows(self) -> Ints:
        """int64 [items], ascending: rows that are an item's."""
        found: Ints = np.flatnonzero(self._items.has_key()[1:])
        return found

    def active(self, *, within_days: int) -> Bools:
        """[items], as `rows` has them: which of them an event was about within so many days of the
        newest.
        """
        return idle.active(self._items, within_days=within_days)[1:][self.rows()]

    def in_order(self) -> Order | None:
        """Items in the order in which they were known; None where their rows stand in it."""
        if self._days is None:
            return None
        rows = self.rows()
        rows = rows[np.argsort(self.known_since_ms[rows], kind="stable")]
        places = np.full(len(self), UNKNOWN)
        places[rows] = np.arange(len(rows))
        return Order(rows, places, self.known_since_ms[rows])

    @property
    def keys(self) -> Keys:
        """[rows]"""
        return self._items.keys[1:]

    def ids(self, rows: RowNumbers) -> pa.Array:
        """What the log calls these items."""
        return self._ids.read(rows)

    @property
    def first_seen_ms(self) -> Ints:
        """[rows]: when the unit began that held an item's first event."""
        return self._items.store["first_seen_ms"][1:]

    @property
    def known_since_ms(self) -> Ints:
        """[rows]: by when it and all that came before it were known."""
        return self._items.store["known_since_ms"][1:]

    @property
    def clicks(self) -> Ints:
        """[rows]: those that were counted so far."""
        return self._items.store["clicks"][1:]

    def first_seen_of(self, rows: RowNumbers) -> Ints:
        """When the unit began that held the first event of each of these items; any time of a row
        that is UNKNOWN.
        """
        found: Ints = self._items.store.at(rows + 1)["first_seen_ms"][rows + 1]
        return found

    def attributes(self, rows: RowNumbers) -> Encoded:
        """What was said last of these items."""
        return {name: attribute.read(rows) for name, attribute in self._attributes.items()}

    def rows_of(self, keys: Keys) -> Ints:
        """int64 [n]: the row of each key, UNKNOWN for one that is none of an item."""
        return self._items.rows_of(keys) - 1

    def filled(self, items: Keys, attributes: Encoded, missing: dict[str, Bools]) -> Encoded:
        """`attributes` of events in order; where one is `missing` it is what the item's events
        before said last. One that does not say what an item is does not make it nothing.
        """
        return attributes | {
            name: self._filled(items, name, attributes, is_missing)
            for name, is_missing in missing.items()
            if is_missing.any()
        }

    def _filled(
        self, items: Keys, name: str, attributes: Encoded, is_missing: Bools
    ) -> Ids | Numbers:
        rows = self.rows_of(items)
        known = rows != UNKNOWN
        before: Encoded = {name: self._attributes[name].read(rows[known])}
        from_before = np.where(known, np.cumsum(known) - 1, known.sum() + np.arange(len(items)))
        from_here = last_said(items, ~is_missing)
        source = np.where(from_here >= 0, known.sum() + from_here, from_before)
        return take(joined(before, {name: attributes[name]}), source)[name]

    def begin_day(self, day: int) -> bool:
        """Forget what was idle for so long that it is declared; whether there was such an item."""
        gone = idle.begin_day(self._items, day, days=self._days) - 1
        self._ids.clear(gone)
        for attribute in self._attributes.values():
            attribute.clear(gone)
        return len(gone) > 0

    def add(self, events: Events, *, ids: pa.Array, attributes: Encoded) -> None:
        """New items behind the old ones; attributes as of the last of these events. `ids` and
        `attributes` have one row per event.
        """
        distinct, first_at = np.unique(events.items, return_index=True)
        last_at = len(events) - 1 - np.unique(events.items[::-1], return_index=True)[1]
        new_at = np.sort(first_at[self.rows_of(distinct) == UNKNOWN])
        self.append(events.items[new_at], ids.take(pa.array(new_at)), events.unit_ms[new_at])
        rows = self.rows_of(distinct)
        idle.see(self._items, rows + 1)
        self.say(rows, {name: attributes[name].take(last_at) for name in self._attributes})

    def say(self, rows: RowNumbers, attributes: Encoded) -> None:
        """What is said of these distinct items from now on."""
        for name, attribute in self._attributes.items():
            attribute.write(rows, attributes[name])

    def count(self, rows: RowNumbers) -> None:
        """One click more of an item for each time that its row is named."""
        distinct, counts = np.unique(rows, return_counts=True)
        self._items.store.touch(distinct + 1)["clicks"][distinct + 1] += counts

    def append(self, keys: Keys, ids: pa.Array, first_seen_ms: Ints) -> None:
        """Items that are distinct and new: behind the others, where no row was given back."""
        if not len(keys):
            return
        length = len(self)
        newest = np.array([0 if self._days else length])
        before = self._items.store.at(newest)["known_since_ms"][newest]
        rows = self._items.give(keys)
        columns = self._items.store.touch(rows)
        columns["first_seen_ms"][rows] = first_seen_ms
        known = np.maximum.accumulate(first_seen_ms)
        columns["known_since_ms"][rows] = np.maximum(known, before) if length else known
        if self._days:  # the last row need not be the newest item's: that of nobody knows
            self._items.store.touch(newest)["known_since_ms"][newest] = max(known[-1], before[0])
        self._ids.add(len(self) - length)
        self._ids.write(rows - 1, ids)
        for attribute in self._attributes.values():
            attribute.add(len(self) - length)


def last_said(items: Keys, says: Bools) -> npt.NDArray[np.int64]:
    """int64 [N]: for each event, the number of the newest event up to it that is of the same item
    and `says` something; -1 where there is none.
    """
    order = np.argsort(items, kind="stable")
    place = np.arange(len(items))
    begins = np.concatenate(([True], np.diff(items[order]) != 0))[: len(items)]
    begin = np.maximum.accumulate(np.where(begins, place, 0))
    said = np.maximum.accumulate(np.where(says[order], place, -1))
    found = np.full(len(items), -1, np.int64)
    has_said = said >= begin
    found[order[has_said]] = order[said[has_said]]
    return found

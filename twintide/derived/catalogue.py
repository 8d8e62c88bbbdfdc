"""The catalogue: every item that an event of a slice was about, and what was said of it last.

It is changed in place: what a fold costs follows the items in it, however many there are.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.derived.attributes import attribute_of
from twintide.derived.clicks import Bools, Events, Ints
from twintide.features import Feature
from twintide.keyedrows import KeyedRows
from twintide.keys import Keys, keys_of
from twintide.ragged import Encoded, Ids, Numbers, joined, take
from twintide.rowstore import Column, RowNumbers, RowStore

UNKNOWN = -1
"""In place of a row of the catalogue."""

_COLUMNS = ("first_seen_ms", "known_since_ms", "clicks")


class Catalogue:
    """Every item, in order of its first event, with what its events last said of it."""

    def __init__(self, id_type: pa.DataType, features: tuple[Feature, ...]) -> None:
        self._index = KeyedRows()
        """Row 1 of it is row 0 here."""

        self._ids = _Ids(id_type)
        self._rows = RowStore.empty({name: Column(np.int64) for name in _COLUMNS})
        self._attributes = {feature.name: attribute_of(feature) for feature in features}

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
        made = cls(ids.type, features)
        made._append(keys_of(ids), ids, first_seen_ms)
        for name, attribute in made._attributes.items():
            attribute.write(np.arange(len(ids)), attributes[name])
            attribute.saved()
        if clicks is not None:
            made.clicks[:] = clicks
        made._rows.saved()
        return made

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def keys(self) -> Keys:
        """[items]"""
        return self._index.keys[1:]

    @property
    def ids(self) -> pa.Array:
        """[items]"""
        return self._ids.whole()

    @property
    def first_seen_ms(self) -> Ints:
        """[items]: when the unit began that held an item's first event."""
        return self._rows["first_seen_ms"]

    @property
    def known_since_ms(self) -> Ints:
        """[items], ascending: by when it and all before it were known."""
        return self._rows["known_since_ms"]

    @property
    def clicks(self) -> Ints:
        """[items]: those that were counted so far."""
        return self._rows["clicks"]

    def attributes(self, rows: RowNumbers) -> Encoded:
        """What was said last of these items."""
        return {name: attribute.read(rows) for name, attribute in self._attributes.items()}

    def rows_of(self, keys: Keys) -> Ints:
        """int64 [n]: the row of each key, UNKNOWN for one that is none of an item."""
        return self._index.rows_of(keys) - 1

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

    def add(self, events: Events, *, ids: pa.Array, attributes: Encoded) -> None:
        """New items behind the old ones; attributes as of the last of these events. `ids` and
        `attributes` have one row per event.
        """
        distinct, first_at = np.unique(events.items, return_index=True)
        last_at = len(events) - 1 - np.unique(events.items[::-1], return_index=True)[1]
        new_at = np.sort(first_at[self.rows_of(distinct) == UNKNOWN])
        self._append(events.items[new_at], ids.take(pa.array(new_at)), events.unit_ms[new_at])
        rows = self.rows_of(distinct)
        for name, attribute in self._attributes.items():
            attribute.write(rows, attributes[name].take(last_at))

    def count(self, rows: RowNumbers) -> None:
        """One click more of an item for each time that its row is named."""
        distinct, counts = np.unique(rows, return_counts=True)
        self._rows.touch(distinct)["clicks"][distinct] += counts

    def _append(self, keys: Keys, ids: pa.Array, first_seen_ms: Ints) -> None:
        if not len(keys):
            return
        self._index.add(keys)
        self._ids.append(ids)
        first = self._rows.grow(len(keys))
        before = self.known_since_ms[max(first - 1, 0)] if first else first_seen_ms[0]
        self.first_seen_ms[first:] = first_seen_ms
        self.known_since_ms[first:] = np.maximum(np.maximum.accumulate(first_seen_ms), before)
        for attribute in self._attributes.values():
            attribute.add(len(keys))


class _Ids:
    """Ids that are appended, in parts each at least twice as long as the one behind it."""

    def __init__(self, of_type: pa.DataType) -> None:
        self._parts = [pa.array([], of_type)]

    def append(self, ids: pa.Array) -> None:
        self._parts.append(ids)
        while len(self._parts) > 1 and len(self._parts[-2]) < 2 * len(self._parts[-1]):
            self._parts[-2:] = [pa.concat_arrays(self._parts[-2:])]

    def whole(self) -> pa.Array:
        self._parts = [pa.concat_arrays(self._parts)]
        return self._parts[0]


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

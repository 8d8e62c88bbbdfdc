"""The derived state as a whole: histories, item clicks, and the catalogue of every item that an
event of a slice was about.

Only clicks make histories and counts. The catalogue takes the items of all rows: what was bought or
liked is learnt, and what is learnt can be retrieved, whether it was clicked before or not; and each
row says of its item what a click would say.

It is a function of the slices folded in, so it needs no file of its own: a checkpoint carries it,
and the slices after the checkpoint bring it up to date.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

import numpy as np
import pyarrow as pa

from trainer.activity import Activity
from trainer.derived import (
    Bools,
    Events,
    Histories,
    Ints,
    ItemClicks,
    bucket_minutes,
    oldest_bucket,
    refreshed_ms,
    statistics_at,
)
from twintide.arrays import Arrays
from twintide.clock import floor_to_minutes, to_unix_ms
from twintide.config import Deployment
from twintide.features import Feature
from twintide.features.columns import from_columns, to_columns
from twintide.features.item_statistics import ItemStatistics
from twintide.keys import Keys, keys_of
from twintide.modelspec import CLICKS, ModelSpec, memory_prefix
from twintide.ragged import Encoded, Ids, Numbers, joined, take
from twintide.records import Position
from twintide.slices import (
    EVENT_TIME,
    IS_CLICK,
    ITEM_ID,
    ITEM_KEY,
    REMEMBERED,
    UNIT,
    USER_KEY,
    Slice,
)

FIRST_SEEN = "first_seen_at"
USERS = "state.users"
USER_STATISTICS = "state.users.statistics"


def stateless(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Features that an event's own columns give."""
    return tuple(f for f in features if f.derived_from is None)


@dataclass(frozen=True)
class Catalogue:
    """Every item, in order of its first event, with what its events last said of it."""

    keys: Keys
    ids: pa.Array
    first_seen_ms: Ints
    """When the unit began that held its first event."""

    attributes: Encoded

    @classmethod
    def empty(cls, id_type: pa.DataType, features: tuple[Feature, ...]) -> Self:
        nothing: Encoded = {feature.name: feature.no_rows() for feature in features}
        return cls(np.zeros(0, np.uint64), pa.array([], id_type), np.zeros(0, np.int64), nothing)

    def __len__(self) -> int:
        return len(self.keys)

    def rows_of(self, keys: Keys) -> Ints:
        """int64 [n]: row of each key, all of which must be in the catalogue."""
        order = np.argsort(self.keys)
        found: Ints = order[np.searchsorted(self.keys, keys, sorter=order)]
        return found

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
        known = np.isin(items, self.keys)
        before = take({name: self.attributes[name]}, self.rows_of(items[known]))
        from_before = np.where(known, np.cumsum(known) - 1, known.sum() + np.arange(len(items)))
        from_here = last_said(items, ~is_missing)
        source = np.where(from_here >= 0, known.sum() + from_here, from_before)
        return take(joined(before, {name: attributes[name]}), source)[name]

    def with_events(self, events: Events, *, ids: pa.Array, attributes: Encoded) -> "Catalogue":
        """New items behind the old ones; attributes as of the last of these events."""
        distinct, first_at = np.unique(events.items, return_index=True)
        last_at = len(events) - 1 - np.unique(events.items[::-1], return_index=True)[1]
        is_new = ~np.isin(distinct, self.keys)
        by_arrival = np.argsort(first_at[is_new])
        new_first = first_at[is_new][by_arrival]

        keys = np.concatenate((self.keys, events.items[new_first]))
        grown = replace(
            self,
            keys=keys,
            ids=pa.concat_arrays([self.ids, ids.take(pa.array(new_first))]),
            first_seen_ms=np.concatenate((self.first_seen_ms, events.unit_ms[new_first])),
        )
        # A row of the attributes comes from the old catalogue, row i, or from an event, row
        # len(self) + event.
        source = np.concatenate((np.arange(len(self)), np.zeros(len(new_first), np.int64)))
        source[grown.rows_of(distinct)] = len(self) + last_at
        return replace(grown, attributes=take(joined(self.attributes, attributes), source))


def last_said(items: Keys, says: Bools) -> Ints:
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


def events_of(rows: pa.Table) -> Events:
    """The events that rows of a slice are."""
    return Events(
        users=rows[USER_KEY].to_numpy(),
        items=rows[ITEM_KEY].to_numpy(),
        at_ms=rows[EVENT_TIME].cast(pa.int64()).to_numpy(),
        unit_ms=rows[UNIT].cast(pa.int64()).to_numpy(),
    )


def came_to(name: str, remembered: pa.Table) -> pa.Table:
    """Those of the events that a memory remembers."""
    return remembered.filter(remembered[f"{REMEMBERED}{name}"])


def _before(histories: Histories, told: Events, came: Events) -> Ids:
    """For each event that is told, what had come before it, where the two are different events."""
    both = told.and_then(came)
    counts = np.arange(len(both)) >= len(told)
    order = np.lexsort((both.at_ms, both.unit_ms))
    found = histories.before(both.where(order), counts[order])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return found.take(place[: len(told)])


@dataclass(frozen=True)
class DerivedState:
    """What the ordered pass knows after the slices folded in so far."""

    model: ModelSpec
    histories: dict[str, Histories]
    """By name of what is remembered, as `ModelSpec.memories` has it."""

    item_clicks: ItemClicks
    catalogue: Catalogue
    activity: Activity | None = None
    """How much users have clicked; None where the model does not ask."""

    clicks_of_items: Ints | None = None
    """[items]: clicks so far of each item of the catalogue; None where the model asks for none."""

    @classmethod
    def empty(cls, deployment: Deployment) -> "DerivedState":
        model, events = deployment.model, deployment.events
        return cls(
            model=model,
            histories={
                name: Histories.empty(memory.length) for name, memory in model.memories().items()
            },
            item_clicks=ItemClicks.empty(),
            catalogue=Catalogue.empty(
                events.arrow_schema().field(events.item).type, stateless(model.candidate)
            ),
            activity=Activity.empty() if model.user_statistics() else None,
            clicks_of_items=np.zeros(0, np.int64) if model.counts_clicks() else None,
        )

    def after(self, slice_: Slice, position: Position) -> "DerivedState":
        """The state after what a slice holds behind a position."""
        return self.with_slice(
            slice_.read(after=position), self._remembered_in(slice_, after=position)
        )

    def after_rows(self, slice_: Slice, rows: pa.Table, position: Position) -> "DerivedState":
        """The same, where these rows of it were read already."""
        return self.with_slice(rows, self._remembered_in(slice_, after=position))

    def _remembered_in(self, slice_: Slice, *, after: Position) -> pa.Table | None:
        names = [name for name in self.histories if name != CLICKS]
        return slice_.remembered(names, after=after) if names else None

    def with_slice(self, rows: pa.Table, remembered: pa.Table | None = None) -> "DerivedState":
        attributes = from_columns(rows, stateless(self.model.candidate), "candidate")
        return self.with_remembered(remembered).with_events(
            events_of(rows),
            rows[IS_CLICK].to_numpy(),
            ids=rows[ITEM_ID].combine_chunks(),
            attributes=attributes,
        )

    def with_events(
        self, events: Events, is_click: Bools, *, ids: pa.Array, attributes: Encoded
    ) -> "DerivedState":
        """`ids` and `attributes` have one row per event."""
        if not len(events):
            return self
        clicks = events.where(is_click)
        of_clicks = {
            name: histories.with_clicks(clicks)
            for name, histories in self.histories.items()
            if name == CLICKS
        }
        grown = replace(
            self,
            histories=self.histories | of_clicks,
            catalogue=self.catalogue.with_events(events, ids=ids, attributes=attributes),
        )
        of_users = self.model.user_statistics()
        if self.activity is not None and of_users is not None:
            grown = replace(grown, activity=self.activity.with_clicks(clicks, of_users))
        spec = self.model.item_statistics()
        rows = grown.catalogue.rows_of(clicks.items)
        if self.clicks_of_items is not None:
            counts = np.bincount(rows, minlength=len(grown.catalogue))
            counts[: len(self.clicks_of_items)] += self.clicks_of_items
            grown = replace(grown, clicks_of_items=counts)
        if spec is None or not len(clicks):
            return grown
        counted = self.item_clicks.with_clicks(rows, clicks.unit_ms, spec)
        newest = int(clicks.unit_ms.max())
        return replace(grown, item_clicks=counted.within_reach_of(newest, spec))

    def with_remembered(self, remembered: pa.Table | None) -> "DerivedState":
        """The state after events that are remembered and no more, as a slice has them."""
        if remembered is None:
            return self
        others = {
            name: histories.with_clicks(events_of(came_to(name, remembered)))
            for name, histories in self.histories.items()
            if name != CLICKS
        }
        return replace(self, histories=self.histories | others)

    def histories_before(
        self, events: Events, is_click: Bools, remembered: pa.Table | None
    ) -> Encoded:
        """The features of what each event's user did before it."""
        found: Encoded = {}
        for name, memory in self.model.memories().items():
            histories = self.histories[name]
            if name == CLICKS:
                before = histories.before(events, is_click)
            elif remembered is None:
                raise ValueError("the model remembers other events, and none were given")
            else:
                before = _before(histories, events, events_of(came_to(name, remembered)))
            found |= memory.encoded(before)
        return found

    def users_told(self, events: Events, is_click: Bools) -> Encoded:
        """How active each event's user was, where the model asks."""
        spec = self.model.user_statistics()
        if self.activity is None or spec is None:
            return {}
        return {spec.name: Numbers(self.activity.told(events, events.where(is_click), spec))}

    def users_as_of(self, as_of: datetime) -> Arrays:
        """The same of every user, as of an instant: what a version carries."""
        spec = self.model.user_statistics()
        if self.activity is None or spec is None:
            return {}
        return {USER_STATISTICS: self.activity.as_of(to_unix_ms(as_of), spec)}

    def statistics_of(
        self, events: Events, is_click: Bools, spec: ItemStatistics, catalogue: Catalogue
    ) -> Numbers:
        """Of each event's item, as a server had them that refreshes as declared: [N, spec.count].

        The events are not folded in yet, but `catalogue` has their items. Only clicks of units
        before an event's own count, as its refresh came before.
        """
        rows = catalogue.rows_of(events.items)
        return Numbers(
            statistics_at(
                self.item_clicks.with_clicks(rows[is_click], events.unit_ms[is_click], spec),
                rows,
                catalogue.first_seen_ms[rows],
                refreshed_ms(events.at_ms, events.unit_ms, spec),
                spec,
                oldest=oldest_bucket(events.unit_ms, spec),
            )
        )

    def statistics_instant(self, until: datetime) -> datetime:
        """The first bucket boundary not before `until`: the instant of a version's statistics."""
        spec = self.model.item_statistics()
        minutes = bucket_minutes(spec) if spec else 1
        floor = floor_to_minutes(until, minutes)
        return floor if floor == until else floor + timedelta(minutes=minutes)

    def catalogue_table(self, as_of: datetime) -> pa.Table:
        """The catalogue as a checkpoint has it: ids, and candidate features as of that instant."""
        candidate = dict(self.catalogue.attributes)
        spec = self.model.item_statistics()
        if spec:
            items = np.arange(len(self.catalogue))
            candidate[spec.name] = Numbers(
                statistics_at(
                    self.item_clicks,
                    items,
                    self.catalogue.first_seen_ms,
                    np.full(len(items), to_unix_ms(as_of)),
                    spec,
                )
            )
        columns = to_columns(candidate, self.model.candidate, "candidate")
        first_seen = pa.array(self.catalogue.first_seen_ms).cast(pa.timestamp("ms", tz="UTC"))
        return pa.table({ITEM_ID: self.catalogue.ids, FIRST_SEEN: first_seen, **columns})

    def arrays(self) -> Arrays:
        found: Arrays = {
            "state.clicks.items": self.item_clicks.items,
            "state.clicks.buckets": self.item_clicks.buckets,
            "state.clicks.counts": self.item_clicks.counts,
        }
        if self.clicks_of_items is not None:
            found["state.clicks.so_far"] = self.clicks_of_items
        if self.activity is not None:
            found |= self.activity.arrays(prefix=USERS)
        for name, histories in self.histories.items():
            found |= {
                f"{memory_prefix('state.history', name)}.{part}": array
                for part, array in histories.arrays().items()
            }
        return found

    @classmethod
    def from_arrays(cls, model: ModelSpec, arrays: Arrays, catalogue: pa.Table) -> "DerivedState":
        """What `arrays` and `catalogue_table` gave."""
        ids = catalogue[ITEM_ID].combine_chunks()
        return cls(
            model=model,
            histories={
                name: Histories.from_arrays(
                    memory.length, arrays, prefix=memory_prefix("state.history", name)
                )
                for name, memory in model.memories().items()
            },
            item_clicks=ItemClicks(
                arrays["state.clicks.items"].astype(np.int64),
                arrays["state.clicks.buckets"].astype(np.int64),
                arrays["state.clicks.counts"].astype(np.int64),
            ),
            catalogue=Catalogue(
                keys_of(ids),
                ids,
                catalogue[FIRST_SEEN].cast(pa.int64()).to_numpy(),
                from_columns(catalogue, stateless(model.candidate), "candidate"),
            ),
            activity=Activity.from_arrays(arrays, prefix=USERS)
            if model.user_statistics()
            else None,
            clicks_of_items=arrays["state.clicks.so_far"].astype(np.int64)
            if model.counts_clicks()
            else None,
        )

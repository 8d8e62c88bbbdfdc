"""The derived state as a whole: histories, item clicks, and the catalogue of every item that an
event of a slice was about.

Only clicks make histories and counts. The catalogue takes the items of all rows: what was bought or
liked is learnt, and what is learnt can be retrieved, whether it was clicked before or not; and each
row says of its item what a click would say.

It is a function of the slices folded in, so it needs no file of its own: a checkpoint carries it,
and the slices after the checkpoint bring it up to date.
"""

from datetime import datetime, timedelta
from typing import Self

import numpy as np
import pyarrow as pa

from twintide.arrays import Arrays
from twintide.clock import DAY_MS, floor_to_minutes, to_unix_ms
from twintide.config import Deployment
from twintide.derived.activity import Activity
from twintide.derived.catalogue import Catalogue
from twintide.derived.clicks import (
    Bools,
    Events,
    ItemClicks,
    bucket_minutes,
    oldest_bucket,
    refreshed_ms,
    statistics_at,
)
from twintide.derived.histories import Histories
from twintide.derived.told import ToldByUsers
from twintide.events import EventSchema
from twintide.features import Feature
from twintide.features.columns import from_columns, to_columns
from twintide.features.item_statistics import ItemStatistics
from twintide.modelspec import CLICKS, ModelSpec, memory_prefix
from twintide.ragged import Encoded, Ids, Numbers
from twintide.rowstore import Parts
from twintide.slices import (
    EVENT_TIME,
    IS_CLICK,
    ITEM_ID,
    ITEM_KEY,
    REMEMBERED,
    UNIT,
    USER_KEY,
    Contents,
)

FIRST_SEEN = "first_seen_at"
SO_FAR = "state.clicks.so_far"
ITEMS = "state.items"
CLICKS_OF_ITEMS = "state.clicks"
USERS = "state.users"
_HISTORY, _CLICKED = "state.history.", "_clicked"
"""What users clicked is none of the model's features, and no feature is called so."""

USER_STATISTICS = "state.users.statistics"


def stateless(features: tuple[Feature, ...]) -> tuple[Feature, ...]:
    """Features that an event's own columns give."""
    return tuple(f for f in features if f.derived_from is None)


def _type_of_ids(events: EventSchema) -> pa.DataType:
    return events.arrow_schema().field(events.item).type


def history_store(memory: str) -> str:
    """What the rows of a memory's users are called in a checkpoint."""
    return _HISTORY + (memory or _CLICKED)


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


class DerivedState:
    """What the ordered pass knows after the slices folded in so far. A fold changes it in place."""

    def __init__(
        self,
        model: ModelSpec,
        *,
        histories: dict[str, Histories],
        item_clicks: ItemClicks,
        catalogue: Catalogue,
        activity: Activity,
        told: ToldByUsers,
    ) -> None:
        self.model = model
        self.histories = histories
        """By name of what is remembered, as `ModelSpec.memories` has it."""

        self.item_clicks = item_clicks
        self.catalogue = catalogue
        self.activity = activity
        """How much users have clicked; nobody where the model does not ask."""

        self.told = told
        """What users last said of themselves; nobody where no column of them is declared."""

    @classmethod
    def empty(cls, deployment: Deployment) -> Self:
        model, events = deployment.model, deployment.events
        days = model.state.forget_users_after_days
        return cls(
            model,
            histories={
                name: Histories(each.length, forget_after_days=days)
                for name, each in model.memories().items()
            },
            item_clicks=ItemClicks(),
            catalogue=Catalogue.empty(
                _type_of_ids(events),
                stateless(model.candidate),
                forget_after_days=model.state.forget_items_after_days,
            ),
            activity=Activity(forget_after_days=days),
            told=ToldByUsers.empty(model.told_by_users(), forget_after_days=days),
        )

    def begin(self, events: Events, remembered: pa.Table | None) -> None:
        """What a slice holds comes, and is told and taken in next: of one hour, so of one day. Who
        and what was idle for too long by then is forgotten.
        """
        if not self.model.state.forgets():
            return
        newest_ms = int(events.unit_ms.max(initial=0))
        if remembered is not None:
            newest_ms = max(newest_ms, int(events_of(remembered).unit_ms.max(initial=0)))
        day = newest_ms // DAY_MS
        for histories in self.histories.values():
            histories.begin_day(day)
        if of_users := self.model.user_statistics():
            self.activity.begin_day(day, of_users)
        self.told.begin_day(day)
        is_any_gone, spec = self.catalogue.begin_day(day), self.model.item_statistics()
        if is_any_gone and spec is not None:
            # Or clicks of items that leave would be those of which has their rows next.
            self.item_clicks.drop_out_of_reach(day * DAY_MS, spec)

    def fold(self, contents: Contents) -> None:
        """Take in what a slice holds, all of it or what lies behind a position."""
        rows = contents.rows
        attributes = from_columns(rows, stateless(self.model.candidate), "candidate")
        events = events_of(rows)
        self.begin(events, contents.remembered)
        self.remember(contents.remembered)
        self.told.add(events.users, from_columns(rows, self.model.told_by_users(), "query"))
        self.add(
            events,
            rows[IS_CLICK].to_numpy(),
            ids=rows[ITEM_ID].combine_chunks(),
            attributes=attributes,
        )

    def add(self, events: Events, is_click: Bools, *, ids: pa.Array, attributes: Encoded) -> None:
        """Take in events, of which clicks make histories and counts. `ids` and `attributes` have
        one row per event.
        """
        if not len(events):
            return
        clicks = events.where(is_click)
        self.catalogue.add(events, ids=ids, attributes=attributes)
        if CLICKS in self.histories:
            self.histories[CLICKS].add(clicks)
        if of_users := self.model.user_statistics():
            self.activity.add(clicks, of_users)
        rows = self.catalogue.rows_of(clicks.items)
        if self.model.counts_clicks():
            self.catalogue.count(rows)
        if (spec := self.model.item_statistics()) and len(clicks):
            self.item_clicks.add(rows, clicks.unit_ms, spec)
            self.item_clicks.drop_out_of_reach(int(clicks.unit_ms.max()), spec)

    def remember(self, remembered: pa.Table | None) -> None:
        """Take in events that are remembered and no more, as a slice has them."""
        if remembered is None:
            return
        for name, histories in self.histories.items():
            if name != CLICKS:
                histories.add(events_of(came_to(name, remembered)))

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
        if spec is None:
            return {}
        return {spec.name: Numbers(self.activity.told(events, events.where(is_click), spec))}

    def users_as_of(self, as_of: datetime) -> Arrays:
        """The same of every user, as of an instant: what a version carries."""
        spec = self.model.user_statistics()
        if spec is None:
            return {}
        return {USER_STATISTICS: self.activity.as_of(to_unix_ms(as_of), spec)}

    def statistics_of(
        self, events: Events, is_click: Bools, spec: ItemStatistics, before: ItemClicks
    ) -> Numbers:
        """Of each event's item, as a server had them that refreshes as declared: [N, spec.count].

        The catalogue has their items; `before` are the clicks before these events. Only clicks of
        units before an event's own count, as its refresh came before.
        """
        rows = self.catalogue.rows_of(events.items)
        clicks = before.copy()
        clicks.add(rows[is_click], events.unit_ms[is_click], spec)
        return Numbers(
            statistics_at(
                clicks,
                rows,
                self.catalogue.first_seen_of(rows),
                refreshed_ms(events.at_ms, events.unit_ms, spec),
                spec,
                oldest=oldest_bucket(events.unit_ms, spec),
            )
        )

    def statistics_instant(self, until: datetime) -> datetime:
        """The first bucket boundary not before `until`: the instant of a version's statistics."""
        floor = self.settled_instant(until)
        return floor if floor == until else floor + self._bucket

    def settled_instant(self, until: datetime) -> datetime:
        """The last bucket boundary not behind `until`: what came before is all counted by then."""
        return floor_to_minutes(until, self._bucket // timedelta(minutes=1))

    @property
    def _bucket(self) -> timedelta:
        spec = self.model.item_statistics()
        return timedelta(minutes=bucket_minutes(spec) if spec else 1)

    def catalogue_table(self, as_of: datetime) -> pa.Table:
        """The catalogue as a checkpoint has it: ids, and candidate features as of that instant."""
        items = self.catalogue.rows()
        candidate = self.catalogue.attributes(items)
        first_seen_ms = self.catalogue.first_seen_ms[items]
        spec = self.model.item_statistics()
        if spec:
            candidate[spec.name] = Numbers(
                statistics_at(
                    self.item_clicks,
                    items,
                    first_seen_ms,
                    np.full(len(items), to_unix_ms(as_of)),
                    spec,
                )
            )
        columns = to_columns(candidate, self.model.candidate, "candidate")
        first_seen = pa.array(first_seen_ms).cast(pa.timestamp("ms", tz="UTC"))
        return pa.table({ITEM_ID: self.catalogue.ids(items), FIRST_SEEN: first_seen, **columns})

    def arrays(self) -> Arrays:
        """All of it but what items are: these are numbered as in `catalogue_table`."""
        items, buckets, counts = self.item_clicks.arrays()
        rows = self.catalogue.rows()
        found: Arrays = {
            "state.clicks.items": np.searchsorted(rows, items),
            "state.clicks.buckets": buckets,
            "state.clicks.counts": counts,
        }
        if self.model.counts_clicks():
            found[SO_FAR] = self.catalogue.clicks[rows]
        if self.model.user_statistics():
            found |= self.activity.arrays(prefix=USERS)
        for name, histories in self.histories.items():
            found |= {
                f"{memory_prefix('state.history', name)}.{part}": array
                for part, array in histories.arrays().items()
            }
        return found

    def parts(self) -> Parts:
        """As a checkpoint has it."""
        found = self.catalogue.parts(ITEMS)
        if spec := self.model.item_statistics():
            found = found.and_also(Parts({}, self.item_clicks.spans(spec, prefix=CLICKS_OF_ITEMS)))
        if of_users := self.model.user_statistics():
            found = found.and_also(self.activity.parts(of_users, name=USERS))
        found = found.and_also(self.told.parts())
        for name, histories in self.histories.items():
            found = found.and_also(histories.parts(history_store(name)))
        return found

    @classmethod
    def from_parts(cls, model: ModelSpec, events: EventSchema, parts: Parts) -> Self:
        """What `parts` gave: it goes on in these stores. Raises Corrupt where one is missing."""
        asks, days = model.user_statistics() is not None, model.state.forget_users_after_days
        return cls(
            model,
            histories={
                name: Histories.from_parts(
                    memory.length,
                    parts,
                    name=history_store(name),
                    forget_after_days=days,
                )
                for name, memory in model.memories().items()
            },
            item_clicks=ItemClicks.from_spans(parts.arrays, prefix=CLICKS_OF_ITEMS),
            catalogue=Catalogue.from_parts(
                _type_of_ids(events),
                stateless(model.candidate),
                parts,
                name=ITEMS,
                forget_after_days=model.state.forget_items_after_days,
            ),
            activity=Activity.from_parts(parts, name=USERS, forget_after_days=days)
            if asks
            else Activity(),
            told=ToldByUsers.from_parts(model.told_by_users(), parts, forget_after_days=days),
        )

    @classmethod
    def from_arrays(cls, model: ModelSpec, arrays: Arrays, catalogue: pa.Table) -> Self:
        """What `arrays` and `catalogue_table` gave, and older checkpoints hold."""
        items = Catalogue.of(
            stateless(model.candidate),
            ids=catalogue[ITEM_ID].combine_chunks(),
            first_seen_ms=catalogue[FIRST_SEEN].cast(pa.int64()).to_numpy(),
            attributes=from_columns(catalogue, stateless(model.candidate), "candidate"),
            clicks=arrays[SO_FAR].astype(np.int64) if model.counts_clicks() else None,
        )
        return cls(
            model,
            histories={
                name: Histories.from_arrays(
                    memory.length, arrays, prefix=memory_prefix("state.history", name)
                )
                for name, memory in model.memories().items()
            },
            item_clicks=ItemClicks.from_arrays(
                *(
                    arrays[f"state.clicks.{part}"].astype(np.int64)
                    for part in ("items", "buckets", "counts")
                )
            ),
            catalogue=items,
            activity=Activity.from_arrays(arrays, prefix=USERS)
            if model.user_statistics()
            else Activity(),
            told=ToldByUsers.empty(model.told_by_users()),
        )

"""Read shards as training does: in order, hour by hour, with what each event is told of the past.

What is read is a function of the log and of the state before it. Whether a slice is made of it, to
be learnt from, or it is counted and no more, whoever asks decides.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainer import labels
from trainer.units import happened_before, is_believed
from twintide.behind import Found, shards_behind, unsliced_since
from twintide.clock import Clock, floor_to_minutes, to_unix_ms
from twintide.columns import read_events
from twintide.config import Deployment
from twintide.days import Calendar
from twintide.derived.clicks import Bools
from twintide.derived.state import DerivedState, events_of, stateless
from twintide.events import (
    BROKER_TIME_COLUMN,
    OFFSET_COLUMN,
    PARTITION_COLUMN,
    EventSchema,
)
from twintide.features import Feature
from twintide.features.columns import encode, to_columns
from twintide.keys import keys_of
from twintide.modelspec import ModelSpec
from twintide.ragged import keys_to_lists
from twintide.shards import Ledger
from twintide.slices import (
    EVENT_TIME,
    HARD,
    IS_CLICK,
    ITEM_ID,
    ITEM_KEY,
    OFFSET,
    PARTITION,
    REMEMBERED,
    UNIT,
    USER_KEY,
    Ends,
    offsets_of,
)

MOST_EVENTS = 1_000_000
"""Events of one slice, unless a single unit has more: as many as are in memory at once."""

ShardsByHour = dict[tuple[datetime, date], list[Found]]
"""By hour and training day, those of each in the order in which they are read."""


@dataclass(frozen=True)
class ShardReader:
    """The shards of a topic, as events of a declaration."""

    ledger: Ledger
    events: EventSchema
    model: ModelSpec
    window: timedelta
    """Of one shard."""

    calendar: Calendar
    clock: Clock

    @classmethod
    def of(
        cls, deployment: Deployment, events: EventSchema, model: ModelSpec, *, clock: Clock
    ) -> "ShardReader":
        """Of a deployment's shards; what they mean may be declared otherwise than it is now."""
        return cls(
            Ledger(deployment.shards_dir, deployment.kafka.topic),
            events,
            model,
            timedelta(minutes=deployment.shards.minutes),
            Calendar.of(deployment.training),
            clock,
        )

    def behind(self, ends: Ends, *, until: datetime) -> ShardsByHour:
        """Shards behind `ends` that end by `until`; each partition's ledger must go on there."""
        groups: ShardsByHour = defaultdict(list)
        for each in shards_behind(
            self.ledger,
            offsets_of(ends),
            {partition: unit for partition, (_, unit) in ends.items()},
            since=unsliced_since(self.ledger, ends),
            until=until,
            clock=self.clock,
        ):
            if each.minute_at + self.window <= until:
                hour_at = floor_to_minutes(each.minute_at, 60)
                groups[hour_at, self.calendar.day_of(each.minute_at)].append(each)
        for found in groups.values():
            found.sort(key=lambda each: (each.minute_at, each.name.partition, each.name.first))
        return groups

    def read(self, found: list[Found]) -> pa.Table:
        """The events of these shards."""
        return pa.concat_tables(self._read(each) for each in found)

    def _read(self, shard: Found) -> pa.Table:
        """The events of a shard, each with its unit, none later than that lets them be."""
        schema = self.events
        events = read_events(shard.name.path, schema)
        if not is_believed(shard):
            events = _with_times_that_came(events, shard, self.clock)
        minutes = self.window // timedelta(minutes=1)
        end = happened_before(shard, minutes=minutes, clock=self.clock)
        bounded = _bounded(events, schema.time, last_ms=to_unix_ms(end) - 1)
        unit = pa.scalar(shard.minute_at, pa.timestamp("ms", tz="UTC"))
        return bounded.append_column(UNIT, pa.repeat(unit, len(events)))

    def learnable(self, events: pa.Table) -> pa.Table:
        """Clicks, and positives of any objective, in order."""
        clicked = self._clicked(events)
        found = labels.labels_of(events, clicked, self.model)
        positives = [each.positive for each in found.values() if each.positive is not None]
        is_learnt = pa.array(np.logical_or.reduce([clicked, *positives]))
        return _in_order(events.filter(is_learnt), self.events.time)

    def remembered(self, events: pa.Table) -> pa.Table | None:
        """Of events that a memory other than that of clicks remembers: keys, times, and whose they
        are; None where there is no such memory.
        """
        schema = self.events
        memories = {
            name: memory.of
            for name, memory in self.model.memories().items()
            if memory.of is not None
        }
        if not memories:
            return None
        is_any = np.logical_or.reduce([of.among(events) for of in memories.values()])
        has_user = pc.is_valid(events[schema.user]).to_numpy()
        came = _in_order(events.filter(pa.array(is_any & has_user)), schema.time)
        columns = _coordinates(came, schema)
        columns |= {
            f"{REMEMBERED}{name}": pa.array(of.among(came)) for name, of in memories.items()
        }
        return pa.table(columns)

    def _clicked(self, events: pa.Table) -> Bools:
        found: Bools = self.events.is_click(events).to_numpy(zero_copy_only=False)
        return found

    def enriched(
        self, state: DerivedState, events: pa.Table, remembered: pa.Table | None
    ) -> pa.Table:
        """The rows of a slice; the state takes them in."""
        schema, model = self.events, self.model
        clicked = self._clicked(events)
        columns = _coordinates(events, schema)
        told = events_of(pa.table(columns))
        state.begin(told, remembered)
        query = encode(events, model.query, time_column=schema.time)
        candidate = encode(events, model.candidate, time_column=schema.time)
        candidate = state.catalogue.filled(
            told.items, candidate, missing_in(events, stateless(model.candidate))
        )
        columns |= {ITEM_ID: events[schema.item], IS_CLICK: pa.array(clicked)}
        columns |= labels.to_columns(labels.labels_of(events, clicked, model))
        if hard := model.hard():
            columns[HARD] = keys_to_lists(hard.of(events, told.items))
        # 1. What is told of the clicks before, 2. these clicks count, 3. and what is told of the
        # clicks before of items that are known now.
        query |= state.histories_before(told, clicked, remembered)
        query |= state.users_told(told, clicked)
        before = state.item_clicks.copy()
        state.remember(remembered)
        state.told.add(told.users, query)
        ids = events[schema.item].combine_chunks()
        state.add(told, clicked, ids=ids, attributes=candidate)
        if statistics := model.item_statistics():
            candidate[statistics.name] = state.statistics_of(told, clicked, statistics, before)
        columns |= to_columns(query, model.query, "query")
        columns |= to_columns(candidate, model.candidate, "candidate")
        return pa.table(columns)


def first_units(found: list[Found]) -> int:
    """How many of these shards, in the order in which they are sliced, make the next slice."""
    count, events = 0, 0
    for _, unit in groupby(found, key=lambda each: each.minute_at):
        shards = list(unit)
        events += sum(each.footer.rows for each in shards)
        if count and events > MOST_EVENTS:
            break
        count += len(shards)
    return count


def ranges_of(found: list[Found]) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    for footer in (each.footer for each in found):
        first = ranges[footer.partition][0] if footer.partition in ranges else footer.first
        ranges[footer.partition] = (first, footer.next)
    return ranges


def _coordinates(events: pa.Table, schema: EventSchema) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Where each event lay, when it was, and whose."""
    return {
        PARTITION: events[PARTITION_COLUMN],
        OFFSET: events[OFFSET_COLUMN],
        UNIT: events[UNIT],
        EVENT_TIME: events[schema.time],
        USER_KEY: pa.array(keys_of(events[schema.user])),
        ITEM_KEY: pa.array(keys_of(events[schema.item])),
    }


def missing_in(events: pa.Table, features: tuple[Feature, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    """By feature, [N]: whether an event says nothing about it."""
    return {
        feature.name: np.logical_or.reduce(
            [pc.is_null(events[each], nan_is_null=True).to_numpy() for each in feature.reads()]
        )
        for feature in features
        if feature.reads()
    }


def _with_times_that_came(events: pa.Table, shard: Found, clock: Clock) -> pa.Table:
    """Older programs believed any broker time: one that has not come becomes that of the message
    before, or the shard's minute.
    """
    stored_ms = events[BROKER_TIME_COLUMN].cast(pa.int64())
    has_come = pc.less_equal(stored_ms, to_unix_ms(clock.latest()))
    came_ms = pc.fill_null_forward(pc.if_else(has_come, stored_ms, None).combine_chunks())
    came_ms = pc.fill_null(came_ms, to_unix_ms(shard.minute_at))
    at = events.schema.get_field_index(BROKER_TIME_COLUMN)
    field = events.schema.field(at)
    return events.set_column(at, field, came_ms.cast(field.type))


def _bounded(events: pa.Table, time_column: str, *, last_ms: int) -> pa.Table:
    """Nothing happens after it was stored, nor after the shard that holds it could still be open:
    one click of the year 2100 must not make all others old.
    """
    happened, stored = (events[name].cast(pa.int64()) for name in (time_column, BROKER_TIME_COLUMN))
    at = events.schema.get_field_index(time_column)
    field = events.schema.field(at)
    times = pc.min_element_wise(happened, stored, pa.scalar(last_ms, pa.int64()))
    return events.set_column(at, field, times.cast(field.type))


def _in_order(events: pa.Table, time_column: str) -> pa.Table:
    """By unit, then as they happened."""
    order = [(each, "ascending") for each in (UNIT, time_column, PARTITION_COLUMN, OFFSET_COLUMN)]
    return events.take(pc.sort_indices(events, order))

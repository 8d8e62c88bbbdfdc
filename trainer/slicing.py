"""Make slices: read the newest shards in order, encode what is learnt as of its own time.

The chain of slices is one for all lines of training, since a slice depends on the log alone and on
no weights. A slice holds the next units of one hour, each of them whole (`trainer.units`); so
running late or often changes where slices end, and neither what is in them nor their order.
"""

from collections import defaultdict
from datetime import date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainer import labels
from trainer.chains import Found, shards_behind
from trainer.days import Calendar
from trainer.derived import Bools
from trainer.state import DerivedState, events_of, stateless
from trainer.units import happened_before, is_believed, sealed_until
from twintide.clock import Clock, floor_to_minutes, from_unix_ms, to_unix_ms
from twintide.columns import read_events
from twintide.config import Deployment
from twintide.errors import Corrupt
from twintide.events import (
    BROKER_TIME_COLUMN,
    OFFSET_COLUMN,
    PARTITION_COLUMN,
    EventSchema,
)
from twintide.features import Feature
from twintide.features.columns import encode, to_columns
from twintide.files import exclusive_lock, sweep_temporaries
from twintide.keys import keys_of
from twintide.ragged import keys_to_lists
from twintide.records import Position
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
    Slice,
    SliceFooter,
    chain_dir,
    publish_slice,
    read_chain,
)


class Slicer:
    """The chain's end, and the derived state there. `chain` holds every slice, oldest first."""

    def __init__(
        self, deployment: Deployment, state: DerivedState, position: Position, *, clock: Clock
    ) -> None:
        """`state` is that of a checkpoint at `position`; slices after it are folded in. Where the
        chain does not reach so far, as slices were removed, its own state is made from its slices.
        """
        self._deployment = deployment
        self._clock = clock
        self._root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
        self._ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
        self._calendar = Calendar.of(deployment.training)
        self._last_unit: dict[int, datetime] = {}
        self.chain: list[Slice] = []
        self.position: Position = {}
        chain = read_chain(self._root)
        ends = {p: next_ for each in chain for p, (_, next_) in each.footer.ranges.items()}
        reaches = all(ends.get(partition, 0) >= next_ for partition, next_ in position.items())
        self.state = state if reaches else DerivedState.empty(deployment)
        self._take_up(chain, learnt=position if reaches else {})

    def sealed_until(self, now: datetime) -> datetime:
        """How far the line may go at `now`."""
        return sealed_until(self._ledger, now=now, clock=self._clock)

    def extend(self, until: datetime) -> list[Slice]:
        """Slice every unit that ends by `until` and is not sliced yet."""
        with exclusive_lock(self._root / ".lock", who="slicing", wait_seconds=600):
            sweep_temporaries(self._root, older_than_seconds=0)
            behind = read_chain(self._root, after=len(self.chain))
            self._take_up(behind, learnt={})
            groups = self._new_shards_by_hour(until)
            made = [
                self._make(groups[hour_at, day], hour_at=hour_at, day=day, until=until)
                for hour_at, day in sorted(groups)
            ]
        return [*behind, *made]

    def _take_up(self, slices: list[Slice], *, learnt: Position) -> None:
        for slice_ in slices:
            if slice_.footer.fingerprint != self._root.name:
                raise Corrupt(
                    f"slice {slice_.path} was made for another declaration than its folder's",
                    hint="remove it and all later ones: the next run makes them from the shards",
                )
            if not slice_.is_covered_by(learnt):
                self.state = self.state.after(slice_, learnt)
            self._append(slice_)

    def _append(self, slice_: Slice) -> None:
        self.chain.append(slice_)
        for partition, (_, next_) in slice_.footer.ranges.items():
            self.position[partition] = next_
            self._last_unit[partition] = slice_.footer.units[partition]

    def _new_shards_by_hour(self, until: datetime) -> dict[tuple[datetime, date], list[Found]]:
        """Shards after the chain, by hour. Each partition's ledger must go on where it stopped."""
        groups: dict[tuple[datetime, date], list[Found]] = defaultdict(list)
        for each in shards_behind(
            self._ledger,
            self.position,
            self._last_unit,
            since=self._oldest_hour_of_interest(),
            until=until,
            clock=self._clock,
        ):
            if each.minute_at + self._window <= until:
                hour_at = floor_to_minutes(each.minute_at, 60)
                groups[hour_at, self._calendar.day_of(each.minute_at)].append(each)
        for found in groups.values():
            found.sort(key=lambda each: (each.minute_at, each.name.partition, each.name.first))
        return groups

    @property
    def _window(self) -> timedelta:
        return timedelta(minutes=self._deployment.shards.minutes)

    def _oldest_hour_of_interest(self) -> datetime | None:
        """Older hours hold nothing new, once every partition is known."""
        partitions = max(
            (mark.partitions for mark in self._ledger.watermarks().values()), default=0
        )
        if not partitions or len(self._last_unit) < partitions:
            return None
        return min(self._last_unit.values())

    def _make(self, found: list[Found], *, hour_at: datetime, day: date, until: datetime) -> Slice:
        schema = self._deployment.events
        events = pa.concat_tables(self._read(each) for each in found)
        remembered = self._remembered(events)
        rows, self.state = self._enriched(
            _in_order(self._learnable(events), schema.time), remembered
        )
        footer = SliceFooter(
            sequence=len(self.chain) + 1,
            day=day,
            hour_at=hour_at,
            until=min(until, found[-1].minute_at + self._window),
            ranges=_ranges_of(found),
            units={each.name.partition: each.minute_at for each in found},
            events=len(events),
            rows=len(rows),
            remembered=0 if remembered is None else len(remembered),
            newest_event_at=_newest(rows),
            fingerprint=self._root.name,
        )
        made = publish_slice(self._root, footer, rows, remembered)
        self._append(made)
        return made

    def _read(self, shard: Found) -> pa.Table:
        """The events of a shard, each with its unit, none later than that lets them be."""
        schema = self._deployment.events
        events = read_events(shard.name.path, schema)
        if not is_believed(shard):
            events = _with_times_that_came(events, shard, self._clock)
        end = happened_before(shard, minutes=self._deployment.shards.minutes, clock=self._clock)
        bounded = _bounded(events, schema.time, last_ms=to_unix_ms(end) - 1)
        unit = pa.scalar(shard.minute_at, pa.timestamp("ms", tz="UTC"))
        return bounded.append_column(UNIT, pa.repeat(unit, len(events)))

    def _learnable(self, events: pa.Table) -> pa.Table:
        """Clicks, and positives of any objective."""
        clicked = self._clicked(events)
        found = labels.labels_of(events, clicked, self._deployment.model)
        positives = [each.positive for each in found.values() if each.positive is not None]
        return events.filter(pa.array(np.logical_or.reduce([clicked, *positives])))

    def _remembered(self, events: pa.Table) -> pa.Table | None:
        """Of events that a memory other than that of clicks remembers: keys, times, and whose they
        are; None where there is no such memory.
        """
        schema = self._deployment.events
        memories = {
            name: memory.of
            for name, memory in self._deployment.model.memories().items()
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
        found: Bools = self._deployment.events.is_click(events).to_numpy(zero_copy_only=False)
        return found

    def _enriched(
        self, events: pa.Table, remembered: pa.Table | None
    ) -> tuple[pa.Table, DerivedState]:
        """The rows of a slice, and the state after it."""
        schema, model = self._deployment.events, self._deployment.model
        clicked = self._clicked(events)
        columns = _coordinates(events, schema)
        told = events_of(pa.table(columns))
        query = encode(events, model.query, time_column=schema.time)
        candidate = encode(events, model.candidate, time_column=schema.time)
        candidate = self.state.catalogue.filled(
            told.items, candidate, missing_in(events, stateless(model.candidate))
        )
        columns |= {ITEM_ID: events[schema.item], IS_CLICK: pa.array(clicked)}
        columns |= labels.to_columns(labels.labels_of(events, clicked, model))
        if hard := model.hard():
            columns[HARD] = keys_to_lists(hard.of(events, told.items))
        statistics = model.item_statistics()
        query |= self.state.histories_before(told, clicked, remembered)
        query |= self.state.users_told(told, clicked)
        after = self.state.with_remembered(remembered).with_events(
            told, clicked, ids=events[schema.item].combine_chunks(), attributes=candidate
        )
        if statistics:
            candidate[statistics.name] = self.state.statistics_of(
                told, clicked, statistics, after.catalogue
            )
        columns |= to_columns(query, model.query, "query")
        columns |= to_columns(candidate, model.candidate, "candidate")
        return pa.table(columns), after


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


def _ranges_of(found: list[Found]) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    for footer in (each.footer for each in found):
        first = ranges[footer.partition][0] if footer.partition in ranges else footer.first
        ranges[footer.partition] = (first, footer.next)
    return ranges


def _newest(rows: pa.Table) -> datetime | None:
    newest = pc.max(rows.filter(rows[IS_CLICK])[EVENT_TIME].cast(pa.int64())).as_py()
    return None if newest is None else from_unix_ms(newest)

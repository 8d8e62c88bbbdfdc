"""Make slices: read the newest shards in order, encode every click as of its own time.

The chain of slices is one for all lines of training, since a slice depends on the log alone and on
no weights. A slice holds what one hour's shards hold of the newest minutes; so running late or
often changes where slices end, and neither what is in them nor their order.
"""

from collections import defaultdict
from datetime import date, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from trainer.chains import Found, shards_behind
from trainer.days import Calendar
from trainer.derived import Clicks
from trainer.state import DerivedState
from twintide.clock import Clock, floor_to_minutes, from_unix_ms, to_unix_ms
from twintide.columns import read_events
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.events import (
    BROKER_TIME_COLUMN,
    OFFSET_COLUMN,
    PARTITION_COLUMN,
    EventSchema,
)
from twintide.features import encode, to_columns
from twintide.files import exclusive_lock, sweep_temporaries
from twintide.keys import keys_of
from twintide.records import Position
from twintide.shards import Ledger
from twintide.slices import (
    EVENT_TIME,
    ITEM_ID,
    ITEM_KEY,
    OFFSET,
    PARTITION,
    USER_KEY,
    Slice,
    SliceFooter,
    publish_slice,
    read_chain,
)


def fingerprint_of(deployment: Deployment) -> str:
    return f"{deployment.events.fingerprint()}-{deployment.model.fingerprint()}"


class Slicer:
    """The chain's end, and the derived state there. `chain` holds every slice, oldest first."""

    def __init__(
        self, deployment: Deployment, state: DerivedState, position: Position, *, clock: Clock
    ) -> None:
        """`state` is that of a checkpoint at `position`; slices after it are folded in.

        Raises Refused where the slices were made for other events or features.
        """
        self._deployment = deployment
        self._clock = clock
        self._ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
        self._calendar = Calendar.of(deployment.training)
        self._last_hour: dict[int, datetime] = {}
        self.chain: list[Slice] = []
        self.position: Position = {}
        self.state = state
        self._take_up(read_chain(deployment.slices_dir), learnt=position)

    def extend(self, until: datetime) -> list[Slice]:
        """Slice every shard whose minute begins before `until` and is not sliced yet."""
        with exclusive_lock(self._deployment.slices_dir / ".lock", who="slicing", wait_seconds=600):
            sweep_temporaries(self._deployment.slices_dir, older_than_seconds=0)
            behind = read_chain(self._deployment.slices_dir, after=len(self.chain))
            self._take_up(behind, learnt={})
            groups = self._new_shards_by_hour(until)
            made = [
                self._make(groups[hour_at, day], hour_at=hour_at, day=day, until=until)
                for hour_at, day in sorted(groups)
            ]
        return [*behind, *made]

    def _take_up(self, slices: list[Slice], *, learnt: Position) -> None:
        wanted = fingerprint_of(self._deployment)
        for slice_ in slices:
            if slice_.footer.fingerprint != wanted:
                raise Refused(
                    f"slice {slice_.name} was made for other events or features",
                    hint="give the new declaration a data_dir of its own; "
                    "folders.shards may be shared",
                )
            if not slice_.is_covered_by(learnt):
                self.state = self.state.with_slice(slice_.read())
            self._append(slice_)

    def _append(self, slice_: Slice) -> None:
        self.chain.append(slice_)
        for partition, (_, next_) in slice_.footer.ranges.items():
            self.position[partition] = next_
            self._last_hour[partition] = slice_.footer.hour_at

    def _new_shards_by_hour(self, until: datetime) -> dict[tuple[datetime, date], list[Found]]:
        """Shards after the chain, by hour; each partition's ledger is checked to go on where it
        stopped.
        """
        groups: dict[tuple[datetime, date], list[Found]] = defaultdict(list)
        for found in shards_behind(
            self._ledger,
            self.position,
            self._last_hour,
            since=self._oldest_hour_of_interest(),
            until=until,
            clock=self._clock,
        ):
            hour_at = floor_to_minutes(found.minute_at, 60)
            groups[hour_at, self._calendar.day_of(found.minute_at)].append(found)
        return groups

    def _oldest_hour_of_interest(self) -> datetime | None:
        """Older hours hold nothing new, once every partition is known."""
        partitions = max(
            (mark.partitions for mark in self._ledger.watermarks().values()), default=0
        )
        if not partitions or len(self._last_hour) < partitions:
            return None
        return min(self._last_hour.values())

    def _make(self, found: list[Found], *, hour_at: datetime, day: date, until: datetime) -> Slice:
        schema = self._deployment.events
        events = pa.concat_tables(
            _with_times_that_came(each, schema, self._clock) for each in found
        )
        clicks = _in_event_order(events.filter(schema.is_click(events)), schema.time)
        rows, self.state = self._enriched(clicks)
        footer = SliceFooter(
            sequence=len(self.chain) + 1,
            day=day,
            hour_at=hour_at,
            until=min(until, hour_at + timedelta(hours=1)),
            ranges=_ranges_of(found),
            events=len(events),
            rows=len(rows),
            newest_event_at=_newest(rows),
            fingerprint=fingerprint_of(self._deployment),
        )
        made = publish_slice(self._deployment.slices_dir, footer, rows)
        self._append(made)
        return made

    def _enriched(self, events: pa.Table) -> tuple[pa.Table, DerivedState]:
        """The rows of a slice, and the state after it."""
        schema, model = self._deployment.events, self._deployment.model
        clicks = Clicks(
            users=keys_of(events[schema.user]),
            items=keys_of(events[schema.item]),
            at_ms=events[schema.time].cast(pa.int64()).to_numpy(),
        )
        query = encode(events, model.query, time_column=schema.time)
        candidate = encode(events, model.candidate, time_column=schema.time)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            PARTITION: events[PARTITION_COLUMN],
            OFFSET: events[OFFSET_COLUMN],
            EVENT_TIME: events[schema.time],
            ITEM_ID: events[schema.item],
            USER_KEY: pa.array(clicks.users),
            ITEM_KEY: pa.array(clicks.items),
        }
        history, statistics = model.history(), model.item_statistics()
        if history:
            query[history.name] = self.state.histories_before(clicks)
        after = self.state.with_clicks(
            clicks, ids=events[schema.item].combine_chunks(), attributes=candidate
        )
        if statistics:
            candidate[statistics.name] = after.statistics_of(clicks, statistics)
        columns |= to_columns(query, model.query, "query")
        columns |= to_columns(candidate, model.candidate, "candidate")
        return pa.table(columns), after


def _with_times_that_came(found: Found, schema: EventSchema, clock: Clock) -> pa.Table:
    """The events of a shard. Older programs believed any broker time: one that has not come becomes
    that of the message before, or the shard's minute.
    """
    events = read_events(found.name.path, schema)
    latest_ms = to_unix_ms(clock.latest())
    stored_ms = events[BROKER_TIME_COLUMN].cast(pa.int64())
    if not len(events) or pc.max(stored_ms).as_py() <= latest_ms:
        return events
    has_come = pc.less_equal(stored_ms, latest_ms)
    came_ms = pc.fill_null_forward(pc.if_else(has_come, stored_ms, None).combine_chunks())
    came_ms = pc.fill_null(came_ms, to_unix_ms(found.minute_at))
    at = events.schema.get_field_index(BROKER_TIME_COLUMN)
    field = events.schema.field(at)
    return events.set_column(at, field, came_ms.cast(field.type))


def _in_event_order(events: pa.Table, time_column: str) -> pa.Table:
    """By event time. A clock that runs ahead is set back: nothing happens after it was stored, and
    one click of the year 2100 must not make all others old.
    """
    happened, stored = (events[name].cast(pa.int64()) for name in (time_column, BROKER_TIME_COLUMN))
    times = pc.min_element_wise(happened, stored).cast(events.schema.field(time_column).type)
    at = events.schema.get_field_index(time_column)
    timed = events.set_column(at, events.schema.field(at), times)
    order = [
        (time_column, "ascending"),
        (PARTITION_COLUMN, "ascending"),
        (OFFSET_COLUMN, "ascending"),
    ]
    return timed.take(pc.sort_indices(timed, order))


def _ranges_of(found: list[Found]) -> dict[int, tuple[int, int]]:
    ranges: dict[int, tuple[int, int]] = {}
    for footer in (each.footer for each in found):
        first = ranges[footer.partition][0] if footer.partition in ranges else footer.first
        ranges[footer.partition] = (first, footer.next)
    return ranges


def _newest(rows: pa.Table) -> datetime | None:
    newest = pc.max(rows[EVENT_TIME].cast(pa.int64())).as_py()
    return None if newest is None else from_unix_ms(newest)

"""Make slices: read the newest shards in order, encode what is learnt as of its own time.

The chain of slices is one for all lines of training, since a slice depends on the log alone and on
no weights. A slice holds the next units of one hour, each of them whole (`trainer.units`); so
running late or often changes where slices end, and neither what is in them nor their order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trainer.reading import ShardReader, ShardsByHour, first_units, ranges_of
from trainer.units import sealed_until
from twintide.behind import Found
from twintide.clock import Clock, from_unix_ms
from twintide.config import Deployment
from twintide.derived.clicks import ItemClicks
from twintide.derived.state import DerivedState
from twintide.errors import Corrupt
from twintide.files import exclusive_lock, remove_folder, sweep_temporaries
from twintide.positions import reaches
from twintide.records import Position
from twintide.slices import (
    EVENT_TIME,
    IS_CLICK,
    Ends,
    Slice,
    SliceFooter,
    chain_dir,
    goes_on,
    offsets_of,
    publish_slice,
    read_chain,
    read_tail,
)
from twintide.telemetry import get_log

log = get_log("trainer")


@dataclass(frozen=True)
class Taken:
    """A slice that a run has come to; the state has taken in what it holds."""

    slice_: Slice
    rows: pa.Table
    """Those of its rows that are not learnt."""

    clicks_before: ItemClicks
    """What was counted before any of it was."""

    learnt: Position
    """What is learnt: the rows are those behind it."""


@dataclass(frozen=True)
class _Groups:
    """What there is to be sliced, up to an instant, behind a chain of a length."""

    until: datetime
    chain_length: int
    shards: ShardsByHour


def begin_anew_where_cut(root: Path) -> None:
    """Take away a chain whose first slices are gone, for whoever needs it from its begin on: it is
    made anew from the shards.
    """
    if read_tail(root, {}).starts is None:
        log.warning("slices_made_anew", folder=str(root), reason="the first ones are gone")
        remove_folder(root)


class Slicer:
    """The chain of slices, and one derived state that goes along it with a run: each slice that it
    comes to is read or made, once, and folded in, once. `chain` holds the slices from the first on
    that the position has not covered, oldest first.
    """

    def __init__(
        self,
        deployment: Deployment,
        state: DerivedState,
        position: Position,
        *,
        clock: Clock,
        anew: Callable[[], DerivedState] | None = None,
    ) -> None:
        """`state` is that of a checkpoint at `position`, and it is changed; `anew` gives it again.
        Without `anew` it is an empty one. Where the chain does not reach so far, as slices were
        removed, another state goes along it from its begin, until they are made again.
        """
        self._deployment = deployment
        self._clock = clock
        self._root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
        self._reader = ShardReader.of(deployment, deployment.events, deployment.model, clock=clock)
        self._last_unit: dict[int, datetime] = {}
        self._learnt = dict(position)
        self._groups: _Groups | None = None
        self._just_made: Taken | None = None
        self._apart: DerivedState | None = None
        self._taken_apart = 0
        self._is_swept = False
        self._strayed = False
        """Whether the state has left slices out that are behind it."""

        self.chain: list[Slice] = []
        self.position: Position = {}
        """Where the chain ends."""

        tail = read_tail(self._root, position)
        is_behind = not reaches(offsets_of(tail.ends), position)
        if is_behind:
            begin_anew_where_cut(self._root)
            tail = read_tail(self._root, {})
        self._anew = anew if anew and not is_behind else lambda: DerivedState.empty(deployment)
        self._anew_at: Position = {} if is_behind else dict(position)
        self.state = state
        self._ahead: list[Slice] = []
        """Of the chain, what the state has not taken in."""

        self._before = tail.before
        """Number of the slice before the first of `chain`."""

        if tail.starts is None:
            raise tail.cut_off()
        for partition, (next_, unit) in tail.starts.items():
            self.position[partition], self._last_unit[partition] = next_, unit
        self._take_up(tail.slices)

    def sealed_until(self, now: datetime) -> datetime:
        """How far the line may go at `now`."""
        return sealed_until(self._reader.ledger, now=now, clock=self._clock)

    def in_order(self, until: datetime) -> Iterator[Taken]:
        """What is not learnt, up to the first slice that goes beyond `until`."""
        self._groups = None
        while self._ahead or self._grow(until):
            if self._ahead and self._ahead[0].footer.until > until:
                return
            if self._ahead:
                yield self._take(0)

    def of_days(self, last_day: date) -> Iterator[Taken]:
        """What is not learnt of the days up to that one, in order; what belongs to later days and
        came before stays where it is.
        """
        until = self._reader.calendar.end_of(last_day)
        self._groups = None
        while True:
            days = [each.footer.day for each in self._ahead]
            place = next((n for n, day in enumerate(days) if day <= last_day), None)
            if place is not None:
                yield self._take(place)
            elif not self._grow(until):
                return

    def extend(self, until: datetime) -> list[Slice]:
        """Go along the whole chain, and slice every unit that ends by `until` and is not sliced
        yet; returns the slices that it has come to.
        """
        passed = []
        self._groups = None
        while self._ahead or self._grow(until):
            if self._ahead:
                passed.append(self._ahead[0])
                self._take(0)
        return passed

    def rows_to_come(self, until: datetime) -> int:
        """Rows up to `until` that the state has not taken in: what is not sliced yet may hold
        events that are not learnt, so it is at most so many.
        """
        sliced = sum(each.footer.rows for each in self._ahead if each.footer.until <= until)
        found = self._new_groups(until).values()
        return sliced + sum(each.footer.rows for shards in found for each in shards)

    def days_to_come(self, last_day: date) -> set[date]:
        """Days up to that one of which there are rows that the state has not taken in."""
        sliced = {each.footer.day for each in self._ahead if each.footer.rows}
        found = self._new_groups(self._reader.calendar.end_of(last_day)).items()
        new = {day for (_, day), shards in found if any(each.footer.rows for each in shards)}
        return {day for day in sliced | new if day <= last_day}

    def _take(self, place: int) -> Taken:
        """Fold in the slice at this place of those ahead, where making it has not done so."""
        self._strayed |= place > 0
        each, made = self._ahead.pop(place), self._just_made
        self._just_made = None
        if made is not None and made.slice_ is each:
            return made
        before, contents = self.state.item_clicks.copy(), each.contents(after=self._learnt)
        self.state.fold(contents)
        return Taken(each, each.behind(self._learnt, contents.rows), before, self._learnt)

    def _take_up(self, slices: list[Slice]) -> None:
        for slice_ in slices:
            if slice_.footer.fingerprint != self._root.name:
                raise Corrupt(
                    f"slice {slice_.path} was made for another declaration than its folder's",
                    hint="remove it and all later ones: the next run makes them from the shards",
                )
            self._append(slice_)

    def _append(self, slice_: Slice) -> None:
        self.chain.append(slice_)
        if not slice_.is_covered_by(self._learnt):
            self._ahead.append(slice_)
        for partition, (next_, unit) in slice_.came_to.items():
            self.position[partition], self._last_unit[partition] = next_, unit

    def _grow(self, until: datetime) -> bool:
        """Put the chain on by what others have made since, or by the next slice that ends by
        `until`; whether there was either.
        """
        with exclusive_lock(self._root / ".lock", who="slicing", wait_seconds=600):
            if not self._is_swept:
                sweep_temporaries(self._root, older_than_seconds=0)
                self._is_swept = True
            if goes_on(self._root, after=self._newest):
                self._take_up(read_chain(self._root, after=self._newest))
                return True
            groups = self._new_groups(until)
            if not groups:
                return False
            (hour_at, day), found = min(groups.items())
            count = first_units(found)
            self._make(found[:count], hour_at=hour_at, day=day, until=until)
            self._groups = _Groups(until, len(self.chain), groups)
            del groups[hour_at, day]
            if later := found[count:]:
                groups[hour_at, day] = later
            return True

    @property
    def _newest(self) -> int:
        """Number of the newest slice."""
        return self._before + len(self.chain)

    def _new_groups(self, until: datetime) -> ShardsByHour:
        """Shards after the chain that end by `until`; looked for once for as long as the chain is
        put on from here only.
        """
        known, length = self._groups, len(self.chain)
        if known is None or (known.until, known.chain_length) != (until, length):
            found = self._reader.behind(self._ends, until=until)
            known = self._groups = _Groups(until, length, found)
        return known.shards

    def _make(self, found: list[Found], *, hour_at: datetime, day: date, until: datetime) -> None:
        """The next slice, from the state where the chain ends."""
        events = self._reader.read(found)
        remembered = self._reader.remembered(events)
        is_in_step = not self._ahead and not self._strayed and reaches(self.position, self._learnt)
        state = self.state if is_in_step else self._state_of_chain()
        before = state.item_clicks.copy()
        rows = self._reader.enriched(state, self._reader.learnable(events), remembered)
        ranges = ranges_of(found)
        units = {each.name.partition: each.minute_at for each in found}
        footer = SliceFooter(
            sequence=self._newest + 1,
            day=day,
            hour_at=hour_at,
            until=min(until, found[-1].minute_at + self._reader.window),
            ranges=ranges,
            units=units,
            ends=self._ends | {p: (next_, units[p]) for p, (_, next_) in ranges.items()},
            events=len(events),
            rows=len(rows),
            remembered=0 if remembered is None else len(remembered),
            newest_event_at=_newest(rows),
            fingerprint=self._root.name,
        )
        made = publish_slice(self._root, footer, rows, remembered)
        self._append(made)
        if is_in_step:
            not_learnt = made.behind(self._learnt, rows)
            self._just_made = Taken(made, not_learnt, before, self._learnt)
        else:
            self._taken_apart = len(self.chain)

    @property
    def _ends(self) -> Ends:
        return {each: (next_, self._last_unit[each]) for each, next_ in self.position.items()}

    def _state_of_chain(self) -> DerivedState:
        """Where the chain ends, while the run's own state is behind that, or has left some of it
        out: a partition that was waited for in vain brings what belongs to a night, behind what
        belongs to the next.
        """
        if self._apart is None:
            self._apart = self._anew()
        for each in self.chain[self._taken_apart :]:
            if not each.is_covered_by(self._anew_at):
                self._apart.fold(each.contents(after=self._anew_at))
        self._taken_apart = len(self.chain)
        return self._apart


def _newest(rows: pa.Table) -> datetime | None:
    newest = pc.max(rows.filter(rows[IS_CLICK])[EVENT_TIME].cast(pa.int64())).as_py()
    return None if newest is None else from_unix_ms(newest)

"""The same log gives the same rows, however it is cut and whoever comes late."""

import json
import shutil
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.trainer.conftest import START, at, deployment_in, small_stream
from trainer import reading
from trainer.slicing import Slicer
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.derived.state import DerivedState
from twintide.shardfile import ShardFooter, encoded, path_of
from twintide.shards import Ledger, Watermark
from twintide.slices import EVENT_TIME, ITEM_ID, OFFSET, PARTITION, UNIT, chain_dir, read_chain

PARTITIONS = 2
MINUTE = timedelta(minutes=1)
WINDOW = 5
END = 180
"""Minutes of the log, in units of WINDOW."""

CLICKS = 500


def minute(number: float) -> datetime:
    """So many minutes into the log."""
    return START + number * MINUTE


def log_of(deployment: Deployment, *, seed: int = 3) -> pa.Table:
    """Clicks by the minute in which the broker stored them (`stored`); one in ten happened up to
    two hours earlier, a few say that they are of another year, and most do not say what they are.
    """
    events = small_stream(deployment, days=1).slice(0, CLICKS)
    rng = np.random.default_rng(seed)
    stored_ms = np.sort(rng.integers(0, END * 60_000, len(events)))
    happened_ms = stored_ms - rng.integers(0, 3_000, len(events))
    late = rng.random(len(events)) < 0.1
    happened_ms[late] -= rng.integers(0, 7_200_000, int(late.sum()))
    happened_ms += int(START.timestamp() * 1000)
    happened_ms[::97] += 73 * 365 * 86_400_000
    happened_ms[50::211] -= 25 * 365 * 86_400_000
    quiet = pa.array(rng.random(len(events)) < 0.6)
    columns = {name: events[name] for name in events.column_names}
    columns["category"] = pc.if_else(quiet, None, columns["category"])
    columns["topics"] = pc.if_else(quiet, None, columns["topics"])
    columns["event_at"] = pa.array(happened_ms).cast(pa.timestamp("ms", tz="UTC"))
    columns["clicked"] = pa.array([True] * len(events))
    table = pa.table(columns).cast(events.schema)
    return table.append_column("stored", pa.array(stored_ms + int(START.timestamp() * 1000)))


class Ingest:
    """Commits the log minute by minute, each partition as late as it is told."""

    def __init__(self, deployment: Deployment, *, minutes_late: dict[int, float]) -> None:
        self.deployment = deployment
        self._late = minutes_late
        self._ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
        self._log = log_of(deployment)
        users = np.asarray(self._log["user_id"])
        stored = (np.asarray(self._log["stored"]) - int(START.timestamp() * 1000)) // (
            WINDOW * 60_000
        )
        self._rows = {
            (partition, unit): np.flatnonzero((users % PARTITIONS == partition) & (stored == unit))
            for partition in range(PARTITIONS)
            for unit in range(END // WINDOW)
        }
        self._done = dict.fromkeys(range(PARTITIONS), 0)
        self._next = dict.fromkeys(range(PARTITIONS), 0)

    def until(self, now: datetime) -> None:
        """All that is committed at that moment."""
        for partition, late in self._late.items():
            ready = int((now - minute(late)) / (WINDOW * MINUTE))
            while self._done[partition] < min(ready, END // WINDOW):
                self._commit(partition, self._done[partition])
                self._done[partition] += 1
            self._ledger.publish_watermark(
                Watermark(
                    topic=self._ledger.topic,
                    partition=partition,
                    next=self._next[partition],
                    complete_until=max(START, minute(ready * WINDOW)),
                    partitions=PARTITIONS,
                )
            )

    def _commit(self, partition: int, unit: int) -> None:
        rows = self._rows[partition, unit]
        if not len(rows):
            return
        schema, first = self.deployment.events, self._next[partition]
        own = self._log.take(pa.array(rows))
        coordinates = [
            pa.array(np.full(len(rows), partition, np.int32)),
            pa.array(np.arange(first, first + len(rows))),
            own["stored"].cast(pa.timestamp("ms", tz="UTC")),
        ]
        columns = [own[name] for name in schema.columns]
        footer = ShardFooter(
            topic=self._ledger.topic,
            partition=partition,
            first=first,
            next=first + len(rows),
            minute_at=minute(unit * WINDOW),
            rows=len(rows),
            partitions=PARTITIONS,
            fingerprint=schema.fingerprint(),
        )
        events = pa.table([*columns, *coordinates], schema=schema.shard_schema())
        path = path_of(self._ledger.root, footer)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(footer, events))
        self._next[partition] += len(rows)


MakeIngest = Callable[..., Ingest]


@pytest.fixture
def make_ingest(tmp_path: Path) -> MakeIngest:
    """Ingests of the same log, each into a folder of its own."""
    made = 0

    def make(
        minutes_late: tuple[float, float] = (0.1, 0.1), changes: dict[str, Any] | None = None
    ) -> Ingest:
        nonlocal made
        made += 1
        own = {"shards": {"minutes": WINDOW}, "data_dir": str(tmp_path / f"{made}")}
        deployment = deployment_in(tmp_path / f"log-{made}", own | (changes or {}))
        return Ingest(deployment, minutes_late=dict(enumerate(minutes_late)))

    return make


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The rows of one run when all is there."""
    folder = tmp_path_factory.mktemp("at-once")
    deployment = deployment_in(folder, {"shards": {"minutes": WINDOW}})
    return sliced(Ingest(deployment, minutes_late={0: 0.1, 1: 0.1}), [])


def sliced(ingest: Ingest, runs: Iterable[float], *, restart_each: bool = False) -> pa.Table:
    """Every row of the chain after runs at these minutes, in order."""
    deployment = ingest.deployment
    slicer = fresh(deployment)
    for run in (*runs, END + 30):
        ingest.until(minute(run))
        if restart_each:
            slicer = fresh(deployment)
        slicer.extend(slicer.sealed_until(minute(run)))
    return rows_of(deployment)


def fresh(deployment: Deployment) -> Slicer:
    """As a program has it that begins."""
    return Slicer(deployment, DerivedState.empty(deployment), {}, clock=HeldClock(minute(END + 60)))


def along(deployment: Deployment) -> Slicer:
    """One that has gone along the whole chain, and put nothing on to it."""
    slicer = fresh(deployment)
    slicer.extend(START)
    return slicer


def rows_of(deployment: Deployment) -> pa.Table:
    chain = read_chain(chain_dir(deployment.slices_dir, deployment.events, deployment.model))
    return pa.concat_tables(each.read() for each in chain).combine_chunks()


def as_bytes(rows: pa.Table) -> bytes:
    """Every value, exactly, whatever slices and buffers they came from."""
    return json.dumps(rows.to_pydict(), default=str).encode()


CUTS: dict[str, tuple[tuple[float, float], list[float], bool]] = {
    "every 5 minutes": ((0.1, 0.1), [*range(5, END, 5)], False),
    "every 5 minutes, at odd seconds": (
        (0.1, 0.1),
        [each + 0.45 for each in range(0, END, 5)],
        False,
    ),
    "every 7 minutes": ((0.1, 0.1), [*range(7, END, 7)], False),
    "every 7 minutes, each run begins anew": ((0.1, 0.1), [*range(7, END, 7)], True),
    "each hour": ((0.1, 0.1), [60, 120], False),
    "twice, at odd minutes": ((0.1, 0.1), [13.7, 101], True),
    "one partition six minutes late": ((0.1, 6.0), [*range(1, END, 9)], False),
    "the other nine minutes late": ((9.0, 2.0), [*range(1, END, 8)], True),
    "both late": ((4.0, 5.5), [*range(20, END, 11)], False),
}


QUICK = {"every 7 minutes, each run begins anew", "each hour", "one partition six minutes late"}


@pytest.mark.promise("T11")
@pytest.mark.parametrize(
    "cut", [pytest.param(cut, marks=[] if cut in QUICK else [pytest.mark.faults]) for cut in CUTS]
)
def test_one_log_gives_the_same_rows_however_it_is_cut(
    make_ingest: MakeIngest, at_once: pa.Table, cut: str
) -> None:
    """Every feature of every row, in order, to the byte: against one run when all is there."""
    minutes_late, runs, restart_each = CUTS[cut]

    found = sliced(make_ingest(minutes_late), runs, restart_each=restart_each)

    assert len(found) == CLICKS
    assert as_bytes(found) == as_bytes(at_once)


@pytest.mark.promise("T11")
@pytest.mark.long
@pytest.mark.parametrize("most", [1, 60])
def test_a_busy_hour_becomes_several_slices_and_the_same_rows(
    make_ingest: MakeIngest, at_once: pa.Table, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Whole units, as many as may be in memory at once; one that has more is a slice of its own."""
    monkeypatch.setattr(reading, "MOST_EVENTS", most)
    ingest = make_ingest()
    found = sliced(ingest, [])
    deployment = ingest.deployment
    chain = read_chain(chain_dir(deployment.slices_dir, deployment.events, deployment.model))
    units = [set(each.read()[UNIT].to_pylist()) for each in chain]
    is_one = [len(own) <= 1 for own in units]

    assert as_bytes(found) == as_bytes(at_once)
    assert len(chain) >= 9
    assert all(one or each.footer.events <= most for each, one in zip(chain, is_one, strict=True))
    assert sum(map(len, units)) == len(set.union(*units))


@pytest.mark.promise("T11")
def test_a_partition_that_is_waited_for_in_vain_stops_nothing_and_loses_nothing(
    make_ingest: MakeIngest,
) -> None:
    """It is an hour late: the other's clicks do not wait, its own are sliced when they come."""
    ingest = make_ingest((0.1, 60.0))
    slicer = fresh(ingest.deployment)
    for run in range(10, 60, 10):
        ingest.until(minute(run))
        slicer.extend(slicer.sealed_until(minute(run)))
    early = rows_of(ingest.deployment)
    rows = sliced(ingest, [*range(60, END + 70, 10)])

    assert set(early[PARTITION].to_pylist()) == {0}
    assert minute(30) <= max(early[UNIT].to_pylist()) < minute(40)
    places = list(zip(rows[PARTITION].to_pylist(), rows[OFFSET].to_pylist(), strict=True))
    assert len(set(places)) == len(places) == CLICKS


@pytest.mark.promise("T4")
@pytest.mark.promise("T11")
def test_what_comes_late_for_a_night_is_sliced_behind_the_next_day_and_learnt_with_its_own(
    make_ingest: MakeIngest,
) -> None:
    """A partition is 100 minutes late, the day ends after 90, and the hourly line has gone on. The
    night takes each click of its day, its state knows of no other, and what it slices is what
    whoever goes along the chain in order would slice.
    """
    training = {"training": {"day_starts_at": "01:30"}}
    ingest = make_ingest((0.1, 100.0), training)
    ingest.until(minute(120))
    hours = fresh(ingest.deployment)
    hours.extend(hours.sealed_until(minute(120)))
    ingest.until(minute(END + 100))
    other = make_ingest((0.1, 0.1), training).deployment
    shutil.copytree(ingest.deployment.data_dir, other.data_dir)
    today = min(each.footer.day for each in hours.chain)

    night = fresh(ingest.deployment)
    taken = list(night.of_days(today))

    in_order = fresh(other)
    in_order.extend(minute(90))
    assert as_bytes(rows_of(ingest.deployment)) == as_bytes(rows_of(other))
    days = [each.footer.day for each in night.chain]
    assert days != sorted(days)
    assert [each.slice_.name for each in taken] == [
        each.name for each in night.chain if each.footer.day == today
    ]
    apart = DerivedState.empty(ingest.deployment)
    for each in taken:
        assert each.rows.equals(each.slice_.read())
        apart.fold(each.slice_.contents())
    wanted, found = apart.arrays(), night.state.arrays()
    assert [name for name in wanted if not np.array_equal(found[name], wanted[name])] == []
    assert sum(len(each.rows) for each in taken) == sum(
        each < minute(90) for each in sliced(ingest, [])[UNIT].to_pylist()
    )


@pytest.mark.promise("T9")
def test_no_click_is_told_of_clicks_that_the_log_did_not_hold_yet(at_once: pa.Table) -> None:
    """Histories against a plain loop over the units: strictly earlier, and stored by then."""
    rows = at_once
    columns = [rows[name].to_pylist() for name in ("user", "item", EVENT_TIME, UNIT)]
    clicks = list(zip(*columns, strict=True))
    length = 20
    for number, (user, _, happened_at, unit) in enumerate(clicks):
        known = [
            (at_, place, item)
            for place, (other, item, at_, of_unit) in enumerate(clicks)
            if other == user and of_unit < unit
        ]
        kept = sorted(known)[-length:]
        own = [
            (at_, place, item)
            for place, (other, item, at_, of_unit) in enumerate(clicks)
            if other == user and of_unit == unit
        ]
        before = [each for each in sorted(kept + own) if each[0] < happened_at][-length:]
        assert rows["query.history"][number].as_py() == [item for _, _, item in before]


@pytest.mark.long
@pytest.mark.promise("T11")
def test_slices_that_were_removed_are_made_anew_as_they_were(make_ingest: MakeIngest) -> None:
    """All, or the last ones, as the error about a damaged one advises; though a checkpoint has
    learnt them, no click is told what came after it.
    """
    ingest = make_ingest()
    rows = sliced(ingest, [*range(7, END, 7)])
    deployment = ingest.deployment
    root = chain_dir(deployment.slices_dir, deployment.events, deployment.model)
    chain = read_chain(root)
    learnt = along(deployment)

    for each in chain[9:]:
        each.path.unlink()
    again = Slicer(deployment, learnt.state, learnt.position, clock=HeldClock(minute(END + 60)))
    again.extend(minute(END))
    assert as_bytes(rows_of(deployment)) == as_bytes(rows)

    shutil.rmtree(root)
    again = Slicer(deployment, learnt.state, learnt.position, clock=HeldClock(minute(END + 60)))
    again.extend(minute(END))
    assert as_bytes(rows_of(deployment)) == as_bytes(rows)


@pytest.mark.promise("T9")
def test_a_clock_that_lies_moves_no_other_click(at_once: pa.Table) -> None:
    """Clicks that say 2099 or 2001 count as of the minute in which they were stored."""
    rows = at_once
    statistics = np.stack([np.asarray(each) for each in rows["candidate.statistics"].to_pylist()])
    happened = rows[EVENT_TIME].to_pylist()

    assert max(happened) < minute(END)
    assert min(happened).year < 2002
    told = np.array([each >= at(0, 1) for each in happened])
    assert (statistics[told, 0] > 0).mean() > 0.25
    age = statistics[:, -2]
    assert age.max() < np.log1p(END / 60) / 4 + 1e-6


@pytest.mark.promise("T11")
def test_what_an_item_is_stays_when_a_click_does_not_say_it(make_ingest: MakeIngest) -> None:
    """The last that was said counts, for ids and lists alike, in rows and in the catalogue."""
    ingest = make_ingest()
    rows = sliced(ingest, [*range(7, END, 7)])
    said: dict[int, tuple[int, list[int]]] = {}
    names = (ITEM_ID, "candidate.category", "candidate.topics")
    for item, category, topics in zip(*(rows[name].to_pylist() for name in names), strict=True):
        if item in said:
            assert (category, topics) == said[item]
        if category:
            said[item] = (category, topics)

    catalogue = along(ingest.deployment).state.catalogue_table(minute(END))
    kept = zip(*(catalogue[name].to_pylist() for name in names), strict=True)
    found = {item: (category, topics) for item, category, topics in kept if category}
    assert found == said
    assert len(found) > 20

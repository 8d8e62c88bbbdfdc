"""The state that goes along the chain: against a plain loop, however it is folded, at any size."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.publisher.checkpoint_fixture import plain_manifest
from tests.trainer.conftest import Line, deployment_in
from twintide.arrays import Arrays
from twintide.checkpoints import (
    load_checkpoint,
    open_checkpoint,
    publish_checkpoint,
)
from twintide.config import Deployment
from twintide.derived.clicks import Events, bucket_ms, oldest_bucket
from twintide.derived.state import DerivedState
from twintide.features.refreshed import Refreshed
from twintide.keys import keys_of
from twintide.ragged import Encoded, Ids, Numbers, one_id_each
from twintide.slices import Slice

LENGTH = 4
UNITS = 30
UNIT_MS = 3_600_000 * 2
"""So long that the first ones leave the windows."""

MODEL = {
    "model": {
        "query": [
            {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
            {"kind": "history", "name": "history", "table": "item", "length": LENGTH},
            {"kind": "user_statistics", "name": "activity"},
        ],
        "candidate": [
            {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
            {"kind": "varlen", "name": "topics", "column": "topics", "table": "topic"},
            {"kind": "dense", "name": "length", "column": "watch_seconds", "transform": "log1p"},
            {"kind": "item_statistics", "name": "statistics"},
        ],
        "negatives": [{"kind": "in_batch"}, {"kind": "popularity", "count": 5}],
    }
}


@dataclass(frozen=True)
class Told:
    """Events of several units, and what they say of their items."""

    events: Events
    is_click: npt.NDArray[np.bool_]
    ids: pa.Array
    attributes: Encoded

    def between(self, begin: int, end: int) -> "Told":
        rows = np.arange(begin, end)
        attributes = {name: each.take(rows) for name, each in self.attributes.items()}
        ids = self.ids.slice(begin, end - begin)
        return Told(self.events.where(rows), self.is_click[rows], ids, attributes)

    def fold_into(self, state: DerivedState) -> None:
        state.add(self.events, self.is_click, ids=self.ids, attributes=self.attributes)

    def asked_of(self, state: DerivedState) -> Encoded:
        """What is told of each event."""
        before = state.item_clicks.copy()
        found = state.histories_before(self.events, self.is_click, None)
        found |= state.users_told(self.events, self.is_click)
        self.fold_into(state)
        spec = state.model.item_statistics()
        assert spec is not None
        return found | {"own": state.statistics_of(self.events, self.is_click, spec, before)}


def told(count: int, *, users: int, items: int, seed: int, units: int = UNITS) -> Told:
    """Events unit by unit, in order of time within each; some come hours late, some are nobody's,
    some no clicks, and what they say of an item changes.
    """
    rng = np.random.default_rng(seed)
    unit = np.sort(rng.integers(0, units, count)) * UNIT_MS
    at_ms = unit + rng.integers(0, UNIT_MS, count) // 1000 * 1000
    at_ms -= (rng.random(count) < 0.2) * rng.integers(0, 5 * UNIT_MS, count)
    order = np.lexsort((at_ms, unit))
    ids = pa.array(np.minimum(rng.zipf(1.3, count), items).astype(np.int64))
    user = pa.array(np.minimum(rng.zipf(1.2, count), users).astype(np.int64))
    is_known = rng.random(count) < 0.9
    lengths = rng.integers(0, 4, count)
    topics = Ids(
        rng.integers(1, 9, int(lengths.sum())).astype(np.uint64),
        np.concatenate(([0], np.cumsum(lengths))),
    )
    keys = keys_of(ids)
    return Told(
        Events(np.where(is_known, keys_of(user), 0), keys, at_ms[order], unit),
        rng.random(count) < 0.8,
        ids,
        {
            "item": one_id_each(keys),
            "topics": topics,
            "length": Numbers(rng.random((count, 1)).astype(np.float32)),
        },
    )


@dataclass
class Plain:
    """The same in loops over dicts, one unit after the other."""

    of_items: Refreshed
    of_users: Refreshed
    clicked: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    items: dict[int, dict[str, Any]] = field(default_factory=dict)
    users: dict[int, int] = field(default_factory=dict)
    item_clicks: dict[tuple[int, int], int] = field(default_factory=dict)
    user_clicks: dict[tuple[int, int], int] = field(default_factory=dict)

    def fold(self, unit: Told) -> None:
        events = unit.events
        for n, (user, item) in enumerate(zip(events.users, events.items, strict=True)):
            at_ms, unit_ms = int(events.at_ms[n]), int(events.unit_ms[n])
            known = self.items.setdefault(int(item), {"first": unit_ms, "clicks": 0})
            topics, length = unit.attributes["topics"], unit.attributes["length"]
            assert isinstance(topics, Ids)
            assert isinstance(length, Numbers)
            known["topics"] = topics.keys[topics.offsets[n] : topics.offsets[n + 1]].tolist()
            known["length"] = float(length.values[n, 0])
            if not unit.is_click[n]:
                continue
            known["clicks"] += 1
            _count(self.item_clicks, (int(item), unit_ms // bucket_ms(self.of_items)))
            if user:
                self.clicked.setdefault(int(user), []).append((at_ms, int(item)))
                self.users.setdefault(int(user), unit_ms)
                _count(self.user_clicks, (int(user), unit_ms // bucket_ms(self.of_users)))
        for user, clicks in self.clicked.items():
            self.clicked[user] = sorted(clicks, key=lambda click: click[0])[-LENGTH:]
        for counts, spec in ((self.item_clicks, self.of_items), (self.user_clicks, self.of_users)):
            oldest = oldest_bucket(events.unit_ms[-1:], spec)[0]
            for key in [key for key in counts if key[1] < oldest]:
                del counts[key]

    def arrays(self) -> Arrays:
        rows = {item: row for row, item in enumerate(self.items)}
        places = {user: place for place, user in enumerate(self.users)}
        by_item = sorted((rows[item], bucket, n) for (item, bucket), n in self.item_clicks.items())
        by_user = sorted((places[user], b, n) for (user, b), n in self.user_clicks.items())
        histories = sorted(self.clicked.items())
        lengths = [len(clicks) for _, clicks in histories]
        flat = [click for _, clicks in histories for click in clicks]
        return {
            "state.clicks.items": np.array([row for row, _, _ in by_item]),
            "state.clicks.buckets": np.array([bucket for _, bucket, _ in by_item]),
            "state.clicks.counts": np.array([count for _, _, count in by_item]),
            "state.clicks.so_far": np.array([item["clicks"] for item in self.items.values()]),
            "state.users.keys": np.array(list(self.users), np.uint64),
            "state.users.first_ms": np.array(list(self.users.values())),
            "state.users.rows": np.array([place for place, _, _ in by_user]),
            "state.users.buckets": np.array([bucket for _, bucket, _ in by_user]),
            "state.users.counts": np.array([count for _, _, count in by_user]),
            "state.history.users": np.array([user for user, _ in histories], np.uint64),
            "state.history.offsets": np.concatenate(([0], np.cumsum(lengths))),
            "state.history.items": np.array([item for _, item in flat], np.uint64),
            "state.history.at_ms": np.array([at_ms for at_ms, _ in flat]),
        }


def _count(counts: dict[tuple[int, int], int], key: tuple[int, int]) -> None:
    counts[key] = counts.get(key, 0) + 1


def units_of(stream: Told) -> Iterator[Told]:
    bounds = np.flatnonzero(np.diff(stream.events.unit_ms, prepend=-1, append=np.iinfo("i8").max))
    for begin, end in pairwise(bounds.tolist()):
        yield stream.between(begin, end)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return deployment_in(tmp_path_factory.mktemp("state"), MODEL)


AS_OF = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=UNITS * UNIT_MS)


def same(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(2))
def test_the_state_is_what_a_plain_loop_makes_of_the_log(deployment: Deployment, seed: int) -> None:
    """Histories, clicks of items and users by bucket, first sightings, and what was said last."""
    stream = told(900, users=40, items=60, seed=seed)
    state = DerivedState.empty(deployment)
    specs = state.model.item_statistics(), state.model.user_statistics()
    assert specs[0] is not None
    assert specs[1] is not None
    plain = Plain(specs[0], specs[1])
    for unit in units_of(stream):
        plain.fold(unit)
        unit.fold_into(state)

    same(state.arrays(), plain.arrays())
    table = state.catalogue_table(AS_OF)
    assert keys_of(table["item_id"]).tolist() == list(plain.items)
    firsts = table["first_seen_at"].cast(pa.int64()).to_pylist()
    assert firsts == [item["first"] for item in plain.items.values()]
    topics = table["candidate.topics"].to_pylist()
    assert topics == [item["topics"] for item in plain.items.values()]
    lengths = table["candidate.length"].combine_chunks().flatten().to_pylist()
    assert lengths == [item["length"] for item in plain.items.values()]


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(2))
def test_folds_of_any_size_tell_and_leave_the_same(deployment: Deployment, seed: int) -> None:
    """Unit by unit, all at once, or some; and loaded anew from what a checkpoint holds in between:
    every event is told the same, and the state is the same to the byte.
    """
    stream = told(900, users=40, items=60, seed=seed + 10)
    one_by_one = DerivedState.empty(deployment)
    wanted = [unit.asked_of(one_by_one) for unit in units_of(stream)]
    bounds = np.flatnonzero(np.diff(stream.events.unit_ms, prepend=-1)).tolist()
    rng = np.random.default_rng(seed)
    for cuts in (bounds[:1], bounds[::7], sorted(rng.choice(bounds[1:], 5, replace=False))):
        state = DerivedState.empty(deployment)
        found = []
        for begin, end in pairwise([0, *(cut for cut in cuts if cut), 900]):
            found.append(stream.between(begin, end).asked_of(state))
            state = DerivedState.from_arrays(
                state.model, state.arrays(), state.catalogue_table(AS_OF)
            )

        same(state.arrays(), one_by_one.arrays())
        assert state.catalogue_table(AS_OF).equals(one_by_one.catalogue_table(AS_OF))
        for name in wanted[0]:
            same(_flat(found, name), _flat(wanted, name))


def with_texts(stream: Told) -> Told:
    """The same, of items whose ids are texts."""
    ids = pc.cast(stream.ids, pa.string())
    keys = keys_of(ids)
    return replace(
        stream,
        ids=ids,
        events=replace(stream.events, items=keys),
        attributes=stream.attributes | {"item": one_id_each(keys)},
    )


def published(root: Path, deployment: Deployment, state: DerivedState, name: str) -> Any:
    """A checkpoint of nothing but the state."""
    parent = None if name.startswith("nightly") else "nightly-000001"
    manifest = plain_manifest(
        deployment,
        name,
        kind="nightly" if parent is None else "hourly",
        parent=parent,
        base="nightly-000001",
        as_of=AS_OF,
    )
    made = publish_checkpoint(root, manifest, state.parts(), parents=root)
    assert all(not len(store.touched()) for store in state.parts().saved().values())
    return made


@pytest.mark.promise("T11")
@pytest.mark.promise("T12")
@pytest.mark.parametrize("item", [pytest.param("int64", marks=pytest.mark.long), "string"])
def test_a_checkpoint_holds_the_same_bytes_however_the_log_was_taken_in(
    tmp_path: Path, item: str
) -> None:
    """Event by event, in pieces or at once, in one process or opened anew from the parent: every
    file is the same, what is read of it is the state, and what a few events write follows them.
    """
    deployment = deployment_in(tmp_path, MODEL | {"events": {"columns": {"item_id": item}}})
    stream = told(1200, users=400, items=300, seed=4)
    if item == "string":
        stream = with_texts(stream)
    rng = np.random.default_rng(2)
    pieces = [0, *np.sort(rng.choice(np.arange(1, 1200), 40, replace=False)).tolist(), 1100, 1200]
    found = []
    for number, cuts in enumerate([range(1201), [0, 1100, 1200], sorted({*pieces})]):
        root = tmp_path / str(number)
        state = DerivedState.empty(deployment)
        for begin, end in pairwise(cut for cut in cuts if cut <= 1100):
            stream.between(begin, end).fold_into(state)
        night = published(root, deployment, state, "nightly-000001")
        if number == 2:
            state = open_checkpoint(root, "nightly-000001").state(deployment.model)
        for begin, end in pairwise(cut for cut in cuts if cut >= 1100):
            stream.between(begin, end).fold_into(state)
        hour = published(root, deployment, state, "hourly-000002")
        found.append((night.files, night.stores, hour.files, hour.stores))
        opened = open_checkpoint(root, "hourly-000002").state(deployment.model)
        loaded = load_checkpoint(root, "hourly-000002")

        same(opened.arrays(), state.arrays())
        same(loaded.arrays, state.arrays() | state.users_as_of(AS_OF))
        assert opened.catalogue_table(AS_OF).equals(state.catalogue_table(AS_OF))
        assert loaded.catalogue.equals(state.catalogue_table(AS_OF))
        written = [each for name, each in hour.files.items() if night.files.get(name) != each]
        assert {len(each.deltas) for each in hour.stores.values()} <= {0, 1}
        assert sum(e.bytes for e in written) < sum(e.bytes for e in night.files.values()) / 2

    assert found[0] == found[1] == found[2]


def _flat(parts: list[Encoded], name: str) -> Arrays:
    own = [part[name] for part in parts]
    if isinstance(own[0], Numbers):
        return {"values": np.concatenate([one.values for one in own if isinstance(one, Numbers)])}
    ids = [one for one in own if isinstance(one, Ids)]
    return {
        "keys": np.concatenate([one.keys for one in ids]),
        "lengths": np.concatenate([np.diff(one.offsets) for one in ids]),
    }


def of_size(deployment: Deployment, *, users: int, items: int) -> DerivedState:
    """A state of so many users, three clicks each, of units of which none is in reach any more."""
    rng = np.random.default_rng(1)
    keys = {
        "user": keys_of(pa.array(np.arange(users))),
        "item": keys_of(pa.array(np.arange(items))),
    }
    nothing = np.zeros(0, np.int64)
    empty = DerivedState.empty(deployment)
    arrays = empty.arrays() | {
        "state.clicks.so_far": np.ones(items, np.int64),
        "state.users.keys": keys["user"],
        "state.users.first_ms": np.zeros(users, np.int64),
        "state.history.users": np.sort(keys["user"]),
        "state.history.offsets": 3 * np.arange(users + 1),
        "state.history.items": rng.choice(keys["item"], 3 * users),
        "state.history.at_ms": np.repeat(nothing.sum(), 3 * users),
    }
    table = empty.catalogue_table(AS_OF)
    columns: dict[str, Any] = {
        "item_id": pa.array(np.arange(items)),
        "first_seen_at": pa.array(np.zeros(items, np.int64)).cast(table["first_seen_at"].type),
        "candidate.item": pa.array(keys["item"]),
        "candidate.topics": pa.array([[1, 2]] * items, table["candidate.topics"].type),
        "candidate.length": pa.array([[1.0]] * items, table["candidate.length"].type),
    }
    return DerivedState.from_arrays(empty.model, arrays, pa.table(columns))


@pytest.mark.promise("T12")
def test_a_fold_takes_memory_for_its_clicks_and_not_for_the_users_there_are(
    deployment: Deployment,
) -> None:
    """500 clicks, what they are told and what they leave: among 100,000 users and 50,000 items as
    among a tenth of these, and less than one number for each user.
    """
    peaks = []
    for users in (10_000, 100_000):
        state = of_size(deployment, users=users, items=users // 2)
        told(500, users=users, items=users // 2, seed=1, units=1).asked_of(state)
        stream = told(500, users=users, items=users // 2, seed=2, units=1)
        tracemalloc.start()
        stream.asked_of(state)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] <= 1.2 * peaks[0]
    assert peaks[1] < 8 * 100_000


@pytest.mark.long
@pytest.mark.promise("T12")
def test_a_run_reads_each_slice_once_and_those_that_it_makes_never(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nightly and hourly: what lies on the disk is opened once, what is made is at hand."""
    read: list[str] = []
    contents = Slice.contents

    def counted(self: Slice, **position: Any) -> Any:
        read.append(self.name)
        return contents(self, **position)

    monkeypatch.setattr(Slice, "contents", counted)
    line.night(0)
    of_the_first_night, made_by_it = list(read), set(line.slices())
    line.hour(1, 3)
    held_back = set(line.slices()) - made_by_it
    read.clear()
    line.hour(1, 6)

    assert of_the_first_night == []
    assert len(read) == len(set(read)) <= len(held_back)
    assert set(read) <= held_back

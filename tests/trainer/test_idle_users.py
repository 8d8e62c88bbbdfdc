"""Users that are idle are forgotten: told of as if never seen, and their rows are used again.

Items are too (`tests/trainer/test_idle_items.py`); what the state weighs, and what it is to the
byte, is looked at here for both.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from streaming.offline import write_shards
from tests.trainer.conftest import Line, at, deployment_in
from tests.trainer.test_state import MODEL, Told, published, same, told, with_texts
from tests.twintide import item_files as files
from twintide import config
from twintide.checkpoints import open_checkpoint
from twintide.clock import DAY_MS, HeldClock
from twintide.config import Deployment
from twintide.derived.clicks import Bools, Events, Ints
from twintide.derived.state import DerivedState
from twintide.keyedrows import FREE
from twintide.keys import NO_KEY, Keys, keys_of, mixed
from twintide.problems import Misconfigured
from twintide.ragged import Encoded, Ids, Numbers, one_id_each
from twintide.rowstore import INDEX

DAYS = 3
PLAIN: dict[str, Any] = MODEL["model"]
STATISTICS = {"kind": "user_statistics", "name": "activity", "windows_minutes": [60, 1440]}
QUERY: list[Any] = [*PLAIN["query"][:2], STATISTICS]
OF_MODEL: dict[str, Any] = PLAIN | {"query": QUERY}
RULE = {"state": {"forget_users_after_days": DAYS, "forget_items_after_days": DAYS}}
FORGETS, NEVER = {"model": OF_MODEL | RULE}, {"model": OF_MODEL}
UNITS_OF_A_DAY = 12
OF_A_DAY: list[Any] = [
    {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
    {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
    {"kind": "item_statistics", "name": "statistics"},
]
"""No window of which reaches farther back."""


def stream_of(count: int, *, days: int, seed: int) -> Told:
    """Of days on end: a few users come every day, most after gaps of any length, or once."""
    return told(count, users=200, items=60, seed=seed, units=days * UNITS_OF_A_DAY)


def days_of(stream: Told, cuts: npt.ArrayLike = ()) -> Iterator[Told]:
    """Parts of it, none of more than one day; cut there too."""
    day = stream.events.unit_ms // DAY_MS
    bounds = np.flatnonzero(np.diff(day, prepend=-1, append=np.iinfo("i8").max))
    every = np.unique(np.concatenate((bounds, np.asarray(cuts, np.int64))))
    for begin, end in pairwise(every.tolist()):
        yield stream.between(begin, end)


def take_in(state: DerivedState, part: Told) -> None:
    """As a slice is folded in."""
    state.begin(part.events, None)
    part.fold_into(state)


def named_anew(owners: Keys, unit_ms: Ints, is_seen: Bools) -> Keys:
    """Another name for each user or item that comes after so long that nothing is known of the one
    before: what is told of those who are never forgotten, but never come back either.
    """
    names = owners.copy()
    last, times = dict[int, int](), dict[int, int]()
    for n, owner in enumerate(owners.tolist()):
        day = int(unit_ms[n]) // DAY_MS
        if owner == NO_KEY:
            continue
        if day - last.get(owner, day) > DAYS:
            times[owner] = times.get(owner, 0) + 1
        names[n] = mixed(np.array([owner + times.get(owner, 0)], np.uint64))[0]
        if is_seen[n]:
            last[owner] = day
    return names


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(2))
def test_who_was_idle_for_too_long_is_told_of_as_if_never_seen(tmp_path: Path, seed: int) -> None:
    """Histories and activity of each event are what they were if each had been another user since
    the last such gap; and so is what is left at the end.
    """
    stream = stream_of(900, days=36, seed=seed)
    names = named_anew(stream.events.users, stream.events.unit_ms, stream.is_click)
    renamed = replace(stream, events=replace(stream.events, users=names))
    forgets = DerivedState.empty(deployment_in(tmp_path, FORGETS))
    never = DerivedState.empty(deployment_in(tmp_path, NEVER))
    for part, other in zip(days_of(stream), days_of(renamed), strict=True):
        forgets.begin(part.events, None)
        found, wanted = part.asked_of(forgets), other.asked_of(never)
        for name in ("history", "activity"):
            same(_arrays(found[name]), _arrays(wanted[name]))

    arrays, every = forgets.arrays(), never.arrays()
    histories, of_all = _histories(arrays), _histories(every)
    day = int(stream.events.unit_ms[-1]) // DAY_MS
    stay = {}
    for n, user in enumerate(stream.events.users.tolist()):
        is_near = day - int(stream.events.unit_ms[n]) // DAY_MS <= DAYS
        if user != NO_KEY and stream.is_click[n] and is_near:
            stay[user] = of_all[int(names[n])]
    assert histories == stay
    assert set(arrays["state.users.keys"].tolist()) == stay.keys()
    assert 0 < len(stay) < len(of_all) / 4


@pytest.mark.promise("T11")
@pytest.mark.promise("T12")
@pytest.mark.parametrize("item", [pytest.param("int64", marks=pytest.mark.long), "string"])
def test_what_is_left_is_the_same_to_the_byte_however_a_day_was_taken_in(
    tmp_path: Path, item: str
) -> None:
    """Event by event, a day at once or in pieces, by one process or by others that open the
    checkpoint before: with rows that were given back and are used again.
    """
    deployment = deployment_in(tmp_path, FORGETS | {"events": {"columns": {"item_id": item}}})
    stream = stream_of(400, days=30, seed=7)
    stream = with_texts(stream) if item == "string" else stream
    saved = np.array([290, 400])
    found = []
    for number, cuts in enumerate([range(400), [], [7, 80, 81, 200, 280, 355]]):
        root = tmp_path / str(number)
        state, taken = DerivedState.empty(deployment), 0
        files: list[Any] = []
        for part in days_of(stream, np.concatenate((saved, cuts))):
            take_in(state, part)
            taken += len(part.events)
            if taken not in saved:
                continue
            name = "hourly-000002" if files else "nightly-000001"
            made = published(root, deployment, state, name)
            files.append((made.files, made.stores))
            opened = open_checkpoint(root, name).state(deployment.model)
            same(opened.arrays(), state.arrays())
            state = opened if number == 2 else state
        found.append(files)

    assert len(found[0]) == len(saved)
    assert found[0] == found[1] == found[2]


def once(day: int, users: int) -> Told:
    """A day of users who come once in their lives, to items that nobody else comes to."""
    user = keys_of(pa.array(np.arange(users) + day * users))
    ids = pa.array(np.arange(users) + day * users)
    unit = np.full(users, day * DAY_MS)
    attributes: Encoded = {
        "item": one_id_each(keys_of(ids)),
        "topics": Ids(np.zeros(0, np.uint64), np.zeros(users + 1, np.int64)),
        "length": Numbers(np.zeros((users, 1), np.float32)),
    }
    events = Events(user, keys_of(ids), unit + np.arange(users), unit)
    return Told(events, np.ones(users, np.bool_), ids, attributes)


@pytest.mark.long
@pytest.mark.promise("T12")
def test_a_season_of_users_and_items_that_come_once_takes_no_more_than_the_days_that_are_remembered(
    tmp_path: Path,
) -> None:
    """Rows are those of the last days, and a checkpoint weighs what one of weeks before weighed."""
    deployment, a_day = deployment_in(tmp_path, FORGETS), 100
    state = DerivedState.empty(deployment)
    weights = []
    for day in range(100):
        take_in(state, once(day, a_day))
        if day in (20, 99):
            made = published(tmp_path / str(day), deployment, state, "nightly-000001")
            weights.append(sum(each.bytes for each in made.files.values()))
            lengths = {name: each.length for name, each in made.stores.items()}
            of_rows = {n: each for n, each in lengths.items() if not n.endswith((INDEX, FREE))}
            assert len(of_rows) == 8
            assert max(of_rows.values()) <= 1 + (DAYS + 1) * a_day
            state = open_checkpoint(tmp_path / str(day), "nightly-000001").state(deployment.model)

    assert weights[1] < 1.1 * weights[0]


def lines_of(tmp_path: Path, *, days: int, a_day: int, changes: dict[str, Any]) -> list[Line]:
    """Two lines over the same log, of users who come on one day, and some on every fifth; most
    items have one day too.
    """
    halves = {"shards": {"minutes": 30}, "training": {"hourly": {"holdback_minutes": 30}}}
    first = deployment_in(tmp_path / "0", halves | changes)
    rng, count = np.random.default_rng(3), days * a_day
    day = np.repeat(np.arange(days), a_day)
    at_ms = int(at(0).timestamp() * 1000) + day * DAY_MS
    at_ms += np.sort(rng.integers(0, DAY_MS, (days, a_day)), axis=1).ravel()
    is_often = rng.random(count) < 0.1
    user = np.where(is_often, day % 5, 100 + day * a_day + rng.integers(0, a_day // 3, count))
    item = np.where(is_often, rng.integers(0, 3, count), 10 + day * 8 + rng.integers(0, 8, count))
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "clicked": np.ones(count, np.bool_),
        "watch_seconds": rng.random(count),
        "liked": rng.random(count) < 0.1,
        "category": item // 10,
        "topics": pa.array([[int(each) % 7] for each in item]),
        "region": user % 4,
    }
    schema = first.events.arrow_schema()
    events = pa.table(columns).select(list(first.events.columns)).cast(schema)
    write_shards(first, events, partitions=2, complete_until=at(days, 1))
    folders = {"shards": str(first.shards_dir)}
    second = deployment_in(tmp_path / "1", halves | {"folders": folders} | changes)
    return [Line(first), Line(second)]


@pytest.mark.promise("T11")
@pytest.mark.promise("T12")
@pytest.mark.long
def test_a_line_of_users_who_come_once_stays_as_large_as_it_was(tmp_path: Path) -> None:
    """By night or by the hour: the checkpoint has the users and items of the last days and no
    others, as their tables have, it weighs the same, and the rows of slices are the same by either
    cadence. What left is in no version, but where it is listed.
    """
    days, a_day, users_stay, items_stay = 8, 90, 1, 3
    rule = {
        "candidate": OF_A_DAY,
        "state": {"forget_users_after_days": users_stay, "forget_items_after_days": items_stay},
        "tables": {
            "user": {"evict_after_days": users_stay},
            "item": {"evict_after_days": items_stay},
        },
        "negatives": [{"kind": each, "count": 4} for each in ("uniform", "popularity")],
    }
    changes = {"model": rule, "publishing": {"gate": {"max_recall_drop_ratio": 1}}}
    by_night, by_hour = lines_of(tmp_path, days=days, a_day=a_day, changes=changes)
    sizes, users, items = [], [], []
    for day in range(days):
        night = by_night.night(day)
        by_hour.night(day)
        if 2 < day < days - 1:
            for hour in (3, 11):
                by_hour.hour(day + 1, hour, 40)
        users.append(night.arrays["state.history.users"])
        items.append(keys_of(night.catalogue["item_id"]))
        sizes.append(sum(each.bytes for each in night.manifest.files.values()))
        for table, known in (("user", users[-1]), ("item", items[-1])):
            assert set(night.arrays[f"table.{table}.keys"].tolist()) - {NO_KEY} >= {*known.tolist()}

    assert max(map(len, users)) <= (users_stay + 1) * (a_day // 3 + 5)
    assert max(map(len, items)) <= (items_stay + 1) * 8 + 3
    assert max(sizes[5:]) < 1.05 * max(sizes[:5])
    told_by_night, told_by_hour = (
        pa.concat_tables(each.read() for each in line.slices().values())
        for line in (by_night, by_hour)
    )
    assert len(by_hour.slices()) > len(by_night.slices())
    assert told_by_night.equals(told_by_hour)
    assert published_items(by_hour.deployment) == set(night.catalogue["item_id"].to_pylist())
    listed = config.fill_in(
        by_hour.deployment, {"items": {"file": str(tmp_path / "items.parquet")}}
    )
    files.write(tmp_path / "items.parquet", item_id=np.array([11]), category=np.array([1]))
    assert published_items(listed) - published_items(by_hour.deployment) == {11}


def published_items(deployment: Deployment) -> set[int]:
    """Items of a version that is made now."""
    made = publish(deployment, clock=HeldClock(at(9)))
    assert made.promoted
    return {int(each) for each in load_version(deployment.versions_dir, made.version).item_ids}


def test_nobody_is_forgotten_of_whom_a_window_still_tells(tmp_path: Path) -> None:
    """A declaration says how many days are too few, and how many would do."""
    week = {"query": [*QUERY[:2], STATISTICS | {"windows_minutes": [10_080]}]}
    deployment = deployment_in(tmp_path)
    for days in (7, 8):
        declared = OF_MODEL | week | {"state": {"forget_users_after_days": days}}
        if days == 8:
            config.fill_in(deployment, {"model": declared})
            continue
        with pytest.raises(Misconfigured, match=r"forget_users_after_days.* 8 days ago"):
            config.fill_in(deployment, {"model": declared})


def _histories(arrays: Any) -> dict[int, list[tuple[int, int]]]:
    users, offsets = arrays["state.history.users"], arrays["state.history.offsets"]
    items, at_ms = (arrays[f"state.history.{part}"].tolist() for part in ("items", "at_ms"))
    return {
        user: list(zip(items[begin:end], at_ms[begin:end], strict=True))
        for user, begin, end in zip(users.tolist(), offsets[:-1], offsets[1:], strict=True)
    }


def _arrays(told: Ids | Numbers) -> dict[str, Any]:
    if isinstance(told, Numbers):
        return {"values": told.values}
    return {"keys": told.keys, "offsets": told.offsets}

"""Histories of other events than clicks: as of each click's own time, however the log is cut; and
an input, no more.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from tests.trainer.conftest import Line, at, deployment_in
from tests.trainer.test_units import (
    END,
    WINDOW,
    Ingest,
    along,
    as_bytes,
    fresh,
    minute,
    rows_of,
)
from trainer.rebuild import rebuild
from trainer.slicing import Slicer
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.features.columns import from_columns
from twintide.modelspec import CLICKS
from twintide.ragged import Ids, Numbers
from twintide.slices import EVENT_TIME, ITEM_KEY, UNIT, USER_KEY, chain_dir, read_chain

LIKED = {"column": "liked", "equals": True}
SKIPPED = {"column": "watch_seconds", "equals": None, "at_least": 0.95}
CLICKED = {"column": "watch_seconds", "equals": None, "at_least": 0.5}
QUERY: list[dict[str, Any]] = [
    {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
    {"kind": "history", "name": "history", "table": "item", "length": 5},
    {"kind": "history", "name": "liked", "table": "item", "length": 3, "of": LIKED},
    {"kind": "attention_history", "name": "likes", "table": "item", "length": 2, "of": LIKED},
    {"kind": "decayed_history", "name": "long", "table": "long", "of": SKIPPED}
    | {"half_life_hours": 2.0},
    {"kind": "user_statistics", "name": "active", "windows_minutes": [10, 60]}
    | {"refresh_minutes": 30},
]


def ingest_in(folder: Path, *, minutes_late: tuple[float, float] = (0.1, 0.1)) -> Ingest:
    """Half the events of a log are clicks; a tenth are likes, clicked or not."""
    changes = {
        "shards": {"minutes": WINDOW},
        "data_dir": str(folder),
        "events": {"positive": CLICKED},
        "model": {"query": QUERY},
    }
    return Ingest(deployment_in(folder, changes), minutes_late=dict(enumerate(minutes_late)))


def sliced(ingest: Ingest, *runs: float) -> Slicer:
    """After runs at these minutes and one when all is there."""
    slicer = fresh(ingest.deployment)
    for run in (*runs, END + 30):
        ingest.until(minute(run))
        slicer.extend(slicer.sealed_until(minute(run)))
    return slicer


def remembered_in(deployment: Deployment) -> pa.Table:
    """Of every slice, in order."""
    chain = read_chain(chain_dir(deployment.slices_dir, deployment.events, deployment.model))
    return pa.concat_tables(each.contents().remembered for each in chain)


@dataclass(frozen=True)
class AtOnce:
    """One run when all was there."""

    deployment: Deployment
    slicer: Slicer


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> AtOnce:
    ingest = ingest_in(tmp_path_factory.mktemp("at-once"))
    return AtOnce(ingest.deployment, sliced(ingest))


@pytest.mark.promise("T11")
@pytest.mark.parametrize(
    ("late", "runs"), [((0.1, 0.1), [*range(7, END, 31)]), ((0.1, 9.0), [33.3, 101])]
)
def test_one_log_gives_the_same_memories_however_it_is_cut(
    at_once: AtOnce, tmp_path: Path, late: tuple[float, float], runs: list[float]
) -> None:
    """Rows, and the state behind them: of runs that went on, and made of their slices alone."""
    ingest = ingest_in(tmp_path, minutes_late=late)

    found = sliced(ingest, *runs)

    again = along(ingest.deployment)
    assert as_bytes(rows_of(ingest.deployment)) == as_bytes(rows_of(at_once.deployment))
    wanted = at_once.slicer.state.arrays()
    for state in (found.state, again.state):
        arrays = state.arrays()
        assert arrays.keys() == wanted.keys()
        assert [name for name in wanted if not np.array_equal(arrays[name], wanted[name])] == []
    assert {"state.history.users", "state.history.liked.at_ms"} <= wanted.keys()


@pytest.mark.promise("T9")
def test_a_click_is_told_of_other_events_that_the_log_held_before_it(at_once: AtOnce) -> None:
    """Against a plain loop: strictly earlier, stored by then, with their ages as of the click."""
    deployment = at_once.deployment
    rows, came = rows_of(deployment), remembered_in(deployment)
    likes = _events(came.filter(came["remembered.liked"]))
    encoded = from_columns(rows, deployment.model.query, "query")
    told, read = encoded["liked"], encoded["likes"]
    assert isinstance(told, Ids)
    assert isinstance(read, Ids)
    assert read.ages is not None

    for number, (user, _, happened, unit) in enumerate(_events(rows)):
        known = sorted(
            (at_ms, place, item)
            for place, (other, item, at_ms, of_unit) in enumerate(likes)
            if other == user and of_unit < unit
        )[-3:]
        own = [
            (at_ms, place, item)
            for place, (other, item, at_ms, of_unit) in enumerate(likes)
            if other == user and of_unit == unit
        ]
        before = [each for each in sorted(known + own) if each[0] < happened][-3:]
        assert _row(told, number) == [item for _, _, item in before]
        assert _row(read, number) == [item for _, _, item in before[-2:]]
        ages = read.ages[read.offsets[number] : read.offsets[number + 1]]
        hours = [(happened - at_ms).total_seconds() / 3600 for at_ms, _, _ in before[-2:]]
        assert ages == pytest.approx(hours, abs=1e-5)
    assert len(told.keys) > 30


@pytest.mark.promise("T9")
def test_a_click_is_told_how_active_its_user_was_at_the_refresh(at_once: AtOnce) -> None:
    """Against a plain loop: clicks that the log held before the refresh that came before the click
    and its unit, in each window; hours since the first; and whether there was none.
    """
    rows = rows_of(at_once.deployment)
    told = from_columns(rows, at_once.deployment.model.query, "query")["active"]
    assert isinstance(told, Numbers)
    half_hour = timedelta(minutes=30)

    clicks = _events(rows)
    for number, (user, _, happened, unit) in enumerate(clicks):
        moment = min(happened, unit)
        at_ = moment - (moment - datetime.min.replace(tzinfo=UTC)) % half_hour
        units = [of for other, _, _, of in clicks if other == user and of < at_]
        # A click that comes hours late is told of nothing older than the state must hold.
        oldest = unit - timedelta(minutes=120 + unit.minute % 10)
        counts = [
            sum(of >= max(at_ - timedelta(minutes=window), oldest) for of in units)
            for window in (10, 60)
        ]
        hours = (at_ - min(units)).total_seconds() / 3600 if units else 0.0
        wanted = [math.log1p(each) / 3 for each in counts] + [
            math.log1p(hours) / 4,
            float(not units),
        ]
        if happened > minute(0) - timedelta(days=1):
            assert told.values[number] == pytest.approx(wanted, abs=1e-6)
    assert (told.values[:, 1] > 0).sum() > 50


def test_what_is_remembered_is_no_row_and_no_item(at_once: AtOnce) -> None:
    """A slice's rows are its clicks; what was liked and never clicked is in no catalogue, so it can
    be nobody's negative, and no answer.
    """
    deployment = at_once.deployment
    rows, came = rows_of(deployment), remembered_in(deployment)
    chain = at_once.slicer.chain

    assert sum(each.footer.rows for each in chain) == len(rows)
    assert sum(each.footer.remembered for each in chain) == len(came)
    assert not any(name.startswith("remembered") for name in rows.column_names)
    catalogue = at_once.slicer.state.catalogue.keys
    never_clicked = np.setdiff1d(came[ITEM_KEY].to_numpy(), rows[ITEM_KEY].to_numpy())
    assert len(never_clicked) > 5
    assert not np.isin(never_clicked, catalogue).any()


@pytest.mark.long
def test_what_users_liked_is_learnt_served_and_rebuilt(tmp_path: Path) -> None:
    """A night and its version, which remembers what the checkpoint does; made again from its
    lineage, the checkpoint is the same to the byte.
    """
    ingest = ingest_in(tmp_path)
    ingest.until(at(1, 0, 10))
    deployment = ingest.deployment
    line = Line(deployment)
    night = line.night(0)
    published = publish(deployment, clock=HeldClock(at(1, 1)))
    version = load_version(deployment.versions_dir, published.version)

    assert set(version.memories) == {CLICKS, "liked", "long"}
    users = night.arrays["state.history.liked.users"]
    assert len(users) > 10
    liked = version.remembered(users.astype(np.uint64), np.zeros(len(users), np.int64))["liked"]
    assert isinstance(liked, Ids)
    assert np.array_equal(liked.keys, night.arrays["state.history.liked.items"])
    assert liked.ages is not None
    numbers = version.activity_of(np.append(users, np.uint64(99)))["active"]
    assert isinstance(numbers, Numbers)
    assert numbers.values[-1].tolist() == [0, 0, 0, 1]
    assert (numbers.values[:-1, 2] > 0).any()
    again = rebuild(deployment, night.manifest.name, into=tmp_path / "again")
    assert again == night.manifest
    learnt = night.arrays["table.long.sums"][1:]
    assert learnt.any()


def _events(rows: pa.Table) -> list[tuple[Any, ...]]:
    columns = [rows[name].to_pylist() for name in (USER_KEY, ITEM_KEY, EVENT_TIME, UNIT)]
    return list(zip(*columns, strict=True))


def _row(ids: Ids, number: int) -> list[int]:
    keys = ids.keys[ids.offsets[number] : ids.offsets[number + 1]]
    return [int(each) for each in keys]

"""A model with every kind of feature, from events to an answer: what training saw is what a request
gives (train/serve skew 0).
"""

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from publisher.publish import publish
from publisher.reader import load_version
from serving.request import parse_request
from serving.retriever import Retriever
from streaming.offline import write_shards
from tests.trainer.conftest import SMALL, START, Line, at
from twintide import config
from twintide.clock import HeldClock, from_unix_ms, to_unix_ms
from twintide.errors import Refused
from twintide.features.columns import from_columns
from twintide.ragged import Encoded, Ids
from twintide.slices import EVENT_TIME, OFFSET

EVENTS = 700
PAYING = {"column": "paying", "equals": True}
ZONE = {"time_zone": "America/New_York"}
DECLARED: dict[str, Any] = SMALL | {
    "kafka": {"bootstrap_servers": ["127.0.0.1:9092"], "topic": "clicks"},
    "events": {
        "columns": {
            "user": "string",
            "item": "int64",
            "at": "timestamp_ms",
            "joined_at": "timestamp_ms",
            "age": "float64",
            "city": "string",
            "paying": "bool",
            "follows": "list<string>",
            "tastes": "string",
            "tags": "list<string>",
            "sure": "list<float64>",
            "reads": "list<int64>",
            "minutes": "list<float64>",
            "searched": "string",
        },
        "user": "user",
        "item": "item",
        "time": "at",
    },
    "model": {
        "embedding_width": 8,
        "tower": {"kind": "dnn", "hidden": [16]},
        "output_width": 8,
        "tables": {"city": {"width": 3}},
        "query": [
            {"kind": "sparse", "name": "user", "column": "user", "table": "user"},
            {"kind": "varlen", "name": "follows", "column": "follows", "table": "tag"},
            {"kind": "weighted_varlen", "name": "tastes", "column": "tastes", "table": "tag"},
            {"kind": "weighted_varlen", "name": "reads", "column": "reads", "table": "shelf"}
            | {"weights": "minutes"},
            {"kind": "words", "name": "searched", "column": "searched", "table": "word"},
            {"kind": "cross", "name": "pair", "columns": ["city", "paying"], "table": "pair"},
            {"kind": "bucket", "name": "age", "column": "age", "boundaries": [30], "table": "age"},
            {"kind": "dense", "name": "years", "column": "age", "divided_by": 50.0},
            {"kind": "sparse", "name": "city", "column": "city", "table": "city"},
            {"kind": "hour_of_day", "name": "hour", "table": "hour"} | ZONE,
            {"kind": "day_of_week", "name": "day", "table": "day"} | ZONE,
            {"kind": "cyclic_time", "name": "clock"} | ZONE,
            {"kind": "time_since", "name": "loyalty", "column": "joined_at"},
            {"kind": "history", "name": "history", "table": "item", "length": 4},
            {"kind": "history", "name": "last", "table": "item", "length": 1},
            {"kind": "decayed_history", "name": "decayed", "table": "item", "length": 6},
            {"kind": "decayed_history", "name": "faded", "table": "item", "pooling": "sum"}
            | {"half_life_hours": 3.0},
            {"kind": "history", "name": "paid", "table": "item", "length": 3, "of": PAYING},
            {"kind": "decayed_history", "name": "paid_for", "table": "item", "of": PAYING}
            | {"half_life_hours": 8.0},
            # From 22:00 of the first day on, so that what is compared lies in one refresh.
            {"kind": "user_statistics", "name": "active", "windows_minutes": [60, 1440]}
            | {"refresh_minutes": 10_080, "refresh_offset_minutes": 5640},
            {"kind": "attention_history", "name": "attended", "table": "item", "length": 5},
        ],
        "candidate": [
            {"kind": "sparse", "name": "item", "column": "item", "table": "item"},
            {"kind": "varlen", "name": "tags", "column": "tags", "table": "tag"},
            {"kind": "weighted_varlen", "name": "sure", "column": "tags", "table": "tag"}
            | {"weights": "sure"},
            {"kind": "item_statistics", "name": "statistics"},
        ],
    },
}
OF_A_REQUEST = (
    "joined_at",
    "age",
    "city",
    "paying",
    "follows",
    "tastes",
    "reads",
    "minutes",
    "searched",
)


def stream(schema: pa.Schema) -> pa.Table:
    """A day of clicks, with now and then nothing in a column."""
    rng = np.random.default_rng(8)

    def some(*values: Any) -> list[Any]:
        return [values[number] for number in rng.integers(0, len(values), EVENTS)]

    numbers = rng.integers(0, 4, EVENTS)
    yes_no = (True, False)
    begin_ms = int(START.timestamp() * 1000)
    at_ms = begin_ms + np.sort(rng.integers(0, 26 * 3_600_000, EVENTS))
    columns = {
        "user": [f"u{number}" for number in rng.integers(0, 40, EVENTS)],
        "item": rng.integers(0, 60, EVENTS),
        "at": pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC")),
        "joined_at": pa.array(some(None, begin_ms, begin_ms - 10**9)).cast(
            pa.timestamp("ms", tz="UTC")
        ),
        "age": some(None, 20.0, 30.0, 55.5),
        "city": some(None, "rome", "oslo"),
        "paying": some(*yes_no, None),
        "follows": some(None, [], ["a", "b"], ["c"]),
        "tastes": some(None, "", "a:0.7,b:0.3", "c:2,a:6", "none"),
        "tags": some(["a"], ["b", "c"], None),
        "sure": some([0.5], [0.25, 2.0], None),
        "reads": [[None, [], [1, 2], [3]][number] for number in numbers],
        "minutes": [[None, [], [2.5, None], [7.0]][number] for number in numbers],
        "searched": some(None, "", "Grüner Tee", "tee-kanne, 2 liter"),
    }
    return pa.table(columns).select(schema.names).cast(schema)


def histories(clicks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a request says of a user who clicked these."""
    paid = [click for click in clicks if click["paying"]]
    recent, of_paid = (
        [{"item_id": each["item"], "at": round(each["at"].timestamp() * 1000)} for each in some]
        for some in (clicks, paid)
    )
    return {"recent": recent, "histories": {"paid_for": of_paid}}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = tmp_path_factory.mktemp("every-kind")
    text = json.dumps(DECLARED | {"data_dir": str(folder)})
    deployment = config.parse(json.loads(text), name="every kind")
    events = stream(deployment.events.arrow_schema())
    write_shards(deployment, events, partitions=1, complete_until=at(1, 3))
    found = Line(deployment)
    found.night(0)
    found.hour(1, 1, 30)
    return found


def test_a_request_gives_what_training_saw(line: Line) -> None:
    """For each click of the last hour, in every feature of the query tower, to the bit."""
    outcome = publish(line.deployment, clock=HeldClock(at(1, 2)))
    version = load_version(line.deployment.versions_dir, outcome.version)
    last = pa.concat_tables([each.read() for each in line.slices().values()][-3:])
    spec, schema = line.deployment.model, line.deployment.events
    events = stream(schema.arrow_schema())
    seen = from_columns(last, spec.query, "query")

    assert len(last) > 20
    for row, (offset, happened) in enumerate(
        zip(last[OFFSET].to_pylist(), last[EVENT_TIME].cast(pa.int64()).to_pylist(), strict=True)
    ):
        event = events.slice(offset, 1).to_pylist()[0]
        values = {name: event[name] for name in OF_A_REQUEST}
        if values["joined_at"] is not None:
            values["joined_at"] = int(values["joined_at"].timestamp() * 1000)
        before = [
            click
            for click in events.slice(0, offset).to_pylist()
            if click["user"] == event["user"] and click["at"] < event["at"]
        ]
        body = {"user_id": event["user"], "features": values} | histories(before)
        clock = HeldClock(from_unix_ms(happened))
        retriever = Retriever(version, clock=clock, max_k=10)

        encoded = retriever.encode(parse_request(json.dumps(body).encode()))

        for feature in spec.query:
            told = feature.to_arrow(encoded[feature.name])
            was = feature.to_arrow(seen[feature.name].take(np.array([row])))
            assert told.equals(was), f"{feature.name} of the click at offset {offset}"


@pytest.mark.long
def test_what_a_version_remembers_is_what_a_request_may_say(line: Line) -> None:
    """Of each user, with ages as of the request: what was learnt of them, given or not given. Where
    a model reads ages, an item without a time was clicked just now, or no later than the next one
    that has it; a list that goes back in time is refused.
    """
    outcome = publish(line.deployment, clock=HeldClock(at(1, 2)))
    version = load_version(line.deployment.versions_dir, outcome.version)
    retriever = Retriever(version, clock=HeldClock(at(1, 2, 7)), max_k=10)
    learnt = stream(line.deployment.events.arrow_schema())
    learnt = learnt.slice(0, version.manifest.position[0]).to_pylist()

    def encoded(**request: Any) -> Encoded:
        return retriever.encode(parse_request(json.dumps(request).encode()))

    for number in range(40):
        user = f"u{number}"
        clicks = sorted((each for each in learnt if each["user"] == user), key=lambda e: e["at"])
        said, remembered = encoded(user_id=user, **histories(clicks)), encoded(user_id=user)
        for feature in line.deployment.model.query:
            told, was = (feature.to_arrow(each[feature.name]) for each in (said, remembered))
            assert told.equals(was), feature.name
    now_ms = to_unix_ms(at(1, 2, 7))
    early, late = {"item_id": 1, "at": now_ms - 7_200_000}, {"item_id": 2, "at": now_ms - 3_600_000}
    for items, hours in (
        ([1, 2], [0, 0]),
        ([3, early, 3, late], [2, 2, 1, 1]),
        ([early, late, 3], [2, 1, 0]),
    ):
        faded = encoded(user_id="u1", recent=items)["faded"]
        assert isinstance(faded, Ids)
        assert faded.weights == pytest.approx(0.5 ** (np.array(hours) / 3.0))
    with pytest.raises(Refused, match="the newest item is not the last"):
        encoded(user_id="u1", recent=[late, early])


def test_lists_of_other_lengths_are_refused_in_a_request(line: Line) -> None:
    """In an event they count nothing; a caller is told."""
    outcome = publish(line.deployment, clock=HeldClock(at(1, 2)))
    version = load_version(line.deployment.versions_dir, outcome.version)
    retriever = Retriever(version, clock=HeldClock(at(1, 2, 7)), max_k=10)
    body = {"user_id": "u1", "features": {"reads": [1, 2], "minutes": [0.5]}}

    with pytest.raises(Refused, match=r"features\.minutes must hold a weight for each id"):
        retriever.encode(parse_request(json.dumps(body).encode()))


def test_every_table_of_every_kind_has_learnt(line: Line) -> None:
    """No feature is carried along without a gradient."""
    nightly = line.load("nightly-000001").arrays

    for name in line.deployment.model.learning_tables():
        assert np.any(nightly[f"table.{name}.sums"][1:] != 0), name


def test_a_click_late_in_the_night_is_of_the_day_before_in_the_zone(line: Line) -> None:
    """The world begins on a Sunday, 00:00 UTC, which is still Saturday in New York."""
    first = next(iter(line.slices().values())).read()
    day = from_columns(first, line.deployment.model.query, "query")["day"]
    assert isinstance(day, Ids)
    saturday = at(0) - timedelta(days=1)

    assert at(0).weekday() == 6
    assert saturday.weekday() == 5
    assert len(np.unique(day.keys)) == 1

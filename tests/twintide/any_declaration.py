"""Declarations drawn from the grammar of the YAML, right and wrong ones, and events for them."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from twintide.events import ColumnType, EventSchema

START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = 51
TYPES = get_args(ColumnType)
NAMES = (
    "a",
    "b.c",
    "d/e",
    "hour",
    "date",
    "user",
    "item",
    "Item",
    "item_id",
    "event_at",
    "query.x",
)
ZONES = ("UTC", "Europe/Vienna", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu")


def draw(rng: random.Random, data_dir: str) -> dict[str, Any]:
    """Values as YAML would give them. About half of them cannot work."""
    columns = {name: rng.choice(TYPES) for name in rng.sample(NAMES, rng.randint(3, 7))}
    columns |= {"user_id": _mostly(rng, ["int64", "string"], TYPES)}
    columns |= {"item_no": _mostly(rng, ["int64", "string"], TYPES)}
    columns |= {"ts": _mostly(rng, ["timestamp_ms"], TYPES)}
    events: dict[str, Any] = {
        "columns": _shuffled(rng, columns),
        "user": _mostly(rng, ["user_id"], list(columns)),
        "item": _mostly(rng, ["item_no"], list(columns)),
        "time": _mostly(rng, ["ts"], list(columns)),
    }
    if rng.random() < 0.6:
        events["positive"] = _positive(rng, columns)
    values = {
        "data_dir": data_dir,
        "events": events,
        "model": _model(rng, columns),
        "training": {
            "day_starts_at": rng.choice(["00:00", "04:00", "23:59"]),
            "time_zone": rng.choice(ZONES),
            "threads": 1,
            "seed": rng.choice([0, 1, 2**63 - 1]),
            "hourly": {
                "batch_rows": rng.choice([5, 16, 512, 65_536]),
                "row_learning_rate": rng.choice([1e-6, 0.1, 1.0]),
                "learns": rng.choice(["id_tables", "everything"]),
                "holdback_minutes": rng.choice([0, 0, 60, 90, 20]),
                "every_minutes": rng.choice([1, 7, 60, 1440]),
                "replay": rng.choice([None, None, {"share": 0.3, "hours": 5}]),
            },
            "nightly": {"batch_rows": rng.choice([5, 16, 512, 65_536])},
        },
        "shards": {
            "minutes": rng.choice([1, 5, 20, 60, 60]),
            "max_rows": rng.choice([30, 500_000, 500_000]),
        },
        "publishing": {
            "index": rng.choice(["auto", "flat", "ivf"]),
            "nprobe": rng.choice([1, 64, 10**6, "auto", "auto"]),
            "gate": {
                "min_events": _mostly(rng, [1], [1, 20, 200]),
                "max_events": rng.choice([1, 100, 5000]),
                "k": rng.choice([1, 10, 10**6]),
                "max_recall_drop_ratio": 1,
            },
        },
    }
    if rng.random() < 0.5:
        events["paths"] = _paths(rng, columns)
    return values


def _paths(rng: random.Random, columns: dict[str, str]) -> dict[str, str]:
    """Some columns within others' objects; about one in ten lies where it cannot."""
    places = ["x.%s", "x.deep.%s", "%s.id", "renamed-%s"]
    in_lists = ["of[].%s", "x.of[].%s", "of.%s[].id"]
    found = {}
    for number, name in enumerate(rng.sample(list(columns), rng.randint(1, 5))):
        is_list = columns[name].startswith("list")
        right = in_lists if is_list and rng.random() < 0.7 else places
        found[name] = _mostly(rng, right, ["%s[].id", "x", "a.b[]"]).replace("%s", f"f{number}")
    return found


def _mostly(rng: random.Random, right: list[Any], any_of: Any) -> Any:
    return rng.choice(right if rng.random() < 0.97 else list(any_of))


def _shuffled(rng: random.Random, columns: dict[str, str]) -> dict[str, str]:
    return dict(rng.sample(list(columns.items()), len(columns)))


def _positive(rng: random.Random, columns: dict[str, str]) -> dict[str, Any]:
    can_tell = [name for name, kind in columns.items() if kind in {"string", "int64", "bool"}]
    column = _mostly(rng, can_tell or list(columns), columns)
    values: dict[str, list[Any]] = {
        "string": ["s1", ["s1", "s2"]],
        "int64": [1, [1, 2, 3]],
        "float64": [0.5, [0, 0.5]],
        "bool": [True, [True, False]],
    }
    own = values.get(columns[column], [1])
    return {"column": column, "equals": _mostly(rng, own, [True, 1, "s1", 0.5, []])}


def _model(rng: random.Random, columns: dict[str, str]) -> dict[str, Any]:
    item = {"kind": "sparse", "name": "item", "column": "item_no", "table": "item"}
    query = _features(rng, {name: columns[name] for name in columns if name != "item_no"}, _QUERY)
    of_item = {name: columns[name] for name in columns if name != "user_id"}
    features = {"query": query, "candidate": [item, *_features(rng, of_item, _CANDIDATE)]}
    return {
        **features,
        "embedding_width": rng.choice([4, 16]),
        "tower": _tower(rng),
        "query_tower": _tower(rng) if rng.random() < 0.2 else None,
        "candidate_tower": {"kind": "dat", "augmented": "item"} if rng.random() < 0.1 else None,
        "similarity": rng.choice(["cosine", "dot"]),
        "temperature_learnt": rng.random() < 0.5,
        "output_width": rng.choice([8, 16]),
        "temperature": rng.choice([0.01, 0.05, 1.0, 10.0]),
        "popularity_bias": rng.random() < 0.5,
        "popularity_layer": rng.choice([0, 0, 0, 4]),
        "logq": rng.random() < 0.5,
        "loss": _loss(rng),
        "frequency": _frequency(rng),
        "state": {
            "forget_users_after_days": rng.choice([None, None, 1, 8]),
            "forget_items_after_days": rng.choice([None, None, 3, 8]),
        },
    }


def _frequency(rng: random.Random) -> dict[str, Any]:
    newcomers = rng.choice(["as_batch", "counted"])
    own: dict[str, Any] = {"exact": {}, "hashed": {"slots": 1024, "arrays": rng.choice([1, 3])}}
    kind = rng.choice(list(own))
    return {"kind": kind, "newcomers": newcomers, **own[kind]}


def _loss(rng: random.Random) -> dict[str, Any]:
    own: dict[str, dict[str, Any]] = {
        "softmax": {"negatives": rng.choice([None, 1, 5])},
        "bce": {"gamma": rng.choice([0.5, 1.2]), "negatives": rng.choice([1, 3])},
        "hinge": {"margin": rng.choice([0.01, 0.1, 1.0])},
        "logistic": {"sigma": rng.choice([0.5, 2.0])},
        "bpr": {},
    }
    kind = _mostly(rng, ["softmax"] * 4 + ["bce", "hinge", "logistic", "bpr"], own)
    return {"kind": kind, **own[kind]}


def _tower(rng: random.Random) -> dict[str, Any]:
    residual = "item" if rng.random() < 0.02 else None  # which one side never sees
    tower = {
        "hidden": rng.choice([[], [16], [32, 16]]),
        "activation": rng.choice(["relu", "gelu", "tanh"]),
        "batch_norm": rng.random() < 0.3,
        "dropout": rng.choice([0.0, 0.0, 0.5]),
        "feature_weights": rng.choice([None, None, {"kind": "senet", "reduction_ratio": 2}]),
        "output_activation": rng.choice(["linear", "tanh"]),
        "residual": residual,
    }
    if rng.random() < 0.7:
        return {"kind": "dnn", **tower}
    crossed = {"structure": rng.choice(["parallel", "stacked"]), "rank": rng.choice([None, 2])}
    return {"kind": "dcn", "cross_layers": rng.choice([1, 3]), **crossed, **tower}


_QUERY = {"sparse": 5, "varlen": 3, "dense": 3, "hour_of_day": 1, "history": 2}
_CANDIDATE = {"sparse": 5, "varlen": 3, "dense": 3, "item_statistics": 2}
_SURPRISE = {"history": 1, "item_statistics": 1, "hour_of_day": 1}


def _features(
    rng: random.Random, columns: dict[str, str], kinds: dict[str, int]
) -> list[dict[str, Any]]:
    return [_feature(rng, number, columns, kinds) for number in range(rng.randint(1, 4))]


def _feature(
    rng: random.Random, number: int, columns: dict[str, str], kinds: dict[str, int]
) -> dict[str, Any]:
    drawn = kinds if rng.random() < 0.97 else _SURPRISE
    kind = rng.choices(list(drawn), list(drawn.values()))[0]
    fits = {
        "sparse": {"string", "int64", "bool"},
        "varlen": {"list<string>", "list<int64>"},
        "dense": {"int64", "float64", "bool"},
    }.get(kind, set())
    right = [name for name, of_type in columns.items() if of_type in fits]
    if kind == "dense":  # an id as a number drowns the rest, which only a sample can show
        right = [name for name in right if name not in {"item_no", "user_id"}]
    if fits and not right:
        kind, right = "hour_of_day" if "hour_of_day" in kinds else "dense", list(columns)
    feature = {"kind": kind, "name": f"f{number}"}
    if kind in {"sparse", "varlen", "dense"}:
        feature["column"] = _mostly(rng, right, columns)
    if kind in {"sparse", "varlen", "hour_of_day", "history"}:
        feature["table"] = _mostly(rng, [f"t{number}"], ["item", "t0", "shared"])
    if kind in {"varlen", "history"}:
        feature["pooling"] = rng.choice(["mean", "sum"])
    extra: dict[str, dict[str, Any]] = {
        "dense": {
            "transform": rng.choice(["none", "log1p"]),
            "divided_by": rng.choice([1.0, 1e3, 1e18]),
        },
        "hour_of_day": {"time_zone": rng.choice(ZONES)},
        "history": {"length": rng.choice([1, 20, 10_000])},
        "item_statistics": {
            "windows_minutes": rng.choice([[1], [60], [7, 60], [1440, 10], [527_040]]),
            "refresh_minutes": rng.choice([1, 60, 1440, 10_080]),
            "refresh_offset_minutes": rng.choice([0, 240, 7]),
        },
    }
    return feature | extra.get(kind, {})


def events_of(schema: EventSchema, *, seed: int, count: int = 200) -> pa.Table:
    """Events of some users on some items, with extreme values and, where allowed, nulls.

    They come in a few minutes of two days, since each minute is a file.
    """
    rng = np.random.default_rng(seed)
    minutes = np.concatenate((rng.integers(0, HOURS * 60, 8), [(HOURS - 1) * 60]))
    spread_ms = rng.choice(minutes, count) * 60_000 + rng.integers(0, 60_000, count)
    at_ms = np.sort(spread_ms) + round(START.timestamp() * 1000)
    columns = {}
    for name, kind in schema.columns.items():
        values = _values(kind, rng, count, few=12 if name == schema.item else 30)
        if name not in schema.required():
            values = [None if rng.random() < 0.1 else value for value in values]
        columns[name] = values
    columns[schema.time] = at_ms.tolist()
    return pa.table(
        {
            name: pa.array(columns[name], pa.int64()).cast(field.type)
            if pa.types.is_timestamp(field.type)
            else pa.array(columns[name], field.type)
            for name, field in ((field.name, field) for field in schema.arrow_schema())
        },
        schema=schema.arrow_schema(),
    )


def _values(kind: str, rng: np.random.Generator, count: int, *, few: int) -> list[Any]:
    numbers = rng.integers(0, few, count)
    at_ms = round(START.timestamp() * 1000)
    makers: dict[str, Callable[[int], Any]] = {
        "string": lambda number: (
            "0" if number == 0 else f"s{number % 4}" if number % 2 else f"ü{number}"
        ),
        "int64": lambda number: (
            -(2**63) if number == 0 else 2**63 - 1 if number == 5 else number % 7
        ),
        "float64": lambda number: [0.0, 0.5, -1e308, 1e308, 5e-324][number % 5],
        "bool": lambda number: number % 2 == 0,
        "timestamp_ms": lambda number: at_ms + number,
        "list<string>": lambda number: ["x", None, ""][: number % 4],
        "list<int64>": lambda number: [1, None, 2**63 - 1][: number % 4],
        "list<float64>": lambda number: [0.5, None, 1e308][: number % 4],
    }
    return [makers[kind](int(number)) for number in numbers]


def messages_of(events: pa.Table, paths: dict[str, str]) -> list[bytes]:
    """The events as a producer would send them, whose columns lie at these paths."""
    plain = events
    for at, field in enumerate(events.schema):
        if pa.types.is_timestamp(field.type):
            plain = plain.set_column(at, field.name, events[field.name].cast(pa.int64()))
    return [json.dumps(_nested(row, paths)).encode() for row in plain.to_pylist()]


def _nested(row: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    for name, value in row.items():
        if name not in paths:
            message[name] = value
        elif value is not None:
            _put(message, paths[name], value)
    return message


def _put(message: dict[str, Any], path: str, value: Any) -> None:
    """Into objects that others lie in as well; lists of other lengths get more objects."""
    first, _, rest = path.partition(".")
    if not rest:
        message[first] = value
    elif not first.endswith("[]"):
        _put(message.setdefault(first, {}), rest, value)
    else:
        objects = message.setdefault(first.removesuffix("[]"), [])
        objects += [{} for _ in range(len(value) - len(objects))]
        for each, part in zip(objects, value, strict=False):
            each.update({} if part is None else {rest: part})


def end() -> datetime:
    """After the last event."""
    return START + timedelta(hours=HOURS)

"""A change of the declaration does what the table says: each key of the YAML is changed once, on a
line that has learnt a night.
"""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.offline import write_shards
from tests import changes as page
from tests.trainer.conftest import SMALL, START, Line, at
from trainer.nightly import nightly
from trainer.run import begin, declared_vectors
from trainer.warm import plain_name
from twintide import config
from twintide.changes import TABLE, Effect, differences, every_key, outcome, rule_of
from twintide.checkpoints import list_checkpoints, load_checkpoint
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused
from twintide.model.two_tower import weights_in
from twintide.slices import chain_dirs

Base = Literal["plain", "towers", "bottom", "fixed"]
EVENTS = 160
LIKED = {"column": "liked", "equals": True}
SHOP = {"column": "shop", "equals": "north"}
EVENTS_DECLARED: dict[str, Any] = {
    "columns": {
        "user": "string",
        "other_user": "string",
        "item": "int64",
        "other_item": "int64",
        "at": "timestamp_ms",
        "sent_at": "timestamp_ms",
        "clicked": "bool",
        "liked": "bool",
        "age": "float64",
        "seconds": "float64",
        "city": "string",
        "shop": "string",
        "tags": "list<string>",
        "sure": "list<float64>",
        "doubt": "list<float64>",
        "tastes": "string",
        "said": "string",
        "reads": "list<int64>",
        "unread": "int64",
    },
    "user": "user",
    "item": "item",
    "time": "at",
    "positive": {"column": "clicked", "equals": True},
}
QUERY: list[dict[str, Any]] = [
    {"kind": "sparse", "name": "own", "column": "user", "table": "user"},
    {"kind": "varlen", "name": "tags_of", "column": "tags", "table": "tag"},
    {"kind": "weighted_varlen", "name": "reads", "column": "reads", "table": "shelf"}
    | {"weights": "sure"},
    {"kind": "weighted_varlen", "name": "tastes", "column": "tastes", "table": "taste"},
    {"kind": "words", "name": "said", "column": "said", "table": "word"},
    {"kind": "cross", "name": "pair", "columns": ["city", "liked"], "table": "pair"},
    {"kind": "bucket", "name": "age", "column": "age", "boundaries": [30], "table": "age"},
    {"kind": "dense", "name": "years", "column": "age"},
    {"kind": "sparse", "name": "city", "column": "city", "table": "city"},
    {"kind": "hour_of_day", "name": "hour", "table": "hour"},
    {"kind": "day_of_week", "name": "day", "table": "day"},
    {"kind": "cyclic_time", "name": "clock"},
    {"kind": "time_since", "name": "loyalty", "column": "sent_at"},
    {"kind": "history", "name": "history", "table": "item", "length": 4},
    {"kind": "decayed_history", "name": "decayed", "table": "item", "length": 6},
    {"kind": "attention_history", "name": "attended", "table": "item", "length": 3},
    {"kind": "user_statistics", "name": "active", "windows_minutes": [60, 1440]},
]
CANDIDATE: list[dict[str, Any]] = [
    {"kind": "sparse", "name": "own", "column": "item", "table": "item"},
    {"kind": "sparse", "name": "twin", "column": "item", "table": "title"},
    {"kind": "item_statistics", "name": "statistics", "windows_minutes": [60, 180]},
]
OF_EACH_LOSS = {
    "click": {"loss": {"kind": "softmax"}},
    "bce": {"loss": {"kind": "bce"}, "positive": LIKED},
    "bpr": {"loss": {"kind": "bpr"}, "positive": LIKED},
    "hinge": {"loss": {"kind": "hinge"}, "positive": LIKED, "scenario": "north"},
    "logistic": {"loss": {"kind": "logistic"}, "positive": LIKED},
    "log_mse": {"loss": {"kind": "log_mse", "column": "seconds"}},
    "mse": {"loss": {"kind": "mse", "column": "seconds"}},
}
FEW: dict[str, Any] = {"query": [QUERY[0], QUERY[6]], "candidate": CANDIDATE[:2]}
NEGATIVES: list[dict[str, Any]] = [
    {"kind": "in_batch"},
    {"kind": "uniform", "count": 2},
    {"kind": "popularity", "count": 2},
    {"kind": "pool", "count": 2, "clicks": 64},
    {"kind": "hard", "from_columns": ["reads"]},
]
MODELS: dict[Base, dict[str, Any]] = {
    "plain": {
        "query": QUERY,
        "candidate": CANDIDATE,
        "negatives": NEGATIVES,
        "tower": {"kind": "dnn", "hidden": [16]},
    },
    "towers": FEW
    | {
        "query_tower": {"kind": "dcn", "hidden": [16]},
        "candidate_tower": {"kind": "dat", "hidden": [16], "augmented": "own", "category": "twin"},
        "objectives": OF_EACH_LOSS,
        "scenarios": {"north": SHOP},
    },
    "bottom": FEW
    | {
        "tower": {"kind": "shared_bottom", "bottom": [16], "task": [16]},
        "objectives": {
            "click": {},
            "like": {"positive": LIKED, "scenario": "north"},
            "north": {"positive": LIKED, "scenario": "north", "loss": {"kind": "bpr"}},
            "south": {"positive": LIKED, "scenario": "south", "loss": {"kind": "hinge"}},
        },
        "scenarios": {"north": SHOP, "south": {"column": "shop", "equals": "south"}},
    },
    "fixed": {
        "query": FEW["query"],
        "candidate": [
            *CANDIDATE[:2],
            {"kind": "sparse", "name": "cover", "column": "item", "table": "cover"},
        ],
        "tables": {
            "title": {"vectors": "title.parquet"},
            "cover": {"vectors": "cover.npy", "ids": "ids.npy"},
        },
    },
}


def stream(schema: pa.Schema) -> pa.Table:
    """The first two hours of two days."""
    rng = np.random.default_rng(8)
    day = np.sort(rng.integers(0, 2, EVENTS))
    since_midnight = rng.integers(0, 2 * 3_600_000, EVENTS)
    at_ms = int(START.timestamp() * 1000) + np.sort(day * 86_400_000 + since_midnight)
    times = pa.array(at_ms).cast(pa.timestamp("ms", tz="UTC"))
    item = rng.integers(0, 20, EVENTS)
    columns = {
        "user": [f"u{number}" for number in rng.integers(0, 12, EVENTS)],
        "other_user": [f"o{number}" for number in rng.integers(0, 12, EVENTS)],
        "item": item,
        "other_item": item + 1,
        "at": times,
        "sent_at": times,
        "clicked": rng.random(EVENTS) < 0.7,
        "liked": rng.random(EVENTS) < 0.5,
        "age": rng.uniform(10, 60, EVENTS),
        "seconds": rng.uniform(1, 60, EVENTS),
        "city": [("rome", "oslo")[number] for number in rng.integers(0, 2, EVENTS)],
        "shop": [("north", "south")[number] for number in rng.integers(0, 2, EVENTS)],
        "tags": [[f"t{number}", "all"] for number in rng.integers(0, 4, EVENTS)],
        "sure": [[0.5, 1.0]] * EVENTS,
        "doubt": [[0.25, 1.0]] * EVENTS,
        "tastes": ["1:0.5,2:2"] * EVENTS,
        "said": ["two words"] * EVENTS,
        "reads": [[int(one), 7] for one in rng.integers(0, 20, EVENTS)],
        "unread": item,
    }
    return pa.table(columns).select(schema.names).cast(schema)


def vectors(path: Path) -> None:
    """Vectors for all items, under two names each."""
    rows = np.random.default_rng(2).normal(size=(20, 8)).astype(np.float32)
    ids = np.arange(20, dtype=np.int64)
    lists = pa.array(list(rows), pa.list_(pa.float32()))
    listed = pa.repeat(pa.scalar(0, pa.timestamp("ms", tz="UTC")), 20)
    items = {"item": ids, "also_item": ids, "available": [True] * 20, "listed_at": listed}
    pq.write_table(pa.table(items), path.with_name("items.parquet"))
    names = ("id", "also_id", "vector", "also_vector")
    pq.write_table(pa.table(dict(zip(names, (ids, ids, lists, lists), strict=True))), path)
    for name in ("ids", "also_ids"):
        np.save(path.parent / f"{name}.npy", ids)
    np.save(path.parent / "cover.npy", rows)


def declared(folder: Path, base: Base) -> dict[str, Any]:
    """A deployment with its data below a folder of its own."""
    tables: dict[str, dict[str, Any]] = {"city": {"width": 4}} if base == "plain" else {}
    for name, table in MODELS[base].get("tables", {}).items():
        tables[name] = {key: str(folder / file) for key, file in table.items()}
    small = deepcopy(SMALL)
    model: Any = small.pop("model")
    return {
        **small,
        "data_dir": str(folder / base),
        "kafka": {"bootstrap_servers": ["127.0.0.1:9092"], "topic": "clicks"},
        "events": deepcopy(EVENTS_DECLARED),
        "model": model | deepcopy(MODELS[base]) | {"tables": tables},
    }


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Base], Path]:
    """Folders of lines that have learnt the first of two days; each made once, when asked for."""
    folder = tmp_path_factory.mktemp("learnt")
    made: set[str] = set()

    def line(base: Base) -> Path:
        if base not in made:
            vectors(folder / "title.parquet")
            own = config.parse(declared(folder, base), name=base)
            events = stream(own.events.arrow_schema())
            write_shards(own, events, partitions=2, complete_until=at(2, 1))
            Line(own).night(0)
            made.add(base)
        return folder

    return line


Change = Callable[[dict[str, Any], Path], None]


def to(key: str, value: Any, *more: tuple[str, Any]) -> Change:
    """Set a key, and others that must change with it."""

    def change(values: dict[str, Any], _: Path) -> None:
        for one, its in ((key, value), *more):
            set_at(values, one, deepcopy(its))

    return change


def in_folder(key: str, name: str) -> Change:
    """Set a key to a file of the folder."""

    def change(values: dict[str, Any], folder: Path) -> None:
        set_at(values, key, str(folder / name))

    return change


def moved(name: str) -> Change:
    """Move a folder of artifacts elsewhere, with what lies beside it, and say so."""

    def change(values: dict[str, Any], _: Path) -> None:
        data_dir = Path(values["data_dir"])
        if name == "data_dir":
            values["data_dir"] = str(data_dir.rename(data_dir.with_name("elsewhere")))
            return
        for path in data_dir.glob(f"{name}*"):
            path.rename(data_dir.with_name(path.name))
        values["folders"] = {name: str(data_dir.with_name(name))}

    return change


def of_items(key: str, value: Any) -> Change:
    """Set a key of a source of items, which is then a file."""

    def change(values: dict[str, Any], folder: Path) -> None:
        values["items"] = {key.removeprefix("items."): value, "file": str(folder / "items.parquet")}

    return change


def kind_of(key: str, other: dict[str, Any]) -> Change:
    """Another kind of tower or loss in its place."""

    def change(values: dict[str, Any], _: Path) -> None:
        found = section_at(values, key)
        found.clear()
        found.update(other)

    return change


def kind_of_feature(kind: str) -> Change:
    """Another kind in its place, of the same name."""

    def change(values: dict[str, Any], _: Path) -> None:
        found = section_at(values, f"feature.{kind}.kind")
        other = {"kind": "bucket", "column": "age", "boundaries": [1.0], "table": "more"}
        if kind == "bucket":
            other = {"kind": "sparse", "column": "city", "table": "more"}
        name = found["name"]
        found.clear()
        found.update(other, name=name)

    return change


def section_at(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The section that a key stands in, wherever the base has it first."""
    group, *rest = key.split(".")
    model: dict[str, Any] = values["model"]
    if group == "feature":
        every = [*model["query"], *model["candidate"]]
        if rest[0] == "sparse":  # no id that is asked for, no table that is declared
            return next(one for one in every if one["name"] == "twin")
        return next(one for one in every if rest[0] in {one["kind"], one["name"]})
    if group == "negatives":
        return next(one for one in model["negatives"] if one["kind"] == rest[0])
    if group == "tower":
        sides = [model.get(one) for one in ("tower", "query_tower", "candidate_tower")]
        return next(one for one in sides if one is not None and one["kind"] == rest[0])
    if group == "loss":
        objectives = model["objectives"].values()
        losses = [one["loss"] for one in objectives if "loss" in one]
        return next(one for one in losses if one["kind"] == rest[0])
    inside = values
    for part in key.split(".")[:-1]:
        inside = next(iter(inside.values())) if part == "*" else inside.setdefault(part, {})
    return inside


def set_at(values: dict[str, Any], key: str, value: Any) -> None:
    section_at(values, key)[key.rpartition(".")[2]] = value


def base_of(key: str) -> Base:
    """The line whose declaration has the key."""
    bases: dict[str, Base] = {
        "tower.dcn": "towers",
        "tower.dat": "towers",
        "tower.shared_bottom": "bottom",
        "loss": "towers",
        "model.objectives": "bottom",
        "model.scenarios": "bottom",
        "model.query_tower": "towers",
        "model.candidate_tower": "towers",
        "model.popularity_bias": "towers",
        "model.tables.*.ids": "fixed",
        "model.tables.*.id_column": "fixed",
        "model.tables.*.vector_column": "fixed",
    }
    return next((base for start, base in bases.items() if key.startswith(start)), "plain")


SASL = (
    ("kafka.sasl_mechanism", "PLAIN"),
    ("kafka.sasl_username", "me"),
    ("kafka.sasl_password_env", "PASSWORD"),
    ("kafka.security_protocol", "SASL_SSL"),
)
SENET = {"kind": "senet"}
ITEMS: dict[str, Any] = {
    "items.file": "items.parquet",
    "items.id_column": "also_item",
    "items.available_column": "available",
    "items.listed_at_column": "listed_at",
    "items.complete": True,
    "items.look_every_minutes": 20,
}
OTHERWISE: dict[str, Change] = {
    **{f"folders.{each}": moved(each) for each in ("shards", "slices", "checkpoints", "versions")},
    "data_dir": moved("data_dir"),
    "kafka.bootstrap_servers": to("kafka.bootstrap_servers", ["127.0.0.1:9093"]),
    "kafka.topic": to("kafka.topic", "views"),
    "kafka.group": to("kafka.group", "others"),
    "kafka.assignment": to("kafka.assignment", "all"),
    "kafka.security_protocol": to("kafka.security_protocol", "SSL"),
    **{key: to(*SASL[0], *SASL[1:]) for key, _ in SASL[:3]},
    "kafka.ssl_cafile": to("kafka.ssl_cafile", "ca.pem", ("kafka.security_protocol", "SSL")),
    "events.columns": to("events.columns.unread", "string"),
    "events.user": to("events.user", "other_user"),
    "events.item": to(
        "events.item",
        "other_item",
        *(("model.candidate", [one | {"column": "other_item"} for one in CANDIDATE[:2]]),),
    ),
    "events.time": to("events.time", "sent_at"),
    "events.times": to("events.times", "s"),
    "events.positive": to("events.positive", LIKED),
    **{
        key: to(key, "Europe/Vienna")
        for key in ("events.time_zone", "training.time_zone", "data_file.time_zone")
    },
    "shards.minutes": to("shards.minutes", 30, ("training.hourly.holdback_minutes", 30)),
    **{key: of_items(key, value) for key, value in ITEMS.items()},
    "model.embedding_width": to("model.embedding_width", 12),
    "model.tables.*.changed_by": to("model.tables.city.changed_by", "hourly"),
    "model.tables.*.vectors": in_folder("model.tables.title.vectors", "title.parquet"),
    "model.tables.*.ids": in_folder("model.tables.cover.ids", "also_ids.npy"),
    "model.tables.*.id_column": to("model.tables.title.id_column", "also_id"),
    "model.tables.*.vector_column": to("model.tables.title.vector_column", "also_vector"),
    "model.query": to("model.query", [*QUERY, {**QUERY[0], "name": "again", "column": "shop"}]),
    "model.candidate": to("model.candidate", [*CANDIDATE[:2], {**CANDIDATE[1], "name": "more"}]),
    **{
        f"feature.{kind}.kind": kind_of_feature(kind)
        for kind in (
            *("sparse", "varlen", "weighted_varlen", "cross", "bucket", "dense", "hour_of_day"),
            *("day_of_week", "cyclic_time", "time_since", "history", "decayed_history"),
            *("attention_history", "item_statistics", "user_statistics"),
        )
    },
    **{
        f"tower.{kind}.kind": kind_of(f"tower.{kind}.kind", {"kind": other, "hidden": [16]})
        for kind, other in {
            "dnn": "dcn",
            "dcn": "dnn",
            "dat": "dnn",
            "shared_bottom": "dnn",
        }.items()
    },
    **{
        f"loss.{kind}.kind": kind_of(f"loss.{kind}.kind", {"kind": "mse", "column": "age"})
        for kind in ("softmax", "bce", "hinge", "logistic", "bpr")
    },
    **{
        f"loss.{kind}.kind": kind_of(f"loss.{kind}.kind", {"kind": "softmax", "negatives": 4})
        for kind in ("mse", "log_mse")
    },
    **{
        f"negatives.{one['kind']}.kind": to(
            "model.negatives", [each for each in NEGATIVES if each is not one]
        )
        for one in NEGATIVES
    },
    "feature.words.kind": kind_of_feature("words"),
    "feature.words.column": to("feature.words.column", "city"),
    **{
        f"training.{each}.clip_rows_at": to(f"training.{each}.clip_rows_at", 1.0)
        for each in ("hourly", "nightly")
    },
    **{
        f"training.{each}.tables": to(f"training.{each}.tables.user.row_learning_rate", 0.2)
        for each in ("hourly", "nightly")
    },
    "events.paths": to("events.paths", {"unread": "a.b"}),
    "model.frequency": to("model.frequency", {"kind": "hashed"}),
    "model.tables.*.admit_after": to("model.tables.*.admit_after", 3),
    "model.tables.*.evict_after_days": to("model.tables.*.evict_after_days", 9),
    **{
        f"model.state.forget_{each}_after_days": to(f"model.state.forget_{each}_after_days", 30)
        for each in ("users", "items")
    },
    "model.state.user_columns": to("model.state.user_columns", ["age"]),
    "model.tables.*.max_rows": to("model.tables.*.max_rows", 90),
    "feature.sparse.column": to("feature.sparse.column", "other_item"),
    "feature.varlen.column": to("feature.varlen.column", "reads"),
    "feature.weighted_varlen.column": to("feature.weighted_varlen.column", "tags"),
    "feature.weighted_varlen.weights": to("feature.weighted_varlen.weights", "doubt"),
    "feature.weighted_varlen.ids": to("feature.tastes.ids", "int64"),
    "feature.cross.columns": to("feature.cross.columns", ["city", "shop"]),
    "feature.cross.buckets": to("feature.cross.buckets", 4),
    "feature.bucket.column": to("feature.bucket.column", "seconds"),
    "feature.bucket.boundaries": to("feature.bucket.boundaries", [20.0]),
    "feature.dense.column": to("feature.dense.column", "seconds"),
    "feature.dense.transform": to("feature.dense.transform", "log1p"),
    "feature.cyclic_time.period": to("feature.cyclic_time.period", "week"),
    "feature.time_since.column": to("feature.time_since.column", "at"),
    "feature.decayed_history.half_life_hours": to("feature.decayed_history.half_life_hours", 2.0),
    "feature.attention_history.heads": to("feature.attention_history.heads", 2),
    "model.tower": to("model.tower", {"kind": "dcn", "hidden": [16]}),
    "model.query_tower": to("model.query_tower", None),
    "model.candidate_tower": to("model.candidate_tower", None),
    "tower.dcn.rank": to("tower.dcn.rank", 2),
    "tower.dcn.structure": to("tower.dcn.structure", "stacked"),
    "tower.dat.augmented": to("tower.dat.augmented", "twin"),
    "tower.dat.category": to("tower.dat.category", "own"),
    "model.output_width": to("model.output_width", 12),
    "model.popularity_layer": to("model.popularity_layer", 4),
    "model.similarity": to("model.similarity", "dot"),
    "model.loss": to(
        "model.loss", {"kind": "mse", "column": "seconds"}, ("model.negatives", NEGATIVES[:1])
    ),
    "model.reward": to("model.reward", {"column": "seconds"}),
    "model.negatives": to("model.negatives", NEGATIVES[::-1]),
    "model.positives": to("model.positives", {"repeat_cold": {"times": 3}}),
    "model.objectives": to("model.objectives.share", {"positive": LIKED}),
    "model.objectives.*.positive": to(
        "model.objectives.like.positive", {"column": "shop", "equals": "south"}
    ),
    "model.objectives.*.scenario": to("model.objectives.like.scenario", "south"),
    "model.objectives.*.loss": to("model.objectives.*.loss", {"kind": "mse", "column": "seconds"}),
    "model.objectives.*.reward": to("model.objectives.*.reward", {"column": "seconds"}),
    "model.scenarios": to("model.scenarios.north", {"column": "shop", "equals": ["north", "x"]}),
    "training.day_starts_at": to("training.day_starts_at", "00:30"),
    "training.hourly.learns": to("training.hourly.learns", "everything"),
    "publishing.index": to("publishing.index", "flat"),
    "publishing.active_within_days": to(
        "publishing.active_within_days", 3, ("model.state.forget_items_after_days", 30)
    ),
    "publishing.statistics_every_minutes": to("publishing.statistics_every_minutes", 10),
    "publishing.milvus": to(
        "publishing.milvus", {"uri": "http://127.0.0.1:19530", "prefix": "news"}
    ),
    "publishing.nprobe": to("publishing.nprobe", 7),
    "publishing.filters": to("publishing.filters", ["item"]),
    "publishing.keep_bytes": to("publishing.keep_bytes", 10**9),
    "publishing.gate.min_events": to("publishing.gate.min_events", 7),
    "serving.host": to("serving.host", "localhost"),
    "serving.token_env": to("serving.token_env", "TOKEN"),
    "serving.metrics": to("serving.metrics", "open"),
    "serving.rollback_when_errors_above": to("serving.rollback_when_errors_above", 0.5),
    "serving.access_log_ratio": to("serving.access_log_ratio", 0.5),
    "serving.before_first_version": to("serving.before_first_version", "popularity"),
    "serving.unknown_users": to("serving.unknown_users", "model"),
    "data_file.columns": to("data_file.columns", {"user": "who"}),
    "data_file.times": to("data_file.times", "s"),
    "data_file.separator": to("data_file.separator", ";"),
    "data_file.decimal": to("data_file.decimal", ","),
    "data_file.list_separator": to("data_file.list_separator", "|"),
    "data_file.null_values": to("data_file.null_values", ["NA"]),
}
"""How a key is changed whose other value cannot be told from the one that it has."""


def other_than(key: str, value: Any) -> Any:
    """Another value of a key that is a number, a switch, or by its name."""
    last = key.rpartition(".")[2]
    by_name = {
        "name": "renamed",
        "table": "other",
        "of": LIKED,
        "pooling": "sum",
        "time_zone": "Asia/Tokyo",
        "windows_minutes": [120, 240],
        "feature_weights": SENET,
        "output_activation": "tanh",
        "residual": "own",
        "dropout": 0.5,
        "max_length": 5,
        "told_length": 5,
        "activation": "gelu",
        "hidden": [24],
        "bottom": [24],
        "task": [24],
        "from_columns": ["reads", "reads"],
        "negatives": 2,
        "column": "age",
        "reward": {"column": "seconds"},
        "replay": {"share": 0.5, "hours": 2},
        "order": "shuffled",
    }
    if last in by_name:
        return by_name[last]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value / 2


def changed(
    learnt: Callable[[Base], Path], tmp_path: Path, key: str
) -> tuple[Deployment, Deployment]:
    """A line that has learnt a night, in a folder of its own, before and after the key's change."""
    base = base_of(key)
    folder = learnt(base)
    values = declared(folder, base)
    data_dir = tmp_path / base
    shutil.copytree(folder / base, data_dir)
    values["data_dir"] = str(data_dir)
    before = config.parse(values, name=key)
    if key in OTHERWISE:
        OTHERWISE[key](values, folder)
    else:
        section, last = section_at(values, key), key.rpartition(".")[2]
        set_at(values, key, other_than(key, section.get(last, default_of(before, key))))
    return before, config.parse(values, name=key)


def default_of(deployment: Deployment, key: str) -> Any:
    """What a key is where nobody says it."""
    values: Any = deployment.model_dump()
    found = section_at(values, key)
    return found[key.rpartition(".")[2]]


def observed(before: Deployment, after: Deployment) -> set[Effect]:
    """What a nightly run does with it, by what lies on the disk and in memory."""
    there = files_below(after)
    chains = chain_dirs(after.slices_dir)
    clock = HeldClock(at(2, 1))
    try:
        parent = list_checkpoints(after.checkpoints_dir)[-1]
        old = weights_in(load_checkpoint(after.checkpoints_dir, parent.name).arrays)
        begun = begin(after, parent, declared_vectors(after), None, clock)
        made = nightly(after, clock=clock)
    except Refused:
        assert files_below(after) == there
        return {Effect.REFUSED}
    named = {plain_name(name, parent.model): array.tobytes() for name, array in old.items()}
    new = weights_in(begun.learner.arrays())
    found = set()
    for name, array in new.items():
        is_weight = not name.endswith((".seen", ".free.bits")) and ".waiting." not in name
        if is_weight and named.get(plain_name(name, after.model)) != array.tobytes():
            found.add(Effect.ANEW)
    assert made[-1].checkpoint is not None
    assert made[-1].checkpoint.anew == begun.anew == outcome(before, after).anew
    assert bool(begun.anew) == (Effect.ANEW in found)
    if len(chain_dirs(after.slices_dir)) > len(chains):
        found.add(Effect.SLICES)
    return found


def files_below(deployment: Deployment) -> list[Path]:
    """All but locks, which say nothing."""
    paths = deployment.data_dir.rglob("*")
    return sorted(path for path in paths if not path.name.endswith(".lock"))


QUICK = ("kafka.topic", "feature.decayed_history.length", "model.temperature", "training.seed")


KEYS = [key for key in every_key() if key != "items.topic"]
"""What a topic of items says is read before a run; `tests/streaming/test_itemtopic.py` does."""


@pytest.mark.promise("T13")
@pytest.mark.parametrize(
    "key", [pytest.param(key, marks=[pytest.mark.long] * (key not in QUICK)) for key in KEYS]
)
def test_a_change_does_what_the_table_says(
    learnt: Callable[[Base], Path], tmp_path: Path, key: str
) -> None:
    """Each key of the YAML, changed once, alone where it can be: a night goes on from what was
    learnt, with slices, weights and report as the table says, or refuses before it writes anything.
    """
    before, after = changed(learnt, tmp_path, key)
    keys = [each.key for each in differences(before, after)]
    says = {effect for one in keys for effect in rule_of(one).effects} - {Effect.GOES_ON}

    found = observed(before, after)

    assert keys
    assert found == ({Effect.REFUSED} if Effect.REFUSED in says else says)
    assert found >= set(rule_of(key).effects) - {Effect.GOES_ON}
    told = outcome(before, after)
    assert bool(told.refused) == (Effect.REFUSED in found)
    assert told.refused or told.slices == (Effect.SLICES in found)


@pytest.mark.promise("T13")
def test_every_key_has_a_rule_and_every_rule_a_key() -> None:
    """A new key cannot be forgotten, nor one that is gone be kept; and the page is the table."""
    used = {rule_of(key).why for key in every_key()}

    assert used == {rule.why for rule in TABLE.values()}
    assert page.PAGE.read_text(encoding="utf-8") == page.page()

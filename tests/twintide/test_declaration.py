"""Every value of a declaration is checked against its column, and every pair of settings."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from streaming.client import connection
from twintide import config
from twintide.config import Deployment, KafkaConfig
from twintide.errors import Refused
from twintide.problems import Misconfigured
from twintide.slices import fingerprint_of

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"

Change = Callable[[dict[str, Any]], object]


def values() -> dict[str, Any]:
    """The quickstart as YAML gives it, with every column type."""
    found: dict[str, Any] = json.loads(quickstart())
    found["events"]["columns"] |= {"name": "string", "words": "list<string>", "at": "timestamp_ms"}
    found["events"]["columns"] |= {"shares": "list<float64>"}
    return found


@cache
def quickstart() -> str:
    return config.load(QUICKSTART).model_dump_json()


def changed(change: Change) -> dict[str, Any]:
    found = values()
    change(found)
    return found


def query(**feature: Any) -> Change:
    return lambda v: v["model"]["query"].append({"name": "more", "table": "more", **feature})


def candidate(**feature: Any) -> Change:
    return lambda v: v["model"]["candidate"].append({"name": "more", "table": "more", **feature})


def dense(**feature: Any) -> Change:
    return lambda v: v["model"]["query"].append({"kind": "dense", "name": "more", **feature})


def weighted(**feature: Any) -> Change:
    return query(**{"kind": "weighted_varlen", "column": "topics"} | feature)


def positive(column: str, *equals: Any) -> Change:
    said = {"column": column} | ({"equals": equals[0]} if equals else {})
    return lambda v: v["events"].update(positive=said)


def section(name: str, **keys: Any) -> Change:
    return lambda v: v[name].update(keys)


def tower(**keys: Any) -> Change:
    return lambda v: v["model"].update(tower={"kind": "dnn", **keys})


def hourly(**keys: Any) -> Change:
    return lambda v: v["training"]["hourly"].update(keys)


def gate(**keys: Any) -> Change:
    return lambda v: v["publishing"]["gate"].update(keys)


def loss(**keys: Any) -> Change:
    return section("model", loss={"kind": "softmax"} | keys)


def objectives(**named: dict[str, Any]) -> Change:
    return section("model", objectives=named)


def feature(side: str, number: int, **keys: Any) -> Change:
    return lambda v: v["model"][side][number].update(keys)


def paths(**declared: Any) -> Change:
    return section("events", paths=declared)


YES, NO = True, False
PASSWORD = {"sasl_mechanism": "PLAIN", "sasl_username": "me", "sasl_password_env": "PASSWORD"}
WRONG: dict[str, tuple[Change, str]] = {
    "a path of nobody's column": (paths(nobody="user.id"), "events.paths.nobody"),
    "a path without a name": (paths(name="user..id"), "events.paths.name"),
    "an empty path": (paths(name=""), "events.paths.name"),
    "a path with blanks": (paths(name="user. id"), "events.paths.name"),
    "a path with a place": (paths(words="topics[0].name"), "events.paths.words"),
    "a path that ends in a list": (paths(words="topics_of[]"), "events.paths.words"),
    "a path of lists in lists": (paths(words="a[].b[].c"), "events.paths.words"),
    "a path with a quote": (paths(name='user."id"'), "events.paths.name"),
    "a path deeper than anything": (paths(name=".".join("a" * 33)), "events.paths.name"),
    "a path that is a number": (paths(name=5), "events.paths.name"),
    "a path that is a list": (paths(name=["user", "id"]), "events.paths.name"),
    "one value from a list": (paths(name="topics_of[].name"), "events.paths.name"),
    "one time from a list": (paths(event_at="visits[].at"), "events.paths.event_at"),
    "a path into another column": (paths(words="name.words"), "events.paths.words"),
    "an object and a list in one place": (
        paths(words="a[].b", name="a.c"),
        "events.paths.words",
    ),
    "a path into what a file calls a column": (
        lambda v: (paths(name="who.name")(v), section("data_file", columns={"words": "who"})(v)),
        "data_file.columns.words",
    ),
    "a sparse number": (query(kind="sparse", column="watch_seconds"), "model.query.more.column"),
    "a sparse list": (query(kind="sparse", column="topics"), "model.query.more.column"),
    "a sparse instant": (query(kind="sparse", column="at"), "model.query.more.column"),
    "a varlen id": (query(kind="varlen", column="region"), "model.query.more.column"),
    "a varlen string": (query(kind="varlen", column="name"), "model.query.more.column"),
    "weights that are texts": (weighted(weights="words"), "model.query.more.weights"),
    "weights that nobody sends": (weighted(weights="none"), "model.query.more.weights"),
    "weights that are the ids": (weighted(weights="topics"), "model.query.more.weights"),
    "weights of texts with weights": (
        weighted(column="name", weights="shares"),
        "model.query.more.column",
    ),
    "weights of ids of two types": (weighted(weights="shares", ids="int64"), "query.more.ids"),
    "weights without ids": (query(kind="weighted_varlen", column="shares"), "query.more.column"),
    "a list of weights as ids": (query(kind="varlen", column="shares"), "query.more.column"),
    "a history of nobody's column": (
        query(kind="history", table="item", of={"column": "none"}),
        "model.query.more.of.column",
    ),
    "a history of half a truth": (
        query(kind="history", table="item", of={"column": "liked", "equals": 0.5}),
        "model.query.more.of.equals",
    ),
    "a history of clicks said twice": (
        query(kind="decayed_history", table="item", of={"column": "clicked", "equals": True}),
        "model.query.more.of",
    ),
    "a history of lists": (
        query(kind="attention_history", table="item", of={"column": "topics", "at_least": 1.0}),
        "model.query.more.of.at_least",
    ),
    "activity of the item": (
        lambda v: v["model"]["candidate"].append({"kind": "user_statistics", "name": "more"}),
        "model.candidate.more",
    ),
    "activity twice": (
        lambda v: v["model"]["query"].extend(
            {"kind": "user_statistics", "name": name} for name in ("more", "again")
        ),
        "model",
    ),
    "activity in no window": (
        lambda v: v["model"]["query"].append(
            {"kind": "user_statistics", "name": "more", "windows_minutes": []}
        ),
        "model.query.more.windows_minutes",
    ),
    "heads that do not divide a row": (
        query(kind="attention_history", table="item", heads=3),
        "model.query.more.heads",
    ),
    "attention to thousands": (
        query(kind="attention_history", table="item", length=1000),
        "model.query.more.length",
    ),
    "attention of the item": (candidate(kind="attention_history", table="item"), "candidate.more"),
    "two half-lives": (
        query(kind="decayed_history", table="item", half_life_hours=1.0, half_life_items=2.0),
        "model.query.more.half_life_items",
    ),
    "a half-life of nothing": (
        query(kind="decayed_history", table="item", half_life_hours=0.0),
        "model.query.more.half_life_hours",
    ),
    "a dense string": (dense(column="name"), "model.query.more.column"),
    "a dense list": (dense(column="topics"), "model.query.more.column"),
    "a dense instant": (dense(column="at"), "model.query.more.column"),
    "a column nobody has": (query(kind="sparse", column="none"), "model.query.more.column"),
    "the item in the query": (query(kind="sparse", column="item_id"), "model.query.more.column"),
    "the user in the candidate": (
        candidate(kind="sparse", column="user_id"),
        "model.candidate.more.column",
    ),
    "a kind nobody has": (query(kind="sprase", column="region"), "model.query.more"),
    "a feature without a kind": (query(column="region"), "model.query.more"),
    "a feature without a column": (query(kind="sparse"), "model.query.more.column"),
    "a key of another kind": (dense(column="region", pooling="sum"), "model.query.more.pooling"),
    "a history of the item": (candidate(kind="history"), "model.candidate.more"),
    "an hour of the item": (candidate(kind="hour_of_day"), "model.candidate.more"),
    "statistics of the user": (
        lambda v: v["model"]["query"].append({"kind": "item_statistics", "name": "more"}),
        "model.query.more",
    ),
    "two statistics": (
        lambda v: v["model"]["candidate"].append({"kind": "item_statistics", "name": "more"}),
        "model",
    ),
    "two features of a name": (feature("query", 3, name="user"), "model.query"),
    "a name that leaves its folder": (feature("query", 3, name="../x"), "model.query.../x.name"),
    "a table that leaves its folder": (
        feature("query", 3, table="a/b"),
        "model.query.region.table",
    ),
    "a table of 65 letters": (feature("query", 3, table="a" * 65), "model.query.region.table"),
    "a name with a dot": (feature("query", 3, name="a.b"), "model.query.a.b.name"),
    "strings among numbers in a table": (
        query(kind="sparse", column="name", table="region"),
        "model",
    ),
    "lists of strings among items": (query(kind="varlen", column="words", table="item"), "model"),
    "strings among hours": (query(kind="sparse", column="name", table="hour"), "model"),
    "no query features": (section("model", query=[]), "model.query"),
    "no candidate features": (section("model", candidate=[]), "model.candidate"),
    "no item id": (lambda v: v["model"]["candidate"].pop(0), "model.candidate"),
    "no windows": (feature("candidate", 3, windows_minutes=[]), "windows_minutes"),
    "a window of ten years": (feature("candidate", 3, windows_minutes=[9**9]), "windows_minutes.0"),
    "a refresh of no minutes": (feature("candidate", 3, refresh_minutes=0), "refresh_minutes"),
    "a zone of another planet": (feature("query", 2, time_zone="Mars/Olympus"), "time_zone"),
    "a zone out of the folder": (feature("query", 2, time_zone="../../etc/passwd"), "time_zone"),
    "a zone that is a folder": (section("training", time_zone="Europe"), "training.time_zone"),
    "an empty zone": (section("training", time_zone=""), "training.time_zone"),
    "a temperature of zero": (section("model", temperature=0), "model.temperature"),
    "a temperature that overflows": (section("model", temperature=1e-40), "model.temperature"),
    "a width beyond memory": (section("model", embedding_width=10**9), "model.embedding_width"),
    "clicks of a value and of an amount": (
        section("events", positive={"column": "liked", "equals": True, "at_least": 1}),
        "events.positive",
    ),
    "clicks of an amount of truth": (
        section("events", positive={"column": "liked", "at_least": 1}),
        "events.positive.at_least",
    ),
    "a reward that nobody sends": (
        section("model", reward={"column": "money"}),
        "model.reward.column",
    ),
    "a reward in words": (section("model", reward={"column": "liked"}), "model.reward.column"),
    "a reward of nothing": (
        section("model", reward={"column": "watch_seconds", "at_most": 0}),
        "model.reward.at_most",
    ),
    "a table nobody reads": (section("model", tables={"itme": {"width": 8}}), "tables.itme"),
    "rows that learn and are too wide": (
        section("model", tables={"item": {"width": 2048}}),
        "tables.item.width",
    ),
    "vectors of no kind of file": (
        section("model", tables={"item": {"vectors": "titles.csv"}}),
        "tables.item.vectors",
    ),
    "a matrix without its ids": (
        section("model", tables={"item": {"vectors": "titles.npy"}}),
        "tables.item.ids",
    ),
    "ids beside a file that has them": (
        section("model", tables={"item": {"vectors": "titles.npz", "ids": "ids.npy"}}),
        "tables.item.ids",
    ),
    "fixed vectors that a line changes": (
        section("model", tables={"item": {"vectors": "a.parquet", "changed_by": "hourly"}}),
        "tables.item.changed_by",
    ),
    "a column of no file": (
        section("model", tables={"item": {"vector_column": "embedding"}}),
        "tables.item.vector_column",
    ),
    "a place that only a shell knows": (
        section("model", tables={"item": {"vectors": "~/titles.parquet"}}),
        "tables.item.vectors",
    ),
    "vectors wider than any": (
        section("model", tables={"item": {"width": 5000, "vectors": "a.parquet"}}),
        "tables.item.width",
    ),
    "a table of no width": (section("model", tables={"item": {"width": 0}}), "tables.item.width"),
    "a table that nobody changes": (
        section("model", tables={"item": {"changed_by": "never"}}),
        "tables.item.changed_by",
    ),
    "a layer of no width": (tower(hidden=[0]), "model.tower.hidden.0"),
    "a loss nobody has": (loss(kind="infonce"), "model.loss"),
    "a loss of no kind": (section("model", loss={"gamma": 1.2}), "model.loss"),
    "a loss that is a word": (section("model", loss="bce"), "model.loss"),
    "a loss with a key of another": (loss(kind="bpr", sigma=2.0), "model.loss.sigma"),
    "cross-entropy against everything": (loss(kind="bce", negatives=None), "model.loss.negatives"),
    "no negatives": (loss(kind="hinge", negatives=0), "model.loss.negatives"),
    "more negatives than a batch has": (
        loss(kind="softmax", negatives=100_000),
        "model.loss.negatives",
    ),
    "as many negatives as an hourly batch has clicks": (
        lambda v: (
            loss(negatives=64)(v),
            hourly(batch_rows=64)(v),
            section("model", negatives=[{"kind": "in_batch"}])(v),
        ),
        "model.loss.negatives",
    ),
    "a margin below zero": (loss(kind="hinge", margin=-1.0), "model.loss.margin"),
    "a margin beyond cosines": (loss(kind="hinge", margin=41.0), "model.loss.margin"),
    "a margin beyond cosines at this temperature": (
        lambda v: (loss(kind="hinge")(v), section("model", temperature=1.0)(v)),
        "model.loss.margin",
    ),
    "a gamma of nothing": (loss(kind="bce", gamma=0.0), "model.loss.gamma"),
    "a positive weight below zero": (
        loss(kind="bce", positive_weight=-1.0),
        "model.loss.positive_weight",
    ),
    "a positive that nobody sends": (
        objectives(buy={"positive": {"column": "bought"}}),
        "model.objectives.buy.positive.column",
    ),
    "a positive by a number among truths": (
        objectives(like={"positive": {"column": "liked", "equals": 1}}),
        "model.objectives.like.positive.equals",
    ),
    "a positive of no key": (
        objectives(like={"positive": {"column": "liked", "is": True}}),
        "model.objectives.like.positive.is",
    ),
    "an objective in no scenario": (
        objectives(click={}, like={"scenario": "home"}),
        "model.objectives.like.scenario",
    ),
    "a scenario of no objective": (
        section("model", scenarios={"home": {"column": "region", "equals": 1}}),
        "model.scenarios.home",
    ),
    "a scenario of a wrong value": (
        section(
            "model",
            scenarios={"home": {"column": "region", "equals": "home"}},
            objectives={"home": {"scenario": "home"}},
        ),
        "model.scenarios.home.equals",
    ),
    "two objectives that are one": (
        objectives(click={}, again={"weight": 2.0}),
        "model.objectives.again",
    ),
    "objectives of which none counts": (
        objectives(click={"request_weight": 0.0}),
        "model.objectives",
    ),
    "an objective that teaches nothing": (
        objectives(click={"weight": 0.0}),
        "model.objectives.click.weight",
    ),
    "an objective that leaves its folder": (objectives(**{"a/b": {}}), "model.objectives.a/b"),
    "a loss beside objectives": (
        lambda v: (objectives(click={})(v), loss(kind="bpr")(v)),
        "model.loss",
    ),
    "a reward beside objectives": (
        lambda v: (
            objectives(click={})(v),
            section("model", reward={"column": "watch_seconds"})(v),
        ),
        "model.reward",
    ),
    "an objective's margin beyond cosines": (
        objectives(click={"loss": {"kind": "hinge", "margin": 41.0}}),
        "model.objectives.click.loss.margin",
    ),
    "an objective's reward in words": (
        objectives(click={"reward": {"column": "liked"}}),
        "model.objectives.click.reward.column",
    ),
    "more negatives than an objective's batch has": (
        objectives(click={"loss": {"kind": "softmax", "negatives": 60_000}}),
        "model.objectives.click.loss.negatives",
    ),
    "what was not clicked as a positive": (
        objectives(click={}, seen={"positive": {"column": "clicked", "equals": NO}}),
        "model.objectives.seen.positive",
    ),
    "what was shown as a positive": (
        lambda v: (
            v["events"]["columns"].update(action="string"),
            objectives(seen={"positive": {"column": "action", "equals": ["click", "shown"]}})(v),
        ),
        "model.objectives.seen.positive",
    ),
    "what was shown as a click": (
        lambda v: (v["events"]["columns"].update(exposed="bool"), positive("exposed")(v)),
        "events.positive",
    ),
    "a user that is a list": (section("events", user="topics"), "events.user"),
    "a user that is a number": (section("events", user="watch_seconds"), "events.user"),
    "an item that is a truth": (section("events", item="liked"), "events.item"),
    "an item nobody has": (section("events", item="none"), "events.item"),
    "an item that is the user": (section("events", item="user_id"), "events.item"),
    "a layer of a bias that is not": (
        section("model", popularity_layer=4, popularity_bias=False),
        "model.popularity_layer",
    ),
    "a layer of statistics that are not": (
        section(
            "model",
            popularity_layer=4,
            candidate=[{"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}],
        ),
        "model.popularity_layer",
    ),
    "a time that is a number": (section("events", time="event_id"), "events.time"),
    "a reserved column": (
        lambda v: v["events"]["columns"].update(kafka_offset="int64"),
        "events.columns.kafka_offset",
    ),
    "a column without a name": (lambda v: v["events"]["columns"].update({"": "int64"}), "columns"),
    "a column of no type": (
        lambda v: v["events"]["columns"].update(region="int32"),
        "events.columns.region",
    ),
    "clicks by a truth among numbers": (positive("region", YES), "events.positive.equals"),
    "clicks by default among strings": (positive("name"), "events.positive.equals"),
    "clicks by a number among strings": (positive("name", 1), "events.positive.equals"),
    "clicks by a string among truths": (positive("clicked", "yes"), "events.positive.equals"),
    "clicks by a number among truths": (positive("clicked", 1), "events.positive.equals"),
    "clicks by half a number": (positive("region", 0.5), "events.positive.equals"),
    "clicks by one wrong value": (positive("name", ["view", 1]), "events.positive.equals"),
    "clicks by no value": (positive("name", []), "events.positive.equals"),
    "clicks by null": (positive("name", None), "events.positive.equals"),
    "clicks by a list of lists": (positive("name", [["view"]]), "events.positive.equals"),
    "clicks by a list column": (positive("topics", 1), "events.positive.column"),
    "clicks by an instant": (positive("at", 1), "events.positive.column"),
    "clicks by nobody's column": (positive("none", 1), "events.positive.column"),
    "a file's column for nobody": (
        section("data_file", columns={"none": "x"}),
        "data_file.columns.none",
    ),
    "a shuffled pass with a replay": (
        hourly(order="shuffled", replay={"share": 0.2, "hours": 6}),
        "training.hourly.order",
    ),
    "a holdback below a shard": (
        lambda v: (section("shards", minutes=5)(v), hourly(holdback_minutes=2)(v)),
        "training.hourly.holdback_minutes",
    ),
    "shards of seven minutes": (section("shards", minutes=7), "shards.minutes"),
    "shards of two hours": (section("shards", minutes=120), "shards.minutes"),
    "shards of no rows": (section("shards", max_rows=0), "shards.max_rows"),
    "a lateness of years": (
        section("shards", allowed_lateness_seconds=1e300),
        "shards.allowed_lateness_seconds",
    ),
    "an hourly pass of a century": (hourly(every_minutes=10**15), "training.hourly.every_minutes"),
    "a holdback of a century": (
        hourly(holdback_minutes=10**15),
        "training.hourly.holdback_minutes",
    ),
    "a batch of one": (hourly(batch_rows=1), "training.hourly.batch_rows"),
    "a rate of nothing": (hourly(row_learning_rate=0), "training.hourly.row_learning_rate"),
    "a rate beyond floats": (hourly(dense_learning_rate=1e38), "training.hourly.dense_learning"),
    "a million threads": (section("training", threads=10**6), "training.threads"),
    "a seed below zero": (section("training", seed=-1), "training.seed"),
    "a day from 24:00": (section("training", day_starts_at="24:00"), "training.day_starts_at"),
    "a day from four": (section("training", day_starts_at="4:00"), "training.day_starts_at"),
    "a gate that never judges": (gate(min_events=10, max_events=9), "publishing.gate.min_events"),
    "a share above one": (gate(min_items_ratio=1.1), "publishing.gate.min_items_ratio"),
    "a topic with a space": (section("kafka", topic="a b"), "kafka.topic"),
    "a topic with a slash": (section("kafka", topic="../x"), "kafka.topic"),
    "a topic of dots": (section("kafka", topic=".."), "kafka.topic"),
    "a topic too long": (section("kafka", topic="a" * 250), "kafka.topic"),
    "an empty topic": (section("kafka", topic=""), "kafka.topic"),
    "an empty group": (section("kafka", group=" "), "kafka.group"),
    "no servers": (section("kafka", bootstrap_servers=[]), "kafka.bootstrap_servers"),
    "one string of servers": (
        section("kafka", bootstrap_servers="a:9092"),
        "kafka.bootstrap_servers",
    ),
    "a server without a port": (section("kafka", bootstrap_servers=["a"]), "bootstrap_servers.0"),
    "a server with a scheme": (
        section("kafka", bootstrap_servers=["a:9092", "ssl://a:9092"]),
        "kafka.bootstrap_servers.1",
    ),
    "a port too large": (section("kafka", bootstrap_servers=["a:65536"]), "bootstrap_servers.0"),
    "a session without end": (
        section("kafka", session_timeout_seconds=1e9),
        "kafka.session_timeout_seconds",
    ),
    "a password in the file": (
        section("kafka", **PASSWORD, security_protocol="SASL_SSL", sasl_password="x"),
        "kafka.sasl_password",
    ),
    "an open door": (section("serving", host="0.0.0.0"), "serving.token_env"),
    "every door": (section("serving", host="::"), "serving.token_env"),
    "no host": (section("serving", host=""), "serving.host"),
    "a host with a path": (section("serving", host="http://a/"), "serving.host"),
    "a port of 17 bits": (section("serving", port=65536), "serving.port"),
    "a poll that never ends": (section("serving", poll_seconds=1e300), "serving.poll_seconds"),
    "slices among shards": (
        lambda v: v["folders"].update(slices=v["data_dir"] + "/shards/slices"),
        "folders.slices",
    ),
    "two kinds in one folder": (
        lambda v: v["folders"].update(versions=v["data_dir"] + "/x/../checkpoints"),
        "folders.versions",
    ),
    "shards in the folder of all": (
        lambda v: v["folders"].update(shards=v["data_dir"]),
        "folders.",
    ),
    "slices in the shards' ledger": (
        lambda v: v["folders"].update(slices=v["data_dir"] + "/shards.ledger"),
        "folders.slices",
    ),
    "shards beside everything": (lambda v: v["folders"].update(shards="."), "folders.shards"),
    "shards in an empty path": (lambda v: v["folders"].update(shards=""), "folders.shards"),
    "shards in the root": (lambda v: v["folders"].update(shards="/"), "folders.shards"),
    "slices above everything": (lambda v: v["folders"].update(slices="a/.."), "folders.slices"),
    "a folder of a shell": (lambda v: v.update(data_dir="~/data"), "data_dir"),
    "a section nobody has": (lambda v: v.update(kafak={}), "kafak"),
    "a section that is a list": (lambda v: v.update(training=[]), "training"),
    "a section that is null": (lambda v: v.update(kafka=None), "kafka"),
    "no events": (lambda v: v.pop("events"), "events"),
    "no user": (lambda v: v["events"].pop("user"), "events.user"),
    "a number in quotes": (section("training", threads="2"), "training.threads"),
    "half a thread": (section("training", threads=2.5), "training.threads"),
    "a truth as a number": (section("training", threads=True), "training.threads"),
    "a null number": (section("training", threads=None), "training.threads"),
}


def problems_of(found: dict[str, Any]) -> tuple[str, ...]:
    """The keys of all problems."""
    with pytest.raises(Misconfigured) as wrong:
        config.parse(found, name="twintide.yaml")
    for problem in wrong.value.problems:
        assert not PYDANTIC & set(f"{problem.reason} {problem.hint}".split()), problem
    return tuple(problem.key for problem in wrong.value.problems)


PYDANTIC = {"Input", "Extra", "Field", "valid", "instance", "pydantic", "permitted", "Value"}
"""Words that pydantic uses and we do not."""


@pytest.mark.promise("X2")
@pytest.mark.parametrize(("change", "key"), WRONG.values(), ids=WRONG)
def test_what_cannot_work_is_refused_by_its_key(change: Change, key: str) -> None:
    """One problem, in our words, with the key that must be changed."""
    found = problems_of(changed(change))

    assert len(found) == 1
    assert key in found[0]


RIGHT: dict[str, Change] = {
    "nothing changed": lambda _: None,
    "any of two strings": positive("name", ["view", "addtocart"]),
    "one string": positive("name", "click"),
    "a whole number": positive("region", 1),
    "numbers": positive("watch_seconds", [4, 4.5]),
    "not liked": positive("liked", NO),
    "every event": lambda v: v["events"].update(positive=None),
    "a truth as an id": query(kind="sparse", column="liked"),
    "a truth as a number": dense(column="liked"),
    "two readers of a table": query(kind="sparse", column="category", table="region"),
    "recent items in the item table": query(kind="varlen", column="topics", table="item"),
    "a history of its own": feature("query", 1, table="recent"),
    "fewer negatives than a batch has": loss(negatives=20),
    "point-wise": loss(kind="bce", gamma=1.2, positive_weight=1.2, negatives=2),
    "a hinge": loss(kind="hinge", margin=4.0),
    "any margin between products": lambda v: (
        loss(kind="hinge", margin=50.0)(v),
        section("model", similarity="dot")(v),
    ),
    "a smooth hinge": loss(kind="logistic", sigma=0.5, negatives=8),
    "a preference": loss(kind="bpr"),
    "objectives of scenarios": section(
        "model",
        scenarios={"home": {"column": "region", "equals": [1, 2]}},
        objectives={
            "click": {},
            "home": {"scenario": "home", "loss": {"kind": "bpr"}},
            "like": {"positive": {"column": "liked"}, "weight": 0.3, "request_weight": 0.0},
            "long": {"positive": {"column": "watch_seconds", "at_least": 30}},
            "worth": {"reward": {"column": "watch_seconds", "transform": "log1p"}},
        },
    ),
    "linear towers": tower(hidden=[]),
    "no holdback": hourly(holdback_minutes=0),
    "a broker by IPv6": section("kafka", bootstrap_servers=["[::1]:9092"]),
    "any port": section("serving", port=0),
    "loopback by another address": section("serving", host="127.0.0.2"),
    "loopback by IPv6": section("serving", host="::1"),
    "shards somewhere else": lambda v: v["folders"].update(shards="/elsewhere"),
    "a file's names": section("data_file", columns={"user_id": "user"}),
    "paths": paths(words="topics_of[].name", shares="topics_of[].score", name="user.geo.city"),
    "two columns of one path": paths(words="a[].b", topics="a[].b"),
    "a column renamed": paths(region="Region code"),
    "a list at the end of objects": paths(words="user.words"),
    "what a file has flat": lambda v: (
        paths(name="user.name")(v),
        section("data_file", columns={"name": "user.name", "region": "user.region"})(v),
    ),
}


@pytest.mark.promise("X2")
@pytest.mark.parametrize("change", RIGHT.values(), ids=RIGHT)
def test_what_can_work_is_accepted(change: Change) -> None:
    """And survives being written and read again."""
    found = config.parse(changed(change), name="twintide.yaml")

    assert config.parse(json.loads(found.model_dump_json()), name="again") == found


def test_all_problems_are_told_at_once() -> None:
    """Across sections, wrong values beside what does not fit together, and nothing that follows."""
    found = values()
    found["training"] |= {"treads": 3, "time_zone": "Mars"}
    found["training"]["hourly"]["every_minutes"] = 0
    found["kafka"] |= {"ssl_cafile": "ca.pem", "topic": "a b"}
    found["events"]["columns"]["region"] = "int"  # so that whoever reads it is not judged
    found["events"]["user"] = "none"
    found["model"]["query"][1].pop("table")
    found["model"]["candidate"].append({"kind": "dense", "name": "more", "column": "topics"})
    found["serving"]["host"] = "0.0.0.0"
    found["folders"]["slices"] = found["data_dir"] + "/shards"

    assert sorted(problems_of(found)) == [
        "events.columns.region",
        "events.user",
        "folders.slices",
        "kafka.ssl_cafile",
        "kafka.topic",
        "model.candidate.more.column",
        "model.query.history.table",
        "serving.token_env",
        "training.hourly.every_minutes",
        "training.time_zone",
        "training.treads",
    ]


def test_a_misspelt_key_is_told_beside_the_right_one() -> None:
    """Near in its letters, or of that name in another section."""
    for wrong, right in (("treads", "training.threads"), ("batch_rows", "training.hourly.batch_r")):
        with pytest.raises(Refused, match=f"training.{wrong}.*did you mean {right}"):
            config.parse(changed(section("training", **{wrong: 3})), name="twintide.yaml")


@pytest.mark.promise("X3")
def test_a_secret_in_the_wrong_place_is_not_repeated() -> None:
    """Whoever writes the password where its variable's name belongs does not read it in a log."""
    canary = "hunter2-canary!"
    for key in ("sasl_password_env", "sasl_password", "sasl_pasword_env", "sasl_username"):
        wrong = {**PASSWORD, "security_protocol": "SASL_SSL", key: [canary]}
        with pytest.raises(Refused) as refused:
            config.parse(changed(section("kafka", **wrong)), name="twintide.yaml")
        assert canary not in str(refused.value)

    with pytest.raises(Refused) as refused:
        config.parse(
            changed(section("kafka", **PASSWORD, sasl_password=canary)), name="twintide.yaml"
        )
    assert canary not in str(refused.value)


CONNECTIONS: dict[str, tuple[dict[str, Any], str | None]] = {
    "plain": ({}, None),
    "TLS": ({"security_protocol": "SSL"}, None),
    "TLS with authorities": ({"security_protocol": "SSL", "ssl_cafile": "ca.pem"}, None),
    "a password over TLS": ({"security_protocol": "SASL_SSL", **PASSWORD}, None),
    "a password over TLS with authorities": (
        {"security_protocol": "SASL_SSL", "ssl_cafile": "ca.pem", **PASSWORD},
        None,
    ),
    "a password in the open, asked for": (
        {
            "security_protocol": "SASL_PLAINTEXT",
            "allow_password_over_plaintext": True,
            **PASSWORD,
        },
        None,
    ),
    "a password in the open": (
        {"security_protocol": "SASL_PLAINTEXT", **PASSWORD},
        "kafka.security_protocol",
    ),
    "a password nobody asks for": (PASSWORD, "kafka.sasl_mechanism"),
    "a user nobody asks for": ({"sasl_username": "me"}, "kafka.sasl_username"),
    "a mechanism nobody asks for": ({"sasl_mechanism": "PLAIN"}, "kafka.sasl_mechanism"),
    "a password over TLS that asks for none": (
        {"security_protocol": "SSL", **PASSWORD},
        "kafka.sasl_username",
    ),
    "authorities without TLS": ({"ssl_cafile": "ca.pem"}, "kafka.ssl_cafile"),
    "authorities and a password without TLS": (
        {
            "security_protocol": "SASL_PLAINTEXT",
            "allow_password_over_plaintext": True,
            "ssl_cafile": "ca.pem",
            **PASSWORD,
        },
        "kafka.ssl_cafile",
    ),
    "no password": ({"security_protocol": "SASL_SSL"}, "kafka.sasl_password_env"),
    "no mechanism": (
        {"security_protocol": "SASL_SSL", **PASSWORD, "sasl_mechanism": None},
        "kafka.sasl_mechanism",
    ),
    "an unknown mechanism": (
        {"security_protocol": "SASL_SSL", **PASSWORD, "sasl_mechanism": "GSSAPI"},
        "kafka.sasl_mechanism",
    ),
    "an unknown protocol": ({"security_protocol": "TLS"}, "kafka.security_protocol"),
}


@pytest.mark.promise("X4")
@pytest.mark.parametrize(("kafka", "key"), CONNECTIONS.values(), ids=CONNECTIONS)
def test_a_connection_is_as_safe_as_the_file_reads(
    kafka: dict[str, Any], key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that promise more than the protocol keeps are refused; none turns checks off."""
    monkeypatch.setenv("PASSWORD", "a canary")
    found = changed(section("kafka", **kafka))
    if key is not None:
        assert key in problems_of(found)
        return

    settings = connection(config.parse(found, name="twintide.yaml").kafka)

    wanted = kafka.get("security_protocol", "PLAINTEXT")
    assert settings["security_protocol"] == wanted
    assert ("sasl_plain_password" in settings) == wanted.startswith("SASL")
    assert not [name for name in settings if "check_hostname" in name or "ssl_context" in name]


def test_authorities_lie_beside_the_file(tmp_path: Path) -> None:
    """As every relative path of a configuration, whatever folder a program is started in."""
    found = changed(section("kafka", security_protocol="SSL", ssl_cafile="certs/ca.pem"))
    path = tmp_path / "twintide.yaml"
    path.write_text(json.dumps(found))

    assert config.load(path).kafka.ssl_cafile == tmp_path / "certs" / "ca.pem"


def deployment_of(change: Change) -> Deployment:
    return config.parse(changed(change), name="twintide.yaml")


def test_any_of_several_values_makes_a_click() -> None:
    """A null is none of them."""
    events = deployment_of(positive("name", ["view", "addtocart"])).events
    names = pa.array(["view", None, "remove", "addtocart", ""])

    found = events.is_click(pa.table({"name": names}))

    assert found.to_pylist() == [True, False, False, True, False]
    assert str(events.positive) == "name = view or addtocart"


def test_only_names_and_types_of_columns_bind_a_shard() -> None:
    """Which of them is the user, and what is a click, binds slices alone."""
    before = deployment_of(lambda _: None).events
    roles = deployment_of(positive("liked", YES)).events
    order = deployment_of(
        lambda v: v["events"].update(columns=dict(reversed(v["events"]["columns"].items())))
    ).events
    model = deployment_of(lambda _: None).model
    assert fingerprint_of(before, model) != fingerprint_of(roles, model)
    written = {"times": "us", "time_zone": "Asia/Kathmandu", "paths": {"user_id": "user.id"}}
    notation = deployment_of(section("events", **written)).events
    assert before.fingerprint() == notation.fingerprint()
    assert fingerprint_of(before, model) == fingerprint_of(notation, model)
    more = deployment_of(lambda v: v["events"]["columns"].update(country="string")).events

    assert before.fingerprint() == roles.fingerprint() == order.fingerprint()
    assert before.fingerprint() != more.fingerprint()


def test_the_defaults_of_a_broker_are_plain() -> None:
    """What `KafkaConfig()` says is what a local broker needs."""
    assert connection(KafkaConfig())["security_protocol"] == "PLAINTEXT"


WHAT_IF: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**18, "", ".", "x", "sparse", "a\nb", "ü"),
    *([], {}, [None], [[]]),
)
"""Values that are put anywhere."""

SOME_KEYS = (
    "kind",
    "name",
    "column",
    "columns",
    "x",
    "query",
    "table",
    "equals",
    "hourly",
    "0",
    "",
)


def places_in(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a tree, the tree itself left out."""
    items = value.items() if isinstance(value, dict) else enumerate(as_list(value))
    inner = [(each, (*before, key)) for key, each in items]
    return [path for _, path in inner] + [p for each, path in inner for p in places_in(each, path)]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def mutated(rng: random.Random) -> dict[str, Any]:
    """The quickstart with a few values exchanged, removed or put in."""
    found = values()
    for _ in range(rng.randint(1, 5)):
        *path, last = rng.choice(places_in(found))
        inside: Any = found
        for part in path:
            inside = inside[part]
        put, how = json.loads(json.dumps(rng.choice(WHAT_IF))), rng.random()
        if how < 0.4:
            inside[last] = put
        elif how < 0.6:
            del inside[last]
        elif isinstance(inside, dict):
            inside[rng.choice(SOME_KEYS)] = put
        else:
            inside.append(put)
    return found


def refused_in_our_words(seed: int) -> None:
    """A changed configuration is accepted, or each of its problems is told as ours."""
    found = mutated(random.Random(seed))
    try:
        config.parse(found, name="twintide.yaml")
    except Misconfigured as wrong:
        said = " ".join(f"{problem.reason} {problem.hint}" for problem in wrong.problems)
        assert not PYDANTIC & set(said.split()), (seed, said)
        assert "does not belong here" not in said, (seed, said)


@pytest.mark.promise("X2")
def test_any_values_are_accepted_or_refused_in_our_words() -> None:
    """The quickstart with values exchanged, removed and put in at random, 250 times."""
    for seed in range(250):
        refused_in_our_words(seed)


@pytest.mark.faults
@pytest.mark.promise("X2")
@pytest.mark.timeout(1800)
def test_any_values_are_accepted_or_refused_in_our_words_at_length() -> None:
    """The same, 50,000 times."""
    for seed in range(1000, 51_000):
        refused_in_our_words(seed)


@pytest.mark.parametrize(
    ("said", "every", "statistics_every", "found"),
    [
        ({}, 60, None, 60),
        ({}, 10, None, 10),
        ({}, 60, 5, 5),
        ({}, 10, 30, 10),
        ({"refresh_minutes": 30}, 10, None, 30),
    ],
)
def test_statistics_are_as_old_as_versions_let_them_become(
    said: dict[str, int], every: int, statistics_every: int | None, found: int
) -> None:
    """Of users as of items, where they do not say otherwise themselves."""
    given = config.values_in(QUICKSTART)
    given["model"]["candidate"] = [
        each | said if each["kind"] == "item_statistics" else each
        for each in given["model"]["candidate"]
    ]
    given["model"]["query"].append({"kind": "user_statistics", "name": "active", **said})
    given["training"] = {"hourly": {"every_minutes": every}}
    given["publishing"] = {"statistics_every_minutes": statistics_every}

    model = config.parse(given, name="any").model

    of_users, of_items = model.user_statistics(), model.item_statistics()
    assert of_users is not None
    assert of_items is not None
    assert of_users.refresh_minutes == of_items.refresh_minutes == found

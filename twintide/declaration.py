"""What in a declaration cannot work together: pure rules over sections, no disk, no network.

Each rule looks at one section or at a pair, and names every key that it finds wrong. Whatever comes
later (ingest, training, publishing, serving) relies on these and checks no declaration again.
"""

import ipaddress
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twintide import aims, columnrules
from twintide.conditions import no_column
from twintide.errors import Corrupt
from twintide.events import EventSchema
from twintide.features.kind import SIDES
from twintide.features.local_time import MINUTES_OF_A_DAY
from twintide.features.refreshed import Refreshed
from twintide.itemsource import ItemsConfig
from twintide.modelspec import RULES, VECTOR_FILES, WIDEST_LEARNT, ModelSpec, TableSpec
from twintide.problems import Problem

if TYPE_CHECKING:
    from twintide.config import (
        FoldersConfig,
        GateConfig,
        KafkaConfig,
        PublishingConfig,
        ServingConfig,
        ShardsConfig,
        TrainingConfig,
    )

Problems = Iterator[Problem]


def problems_of(sections: Mapping[str, Any]) -> Problems:
    """Whatever cannot work in these sections; a rule whose sections are not there is left out."""
    for names, rule in _RULES:
        if all(name in sections for name in names):
            yield from rule(*(sections[name] for name in names))


def check_carried(events: EventSchema, model: ModelSpec, *, by: str) -> None:
    """What an artifact carries of a declaration passed these rules when it was made.

    Raises Corrupt where it does not by now: no model can be built of it.
    """
    for problem in problems_of({"events": events, "model": model}):
        raise Corrupt(f"{by} is damaged, or was made by another program: {problem}")


def _passwords(kafka: "KafkaConfig") -> Problems:
    """A password is sent where it is asked for, and readably only where that is asked for too."""
    protocol, reads = kafka.security_protocol, ("kafka.security_protocol",)
    for name in ("sasl_mechanism", "sasl_username", "sasl_password_env"):
        given = getattr(kafka, name)
        if protocol.startswith("SASL") and not given:
            yield Problem(f"kafka.{name}", f"is missing: {protocol} needs it", reads=reads)
        if not protocol.startswith("SASL") and given is not None:
            yield Problem(
                f"kafka.{name}",
                f"is given, but security_protocol is {protocol}, which asks for no password",
                hint="security_protocol: SASL_SSL",
                reads=reads,
            )
    if protocol == "SASL_PLAINTEXT" and not kafka.allow_password_over_plaintext:
        yield Problem(
            "kafka.security_protocol",
            "SASL_PLAINTEXT sends the password readably over the network",
            hint="use SASL_SSL, or set allow_password_over_plaintext: true",
            reads=("kafka.allow_password_over_plaintext",),
        )


def _encryption(kafka: "KafkaConfig") -> Problems:
    if kafka.ssl_cafile is not None and not kafka.security_protocol.endswith("SSL"):
        yield Problem(
            "kafka.ssl_cafile",
            f"is given, but security_protocol is {kafka.security_protocol}, which does not encrypt",
            hint=f"security_protocol: {'SASL_SSL' if kafka.sasl_username else 'SSL'}",
            reads=("kafka.security_protocol",),
        )


def _roles(events: EventSchema) -> Problems:
    roles = (
        ("user", events.user, {"string", "int64"}),
        ("item", events.item, {"string", "int64"}),
        ("time", events.time, {"timestamp_ms"}),
    )
    for role, column, types in roles:
        key, kind = f"events.{role}", events.columns.get(column)
        if kind is None:
            yield no_column(key, column, events)
        elif kind not in types:
            yield Problem(
                key,
                f"column {column!r} is {kind}, not {' or '.join(sorted(types))}",
                reads=(f"events.columns.{column}",),
            )
    if events.user == events.item:
        yield Problem("events.item", f"column {events.item!r} is the user's id already")


def _feature_columns(events: EventSchema, model: ModelSpec) -> Problems:
    """Each feature reads columns that it can read, and that its tower may see."""
    for side, feature in model.all_features():
        for column in feature.reads():
            feature_key, kind = f"model.{side}.{feature.name}", events.columns.get(column)
            name, readable = feature.read_by(column)
            key = f"{feature_key}.{name}"
            if kind is None:
                yield no_column(key, column, events)
            elif kind not in readable:
                yield Problem(
                    key,
                    f"column {column!r} is {kind}, which a {feature.kind} feature cannot read",
                    hint=f"it reads {', '.join(sorted(readable))}",
                    reads=(f"events.columns.{column}", f"{feature_key}.kind"),
                )
            if column == (events.item if side == "query" else events.user):
                other = "item" if side == "query" else "user"
                yield Problem(
                    key,
                    f"column {column!r} is the {other}'s id, which the {side} tower must not see: "
                    "it is what is asked for",
                    reads=(f"events.{other}",),
                )


def _feature_keys(events: EventSchema, model: ModelSpec) -> Problems:
    """What a feature says of its own keys."""
    for side, feature in model.all_features():
        for problem in feature.problems(events):
            yield replace(problem, key=f"model.{side}.{feature.name}.{problem.key}")


def _towers(model: ModelSpec) -> Problems:
    """Names, which tower a kind belongs to, and how many of a kind there may be."""
    for side in SIDES:
        names = [feature.name for feature in model.features(side)]
        for name in dict.fromkeys(each for each in names if names.count(each) > 1):
            yield Problem(f"model.{side}", f"{names.count(name)} features are named {name!r}")
    several: dict[str, list[str]] = defaultdict(list)
    for side, feature in model.all_features():
        own, why = feature.only_tower or (side, "")
        if own != side:
            yield Problem(
                f"model.{side}.{feature.name}", f"{feature.kind} {why}, so to the {own} tower"
            )
        if feature.at_most_one:
            several[feature.kind].append(f"{side}.{feature.name}")
    for names in several.values():
        if len(names) > 1:
            yield Problem(
                "model",
                f"{' and '.join(names)} are of a kind of which a model may have one",
                reads=tuple(f"model.{name}" for name in names),
            )


def fitting_towers(model: ModelSpec) -> Problems:
    """Each side's tower fits what it is given. How wide vectors of a file are is known once it was
    read; whoever reads it asks again.
    """
    for side in (each for each in SIDES if model.is_measured(each)):
        for feature in model.features(side):
            for problem in feature.misfits(model.table_width):
                yield replace(problem, key=f"model.{side}.{feature.name}.{problem.key}")
        where = f"model.{model.tower_key(side)}"
        reads = (f"model.{side}", "model.embedding_width", "model.tables", "model.output_width")
        for problem in model.tower_of(side).problems(model.shape(side)):
            yield replace(problem, key=f"{where}.{problem.key}", reads=reads)


def _popularity(model: ModelSpec) -> Problems:
    """A layer of the popularity bias reads statistics of items, and there is a bias."""
    if not model.popularity_layer:
        return
    if not model.popularity_bias:
        yield Problem(
            "model.popularity_layer",
            "is a layer of the popularity bias, and popularity_bias is false",
            hint="leave one of them out",
            reads=("model.popularity_bias",),
        )
    if model.item_statistics() is None:
        yield Problem(
            "model.popularity_layer",
            "is a layer that reads item_statistics, and the candidate declares none",
            hint="add {kind: item_statistics, name: statistics}, or leave it out",
            reads=("model.candidate",),
        )


def _item_id(events: EventSchema, model: ModelSpec) -> Problems:
    if not any(feature.is_id(events.item) for feature in model.candidate):
        yield Problem(
            "model.candidate",
            f"one sparse feature must read the item's column {events.item!r}",
            hint=f"{{kind: sparse, name: item, column: {events.item}, table: item}}",
            reads=("events.item", "model.candidate"),
        )


def _tables(events: EventSchema, model: ModelSpec) -> Problems:
    """Ids of one table meet: a string never has the key of a whole number."""
    readers = _readers(events, model)
    for table, kinds in readers.items():
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{name} by {ids}" for name, ids in kinds.items())
            yield Problem(
                "model",
                f"table {table!r} is looked up by ids that never meet: {told}",
                hint="give each a table of its own",
                reads=("events.item", *(f"model.{name}" for name in kinds)),
            )
    for table in model.tables:
        if table not in readers:
            yield Problem(
                f"model.tables.{table}",
                f"no feature reads a table {table!r}; they read {', '.join(sorted(readers))}",
                hint=f"`table: {table}` in a feature, or leave it out",
            )


def _readers(events: EventSchema, model: ModelSpec) -> dict[str, dict[str, str]]:
    """Table -> feature that looks ids up in it -> what these are."""
    readers: dict[str, dict[str, str]] = defaultdict(dict)
    for side in SIDES:
        for feature in model.lookups(side):
            ids = "strings" if "string" in feature.id_type(events) else "whole numbers"
            readers[feature.table][f"{side}.{feature.name}"] = ids
    return readers


def misfits(events: EventSchema, model: ModelSpec, table: str, ids: str) -> Problems:
    """Features that would never find a vector: the file of this table has other ids."""
    path = model.tables[table].vectors
    for name, kind in _readers(events, model)[table].items():
        if kind != ids:
            yield Problem(
                f"model.tables.{table}.vectors",
                f"the ids of {path} are {ids}, and {name} looks {kind} up",
                hint="write the ids with the type that the column has, or name another column",
                reads=(f"model.{name}",),
            )


def _vectors(model: ModelSpec) -> Problems:
    """What a table says of its file fits; learnt rows have none, and fixed ones do not learn."""
    for name, table in model.tables.items():
        key = f"model.tables.{name}"
        if table.vectors is None:
            if table.width is not None and table.width > WIDEST_LEARNT:
                yield Problem(
                    f"{key}.width",
                    f"must be at most {WIDEST_LEARNT} where rows learn",
                    "such as 64",
                )
            for field in ("ids", "id_column", "vector_column"):
                if getattr(table, field) != TableSpec.model_fields[field].default:
                    yield Problem(
                        f"{key}.{field}",
                        "is given, but there is no file of vectors",
                        hint="`vectors:` names it; without one the rows are learnt",
                    )
            continue
        if table.changed_by is not None:
            yield Problem(
                f"{key}.changed_by",
                f"is {table.changed_by}, but fixed vectors never change",
                hint="leave it out, or leave `vectors` out to have rows that learn",
            )
        for field in RULES:
            if getattr(table, field) != TableSpec.model_fields[field].default:
                yield Problem(
                    f"{key}.{field}",
                    "is given, but the ids of fixed vectors neither come nor go",
                    hint="leave it out; the file says which ids have a vector",
                )
        yield from _files_of_vectors(key, table)


def _forgotten(model: ModelSpec) -> Problems:
    """Nobody is forgotten of whom a window still tells."""
    users, items = model.user_statistics(), model.item_statistics()
    if users is not None:
        yield from _too_soon(model, "users", users)
    if items is not None:
        yield from _too_soon(model, "items", items)


def _user_columns(events: EventSchema, model: ModelSpec) -> Problems:
    """What is remembered of users is what the query tower is told by itself, and no id or time."""
    own, told = {events.user, events.item, events.time}, model.told_by_users()
    for column in model.state.user_columns:
        if column in own or not any(each.reads() == (column,) for each in told):
            yield Problem(
                "model.state.user_columns",
                f"names {column!r}, which no feature of the query reads alone",
                hint="name columns such as a region, each of which a feature in model.query reads",
                reads=("model.query",),
            )


def _too_soon(model: ModelSpec, which: Literal["users", "items"], spec: Refreshed) -> Problems:
    key = f"forget_{which}_after_days"
    days: int | None = getattr(model.state, key)
    # And one bucket more, of which a refresh is a whole number. A night tells of items as they
    # were up to a day before the last ones left.
    minutes = spec.reach_minutes() + spec.pace_minutes
    fewest = -(-minutes // MINUTES_OF_A_DAY) + (which == "items")
    if days is not None and days < fewest:
        side = "query" if which == "users" else "candidate"
        yield Problem(
            f"model.state.{key}",
            f"is {days}, but {spec.name} may tell of clicks of up to {fewest} days ago",
            hint=f"make it {fewest} or more, or its windows shorter",
            reads=(f"model.{side}.{spec.name}.windows_minutes",),
        )


def _files_of_vectors(key: str, table: TableSpec) -> Problems:
    suffix = Path(table.vectors or "").suffix
    if suffix not in VECTOR_FILES:
        yield Problem(
            f"{key}.vectors", f"is none of {', '.join(VECTOR_FILES)}", "write it as Parquet"
        )
    elif suffix == ".npy" and (table.ids is None or table.ids.suffix != ".npy"):
        yield Problem(
            f"{key}.ids",
            "must name a .npy of ids: a .npy of vectors holds none",
            hint="or write both into one .npz, or a Parquet file",
        )
    elif suffix != ".npy" and table.ids is not None:
        yield Problem(
            f"{key}.ids", f"is given, but a {suffix} holds its ids itself", "leave it out"
        )


def _items(events: EventSchema, items: ItemsConfig) -> Problems:
    """A source is there where something is said of one; each of its columns is for one thing."""
    if not items.is_declared:
        for name, field in ItemsConfig.model_fields.items():
            if getattr(items, name) != field.default:
                yield Problem(
                    f"items.{name}",
                    "is given, but there is no source of items",
                    hint="`file:` or `topic:` names it; without one only clicks tell of items",
                )
        return
    if items.topic is not None:
        for key in ("file", "id_column"):
            if getattr(items, key) is not None:
                yield Problem(
                    f"items.{key}",
                    "is given beside `topic`, whose messages have the item's id as their key",
                    hint=f"leave `{key}` or `topic` out",
                    reads=("items.topic",),
                )
    named = {"id_column": items.ids_in(events)}
    for key in ("available_column", "listed_at_column"):
        column = getattr(items, key)
        for other, taken in named.items():
            if column is not None and column == taken:
                yield Problem(
                    f"items.{key}",
                    f"{column!r} is the {other} already",
                    hint="name the column that holds it, or leave it out",
                    reads=(f"items.{other}", "events.item"),
                )
        named[key] = column


def _holdback(shards: "ShardsConfig", training: "TrainingConfig") -> Problems:
    holdback = training.hourly.holdback_minutes
    if holdback != "auto" and 0 < holdback < shards.minutes:
        yield Problem(
            "training.hourly.holdback_minutes",
            f"{holdback} is shorter than a shard of {shards.minutes} minutes, "
            "so nothing would be held back",
            hint="0 says so",
            reads=("shards.minutes",),
        )


def _order(training: "TrainingConfig") -> Problems:
    """Rows that are learnt again lie beside new ones as these come."""
    if training.hourly.order == "shuffled" and training.hourly.replay is not None:
        yield Problem(
            "training.hourly.order",
            "is shuffled, and replay puts rows beside those that come in order",
            hint="leave one of them out",
            reads=("training.hourly.replay",),
        )


def _rates_of_tables(events: EventSchema, model: ModelSpec, training: "TrainingConfig") -> Problems:
    """Rates are of tables that the line changes."""
    every = training.hourly.learns == "everything"
    learning = {
        "nightly": model.learning_tables(),
        "hourly": model.learning_tables() if every else model.hourly_tables(events),
    }
    for line, tables in learning.items():
        for name in getattr(training, line).tables:
            if name not in tables:
                yield Problem(
                    f"training.{line}.tables.{name}",
                    f"is no table that the {line} line changes",
                    hint=f"it changes {', '.join(tables)}",
                    reads=("model.tables", "model.query", "model.candidate"),
                )


def _gate(publishing: "PublishingConfig") -> Problems:
    gate: GateConfig = publishing.gate
    if gate.min_events > gate.max_events:
        yield Problem(
            "publishing.gate.min_events",
            f"{gate.min_events} is more than max_events, {gate.max_events}, "
            "so no recall would ever be judged",
            reads=("publishing.gate.max_events",),
        )


def _filters(model: ModelSpec, publishing: "PublishingConfig") -> Problems:
    filterable = [each for each in model.candidate if each.is_filterable]
    told = {name for each in filterable for name in each.reads()}
    whole = {name for each in filterable if each.reads_all for name in each.reads()}
    for place, column in enumerate(publishing.filters):
        if column not in told:
            yield Problem(
                f"publishing.filters.{place}",
                f"no sparse or varlen feature of the candidate reads {column!r}, so that it is "
                "not known of an item",
                hint=f"they read {', '.join(sorted(told))}",
                reads=("model.candidate",),
            )
        elif column not in whole:
            yield Problem(
                f"publishing.filters.{place}",
                f"of {column!r} the candidate is told the first values only, by max_length; a "
                "filter by another value would not find the item",
                hint="say told_length in place of max_length: each value is kept for filters, and "
                "the model is told as many",
                reads=("model.candidate",),
            )


def _active(model: ModelSpec, publishing: "PublishingConfig") -> Problems:
    days, known = publishing.active_within_days, model.state.forget_items_after_days
    if days is not None and (known is None or days >= known):
        yield Problem(
            "publishing.active_within_days",
            "on which day an item was seen last is not counted"
            if known is None
            else f"{days} days leave nothing out: an item is forgotten after {known}",
            hint="model.state.forget_items_after_days counts the days; give it more than this",
            reads=("model.state.forget_items_after_days",),
        )


def _doors(serving: "ServingConfig") -> Problems:
    if not _is_loopback(serving.host) and serving.token_env is None:
        yield Problem(
            "serving.token_env",
            f"is missing: host {serving.host} is reachable from other machines",
            hint="name the variable that holds the bearer token, or set host: 127.0.0.1",
            reads=("serving.host",),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def folders_apart(data_dir: Path, folders: "FoldersConfig") -> Problems:
    """No kind of artifact lies inside another's folder: each sweeps and lists its own."""
    places = {name: Path(os.path.normpath(path)) for name, path in folders.below(data_dir).items()}
    moved = [name for name in type(folders).model_fields if getattr(folders, name) is not None]
    found: set[str] = set()
    for (one, one_path), (other, other_path) in combinations(places.items(), 2):
        inside = one_path.is_relative_to(other_path) or other_path.is_relative_to(one_path)
        key = next((name for name in (other, one) if name in moved), "shards")
        if inside and key not in found:
            found.add(key)
            yield Problem(
                f"folders.{key}",
                f"{one} would lie in {one_path} and {other} in {other_path}, one inside the other",
                hint="give each kind of artifact a folder of its own",
                reads=("data_dir",),
            )


_RULES: tuple[tuple[tuple[str, ...], Callable[..., Problems]], ...] = (
    (("data_dir", "folders"), folders_apart),
    (("kafka",), _passwords),
    (("kafka",), _encryption),
    (("events",), columnrules.names),
    (("events",), columnrules.paths),
    (("events",), _roles),
    (("events",), aims.clicks),
    (("model",), _towers),
    (("model",), fitting_towers),
    (("model",), _popularity),
    (("events", "model"), aims.positives),
    (("model",), aims.scenarios),
    (("model",), aims.together),
    (("model",), aims.losses),
    (("model",), aims.sources),
    (("model", "training"), aims.negatives),
    (("events", "model"), _item_id),
    (("events", "model"), _feature_columns),
    (("events", "model"), _feature_keys),
    (("events", "model"), _tables),
    (("events", "model"), aims.amounts),
    (("events", "model"), aims.hard),
    (("model",), aims.sampling),
    (("model",), _vectors),
    (("model",), _forgotten),
    (("events", "model"), _user_columns),
    (("events", "items"), _items),
    (("events", "data_file"), columnrules.of_file),
    (("shards", "training"), _holdback),
    (("training",), _order),
    (("events", "model", "training"), _rates_of_tables),
    (("publishing",), _gate),
    (("model", "publishing"), _filters),
    (("model", "publishing"), _active),
    (("serving",), _doors),
)
"""The sections that a rule looks at, and the rule."""

"""What a change of the configuration does to a line that has learnt: one table for every key.

A key goes on as it is, its slices are made anew by themselves, a part of the model begins anew and
the rest keeps its weights, or it is refused before anything is written. `docs/changes.md` is this
table; `twintide config diff` says it of two configurations, with what they come to together.

A key of the table is the path of the YAML, where `*` stands for a name. Of what is of one of
several kinds it is `feature`, `tower`, `loss` or `negatives`, then the kind (`*`: all that have the
key), then the key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, get_args

from pydantic import BaseModel

from twintide.carried import carried
from twintide.config import Deployment
from twintide.features.kind import Kind
from twintide.losses import Loss
from twintide.modelspec import TableSpec
from twintide.negatives import Source
from twintide.objectives import Objective
from twintide.slices import fingerprint_of
from twintide.towers import Tower


class Effect(StrEnum):
    """What becomes of what there is."""

    GOES_ON = "goes on"
    SLICES = "slices are remade"
    ANEW = "warm start"
    """What is unchanged keeps its weights, the part in question begins anew."""

    REFUSED = "refused"


@dataclass(frozen=True)
class Rule:
    """What a change of some keys does at most."""

    effects: tuple[Effect, ...]
    why: str


def _rules(
    *groups: tuple[tuple[Effect, ...], str, str],
) -> dict[str, Rule]:
    return {key: Rule(effects, why) for effects, why, keys in groups for key in keys.split()}


_GOES_ON, _SLICES, _ANEW = (Effect.GOES_ON,), (Effect.SLICES,), (Effect.ANEW,)
_BOTH, _REFUSED = (Effect.SLICES, Effect.ANEW), (Effect.REFUSED,)
TABLE = _rules(
    (
        _GOES_ON,
        "with what lies there: move the artifacts along, since an empty folder begins anew",
        "data_dir folders.shards folders.slices folders.checkpoints folders.versions",
    ),
    (
        _GOES_ON,
        "ingest reads it at its next start",
        """
        kafka.bootstrap_servers kafka.group kafka.assignment kafka.session_timeout_seconds
        kafka.security_protocol kafka.sasl_mechanism kafka.sasl_username
        kafka.sasl_password_env kafka.ssl_cafile kafka.allow_password_over_plaintext
        shards.minutes shards.max_rows shards.max_bytes shards.allowed_lateness_seconds
        shards.max_rejected_ratio shards.accept_gap events.times events.time_zone events.paths
        """,
    ),
    (
        _REFUSED,
        (
            "offsets of one topic mean nothing in another, which begins anew in a `data_dir` of "
            "its own"
        ),
        "kafka.topic",
    ),
    (
        _REFUSED,
        (
            "where a type changes that shards hold: give the new column another name. One that "
            "joins is null in older shards, one that goes is left out, and what nothing reads "
            "changes nothing"
        ),
        "events.columns",
    ),
    (
        _SLICES,
        "other events are clicks, or of others: all weights go on",
        """
        events.user events.item events.time events.positive model.reward
        model.objectives.*.positive model.objectives.*.reward model.scenarios
        """,
    ),
    (
        _GOES_ON,
        "the next run and the next publish read it",
        """
        items.file items.topic items.id_column items.available_column items.listed_at_column
        items.complete items.look_every_minutes
        """,
    ),
    (
        _ANEW,
        (
            "tables of another width begin anew, and what towers make of their features; others "
            "go on"
        ),
        "model.embedding_width model.tables.*.width",
    ),
    (
        _ANEW,
        (
            "where rows become fixed, or learn: these features begin anew. Another file for one "
            "that was fixed goes on from the next night"
        ),
        "model.tables.*.vectors",
    ),
    (
        _GOES_ON,
        "the next night reads the file by it",
        "model.tables.*.ids model.tables.*.id_column model.tables.*.vector_column",
    ),
    (
        _BOTH,
        (
            "a new feature begins at zero in its tower and changes no answer before it has "
            "learnt; one that goes takes nothing else along"
        ),
        "model.query model.candidate",
    ),
    (
        _BOTH,
        "it is another feature: what its tower makes of it begins at zero",
        """
        feature.*.kind feature.*.name feature.*.table feature.*.column feature.*.columns
        feature.*.of feature.*.pooling feature.*.weights feature.*.ids feature.*.buckets
        feature.*.boundaries feature.*.transform feature.*.divided_by feature.*.standardise
        feature.*.period feature.*.windows_minutes feature.attention_history.heads
        """,
    ),
    (
        _SLICES,
        "it is the same feature, told otherwise: what was learnt of it goes on",
        """
        feature.*.length feature.*.max_length feature.*.told_length feature.*.half_life_items
        feature.*.half_life_hours feature.*.time_zone feature.*.refresh_minutes
        feature.*.refresh_offset_minutes
        """,
    ),
    (
        _BOTH,
        "of its encoder begins what depends on it",
        "feature.attention_history.length feature.attention_history.layers",
    ),
    (
        _ANEW,
        "that tower begins anew; tables, and the other tower if it is not changed, go on",
        """
        model.tower model.query_tower model.candidate_tower tower.*.kind tower.*.hidden
        tower.*.batch_norm tower.*.cross_layers tower.*.rank tower.*.structure tower.*.bottom
        tower.*.task
        """,
    ),
    (
        _ANEW,
        "switched on or off that tower begins anew; another share goes on",
        "tower.*.dropout",
    ),
    (
        _ANEW,
        "the weights of features begin anew, the layers behind them go on",
        "tower.*.feature_weights",
    ),
    (
        _GOES_ON,
        "on the same weights",
        """
        tower.*.activation tower.*.output_activation tower.*.residual
        tower.*.augmented tower.*.mimic_weight tower.*.category tower.*.alignment_weight
        model.similarity model.temperature_learnt model.logq loss.*.negatives loss.*.gamma
        loss.*.positive_weight loss.*.margin loss.*.sigma model.positives
        model.objectives.*.weight model.objectives.*.request_weight model.tables.*.changed_by
        """,
    ),
    (
        _GOES_ON,
        "ids get and lose rows by it from the next run on",
        "model.tables.*.admit_after model.tables.*.evict_after_days model.tables.*.max_rows",
    ),
    (
        _SLICES,
        "as if it had always been declared so: all weights go on",
        """
        model.state.forget_users_after_days model.state.forget_items_after_days
        model.state.user_columns
        """,
    ),
    (
        _GOES_ON,
        "with all weights; another kind of estimate begins to count anew",
        "model.frequency",
    ),
    (
        _ANEW,
        "the last layer of both towers begins anew",
        "model.output_width",
    ),
    (
        _ANEW,
        "the temperature begins at the new value",
        "model.temperature",
    ),
    (
        _ANEW,
        "a bias or zero point that is new begins; all else goes on",
        "model.popularity_bias model.popularity_layer",
    ),
    (
        _BOTH,
        (
            "a loss that learns a number finds it in slices, and temperature, scale and zero "
            "point of it begin anew; other losses go on with all weights"
        ),
        "model.loss loss.*.kind loss.*.column model.objectives.*.loss",
    ),
    (
        _GOES_ON,
        "the next run draws them; what a pool remembers begins empty",
        """
        model.negatives negatives.*.kind negatives.*.count negatives.*.exponent
        negatives.pool.clicks negatives.hard.share
        """,
    ),
    (
        _SLICES,
        "lists of hard negatives lie in slices: all weights go on",
        "negatives.hard.kind negatives.hard.from_columns negatives.hard.at_most",
    ),
    (
        _BOTH,
        "a new objective has a vector of its own, fresh; the others keep theirs",
        "model.objectives",
    ),
    (
        _BOTH,
        ("its events are others; where scenarios have towers of their own, its vector begins anew"),
        "model.objectives.*.scenario",
    ),
    (
        _GOES_ON,
        "from the next slice on; those that are made keep the day that they were made for",
        "training.day_starts_at training.time_zone",
    ),
    (
        _GOES_ON,
        "the next run goes by it",
        """
        training.seed training.threads training.keep_hourly training.keep_nightly
        training.hourly.batch_rows training.hourly.min_steps training.hourly.order
        training.hourly.row_learning_rate training.hourly.learns
        training.hourly.tables training.nightly.tables training.hourly.clip_rows_at
        training.hourly.replay
        training.nightly.clip_rows_at
        training.hourly.dense_learning_rate training.hourly.holdback_minutes
        training.nightly.batch_rows training.nightly.min_steps
        training.nightly.row_learning_rate
        training.nightly.dense_learning_rate training.nightly.memory_rows
        training.nightly.save_every_rows
        """,
    ),
    (
        _SLICES,
        (
            "where it makes statistics older or newer that do not say `refresh_minutes`: what was "
            "learnt of them goes on. The scheduler rings as often from its next start on"
        ),
        "training.hourly.every_minutes publishing.statistics_every_minutes",
    ),
    (
        _GOES_ON,
        "the next publish goes by it",
        """
        publishing.index publishing.nprobe publishing.index_recall publishing.moved_beyond
        publishing.most_moved_ratio publishing.keep_versions publishing.keep_bytes
        publishing.gate.min_events
        publishing.gate.max_events publishing.gate.k publishing.gate.max_recall_drop_ratio
        publishing.gate.min_items_ratio publishing.gate.best_of publishing.gate.min_list_ratio
        publishing.gate.min_index_recall publishing.gate.max_top_share
        publishing.gate.min_coverage_ratio publishing.filters publishing.active_within_days
        """,
    ),
    (
        _GOES_ON,
        "the next publish makes a whole index there; versions that are there stay where they are",
        "publishing.milvus",
    ),
    (
        _GOES_ON,
        "the server reads it at its next start",
        """
        serving.host serving.port serving.token_env serving.metrics serving.max_k
        serving.max_connections serving.workers serving.poll_seconds
        serving.access_log_ratio serving.before_first_version serving.unknown_users
        serving.rollback_when_errors_above
        """,
    ),
    (
        _GOES_ON,
        "only `evaluate`, `stream` and `config check --sample` read such files",
        """
        data_file.columns data_file.times data_file.time_zone data_file.separator
        data_file.decimal data_file.list_separator data_file.null_values
        """,
    ),
)
"""Key -> what its change does at most."""

_GROUPS: dict[type[BaseModel], str] = {
    Kind: "feature",
    Tower: "tower",
    Loss: "loss",
    Source: "negatives",
}
"""Of which there are several kinds, each a class."""


def rule_of(key: str) -> Rule:
    """The rule of a key, as `every_key` has it: its own, or that of its kind's group."""
    found = TABLE.get(key)
    if found is None:
        group, _, rest = key.partition(".")
        found = TABLE[f"{group}.*.{rest.partition('.')[2]}"]
    return found


def every_key() -> list[str]:
    """Every key that a configuration may have. A condition, a reward and what else has a rule as a
    whole is one key.
    """
    return list(dict.fromkeys(_keys_of(Deployment, "")))


def _keys_of(section: type[BaseModel], before: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = f"{before}{name}"
        kinds = list(_sections_in(field.annotation))
        if not kinds or _is_whole(key):
            yield key
        for kind in kinds:
            group = group_of(kind)
            if group is not None:
                yield from _keys_of(kind, group)
            elif kind in _BY_NAME:
                yield from _keys_of(kind, f"{key}.*.")
            elif not _is_whole(key):
                yield from _keys_of(kind, f"{key}.")


_BY_NAME = (TableSpec, Objective)


def group_of(kind: type[BaseModel]) -> str | None:
    """What keys of a kind begin with; None for a section that is no kind."""
    for base, group in _GROUPS.items():
        if issubclass(kind, base):
            (name,) = get_args(kind.model_fields["kind"].annotation)
            return f"{group}.{name}."
    return None


def _is_whole(key: str) -> bool:
    group, _, rest = key.partition(".")
    return key in TABLE or f"{group}.*.{rest.partition('.')[2]}" in TABLE


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in get_args(annotation):
        yield from _sections_in(part)


@dataclass(frozen=True)
class Difference:
    """A key that two configurations have otherwise."""

    path: str
    """Where it stands in the YAML; a feature is named: model.query.user.column."""

    key: str
    """As the table has it."""

    before: Any
    after: Any


def differences(
    old: BaseModel, new: BaseModel, *, path: str = "", before: str = ""
) -> Iterator[Difference]:
    """Each key that differs, in the order of the file."""
    for name in type(new).model_fields:
        own = f"{path}.{name}" if path else name
        yield from _of_value(getattr(old, name), getattr(new, name), own, f"{before}{name}")


def _of_value(old: Any, new: Any, path: str, key: str) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(new, BaseModel) and type(old) is type(new) and not _stands_alone(key, new):
        group = group_of(type(new))
        yield from differences(old, new, path=path, before=f"{key}." if group is None else group)
    elif (named := _named(old, new)) is not None:
        yield from _of_named(*named, path, key)
    elif isinstance(new, BaseModel) and (group := group_of(type(new))) and old is not None:
        yield Difference(f"{path}.kind", f"{group_of(type(old))}kind", old.kind, _shown(new))
    else:
        yield Difference(path, key, _shown(old), _shown(new))


def _of_named(
    was: dict[str, Any], now: dict[str, Any], path: str, key: str
) -> Iterator[Difference]:
    for name in dict.fromkeys([*now, *was]):
        one = now[name] if name in now else was[name]
        nothing = TableSpec() if isinstance(one, TableSpec) else None
        before, after = was.get(name, nothing), now.get(name, nothing)
        group = group_of(type(one))
        if before is not None and after is not None and (group or isinstance(one, _BY_NAME)):
            yield from _of_value(before, after, f"{path}.{name}", f"{key}.*")
        elif before != after:
            by_kind = f"{group}kind" if group and not hasattr(one, "name") else key
            yield Difference(f"{path}.{name}", by_kind, _shown(before), _shown(after))
    if list(was) != list(now) and set(was) == set(now):
        yield Difference(path, key, list(was), list(now))


def _stands_alone(key: str, value: BaseModel) -> bool:
    """Whether a key has one rule with all that is in it."""
    return _is_whole(key) and group_of(type(value)) is None


def _named(old: Any, new: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Sections by name, of two dictionaries or lists of them."""
    found = []
    for value in (old, new):
        if isinstance(value, tuple):
            each = {getattr(one, "name", getattr(one, "kind", "")): one for one in value}
        else:
            each = dict(value) if isinstance(value, Mapping) else {"": None}
        found.append(each)
    if all(isinstance(one, BaseModel) for each in found for one in each.values()):
        return found[0], found[1]
    return None


def _shown(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, tuple):
        return [_shown(each) for each in value]
    return value if value is None or isinstance(value, (int, float, str, bool)) else str(value)


@dataclass(frozen=True)
class Outcome:
    """What all differences together come to."""

    slices: bool
    """Whether slices are made anew."""

    anew: tuple[str, ...]
    """Parts of the model that begin anew, or are new."""

    hours_wait: bool
    """Whether hourly passes wait for a nightly retrain."""

    refused: tuple[str, ...]
    """Paths whose change is refused."""


def outcome(old: Deployment, new: Deployment) -> Outcome:
    """Of two configurations. Files of vectors are taken to be as wide as they were."""
    parts = carried(old.model, new.model).anew
    learns_all = new.training.hourly.learns == "everything"
    return Outcome(
        slices=fingerprint_of(old.events, old.model) != fingerprint_of(new.events, new.model),
        anew=tuple(str(each) for each in parts),
        hours_wait=any(each.holds_up_hours for each in parts) and not learns_all,
        refused=tuple(_refused(old, new)),
    )


def _refused(old: Deployment, new: Deployment) -> Iterator[str]:
    if old.kafka.topic != new.kafka.topic:
        yield "kafka.topic"
    for name, kind in new.events.columns.items():
        if old.events.columns.get(name, kind) != kind:
            yield f"events.columns.{name}"

"""The configuration of one deployment: a YAML file, read strictly.

Unknown keys are refused, units stand in the names, secrets come from the environment only, and a
combination that cannot work is refused with the reason. Each stage gets its own section as a value.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from twintide import declaration, yaml12
from twintide.errors import Refused
from twintide.events import EventSchema, TimeUnit, ZoneName
from twintide.features.item_statistics import MINUTES_OF_A_WEEK
from twintide.modelspec import ModelSpec
from twintide.places import OwnPlace, Place
from twintide.problems import (
    Misconfigured,
    Problem,
    did_you_mean,
    from_pydantic,
    overlap,
    path_in,
    told,
)
from twintide.shards import ledger_folder
from twintide.vectorstore import vectors_folder

MIN_TOKEN_CHARACTERS = 16
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,220}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 65_535:  # noqa: PLR2004  the largest port
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9092")
    return text


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            f"{name[:60]!r} is no name that Kafka takes and that fits into the name of a shard: up "
            "to 220 letters, digits, '.', '_', '-'"
        )
    return name


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _variable(name: str) -> str:
    """What is wrong is not shown: it may be the secret itself."""
    if not _VARIABLE.fullmatch(name):
        raise ValueError(
            "must be the name of an environment variable, such as TWINTIDE_TOKEN, "
            "never the secret itself"
        )
    return name


def _host(name: str) -> str:
    if not _HOST.fullmatch(name):
        raise ValueError(f"{name!r} is no address or name of this machine, such as 127.0.0.1")
    return name


def _time_of_day(text: str) -> str:
    if not _TIME_OF_DAY.fullmatch(text):
        raise ValueError(f"{text!r} is no time of day, such as '04:00'")
    return text


def _separator(text: str) -> str:
    if len(text) != 1 or not text.isascii() or text in '"\r\n':
        raise ValueError("must be one character that is neither a quote nor a newline, such as ';'")
    return text


def _divides_an_hour(minutes: int) -> int:
    if 60 % minutes:
        raise ValueError(f"{minutes} does not divide an hour: 1, 2, 3, 4, 5, 6, 10, 12, 15, 20 …")
    return minutes


Server = Annotated[str, AfterValidator(_server)]
Variable = Annotated[str, AfterValidator(_variable)]
Text = Annotated[str, AfterValidator(_text)]
Share = Annotated[float, Field(ge=0, le=1)]
RowRate = Annotated[float, Field(gt=0, le=10)]
DenseRate = Annotated[float, Field(gt=0, le=1)]
BatchRows = Annotated[int, Field(ge=2, le=65_536)]


class Config(BaseModel):
    """Frozen, strict, and no unknown keys: every section below is one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class KafkaConfig(Config):
    """Where the click stream is, and how to reach it."""

    bootstrap_servers: Annotated[tuple[Server, ...], Field(min_length=1)] = ("127.0.0.1:9092",)
    """host:port of one or more brokers."""

    topic: Annotated[str, AfterValidator(_topic)] = "clicks"
    """Where the clicks are."""

    group: Text = "twintide"
    """Consumer group; several ingest daemons with one group share the partitions."""

    assignment: Literal["group", "all"] = "group"
    """`group`: the ingest daemons of one group share the partitions. `all`: this daemon takes every
    one, and is back at once after a crash, since no group waits for a dead member.
    """

    session_timeout_seconds: Annotated[float, Field(gt=0, le=1800)] = 6.0
    """How long a group waits for a member that says nothing before others take its partitions."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to: SSL encrypts and verifies them, SASL sends a password."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How the password is sent."""

    sasl_username: Text | None = None
    """Who the brokers take this for."""

    sasl_password_env: Variable | None = None
    """Name of the environment variable that holds the password, which is never written down."""

    ssl_cafile: Place | None = None
    """PEM file of the authorities that brokers' certificates must be signed by. Without it the
    machine's own are trusted.
    """

    allow_password_over_plaintext: bool = False
    """SASL_PLAINTEXT sends the password readably over the network; it must be asked for."""

    def sasl_password(self) -> str | None:
        """The password out of the environment. Raises Refused where the variable is not set."""
        if self.sasl_password_env is None:
            return None
        password = os.environ.get(self.sasl_password_env)
        if not password:
            raise Refused(
                f"the environment variable {self.sasl_password_env} is not set",
                hint="kafka.sasl_password_env names the variable that holds the password",
            )
        return password


class ShardsConfig(Config):
    """How clicks are cut into shards."""

    minutes: Annotated[int, Field(ge=1, le=60), AfterValidator(_divides_an_hour)] = 1
    """Length of the window that one shard covers, in minutes of broker time."""

    max_rows: PositiveInt = 500_000
    """Rows after which a shard is cut early, so that memory stays bounded."""

    max_bytes: PositiveInt = 256 * 1024 * 1024
    """What all open shards may hold together; above it the largest is cut early. Ingest takes no
    more than this and 96 MiB beside what it takes to read nothing.
    """

    allowed_lateness_seconds: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """How long after its minute is over (by the wall clock) an idle partition's shard stays open.
    """

    max_rejected_ratio: float = Field(default=0.05, gt=0, le=1)
    """Share of bad messages, over the last 10,000 of a partition, above which the daemon stops."""

    accept_gap: bool = False
    """Go on where Kafka's retention has deleted messages that were never read; the gap is recorded.
    """


class HourlyConfig(Config):
    """The ordered pass over the newest slices."""

    every_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """How often the scheduler rings, counted from the full hour."""

    batch_rows: BatchRows = 512
    """Clicks in one step; small batches follow the hour better than large ones."""

    row_learning_rate: RowRate = 0.1
    """How far a table's row moves at a step."""

    learns: Literal["id_tables", "everything"] = "id_tables"
    """What the pass may change. `everything` lets dense weights and side tables learn too, and may
    begin without a nightly checkpoint.
    """

    dense_learning_rate: DenseRate = 1e-3
    """Used only where `learns` is `everything`."""

    holdback_minutes: Annotated[int, Field(ge=0, le=MINUTES_OF_A_WEEK)] = 2
    """The newest minutes, left to the next run to learn: the gate judges a version on them."""


class NightlyConfig(Config):
    """The shuffled epoch over a day."""

    batch_rows: BatchRows = 512
    """Clicks in one step."""

    row_learning_rate: RowRate = 0.1
    """How far a table's row moves at a step."""

    dense_learning_rate: DenseRate = 1e-3
    """How far the towers' weights move at a step."""


class TrainingConfig(Config):
    """Both lines of training."""

    day_starts_at: Annotated[str, AfterValidator(_time_of_day)] = "00:00"
    """HH:MM at which a day begins, in `time_zone`: the users' quiet hour."""

    time_zone: ZoneName = "UTC"
    """IANA name, such as Europe/Vienna."""

    seed: NonNegativeInt = 1
    """Of the first weights and of every shuffle."""

    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """CPU threads of one run; a run is reproducible to the byte for the same number."""

    keep_hourly: PositiveInt = 48
    """Hourly checkpoints that gc keeps; every nightly of the last `keep_nightly` stays too."""

    keep_nightly: PositiveInt = 14
    """Nightly checkpoints that gc keeps: days to which `twintide rewind` can go back."""

    hourly: HourlyConfig = HourlyConfig()
    nightly: NightlyConfig = NightlyConfig()


class GateConfig(Config):
    """What a version must show before it may be promoted."""

    min_events: PositiveInt = 200
    """With fewer newer clicks than this, recall is not judged (and the gate says so)."""

    max_events: PositiveInt = 5_000
    """The newest clicks that are looked at."""

    k: PositiveInt = 100
    """Recall@k is what is compared."""

    max_recall_drop_ratio: Share = 0.2
    """A candidate whose recall falls by more than this share of the live version's is refused."""

    min_items_ratio: Share = 0.5
    """A candidate with fewer than this share of the live version's items is refused."""


class PublishingConfig(Config):
    """Versions and the item index."""

    index: Literal["auto", "flat", "ivf"] = "auto"
    """`auto`: exact (flat) up to 50,000 items, an inverted file above."""

    nprobe: PositiveInt = 64
    """Lists that an inverted file looks into."""

    keep_versions: PositiveInt = 24
    """Versions that gc keeps of those that were live and that a rollback can go back to. Of the
    others (refused, held, rolled back from) it keeps the newest three.
    """

    gate: GateConfig = GateConfig()


class ServingConfig(Config):
    """The HTTP server."""

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    """Address to listen on. Others than loopback ask for a token."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """0 takes any that is free."""

    token_env: Variable | None = None
    """Name of the environment variable that holds the bearer token, which must be at least 16
    characters. Needed when `host` is not loopback.
    """

    metrics: Literal["token", "open"] = "token"
    """Who may read /metrics: whoever has the bearer token, or everybody who reaches the port, as a
    scraper without a token needs it. Metrics name versions and count answers, no user and no item.
    """

    max_k: PositiveInt = 1000
    """The most items that one request may ask for."""

    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Where there are more, the one that has waited longest without a request is closed."""

    poll_seconds: Annotated[float, Field(gt=0, le=60)] = 0.2
    """How often the server looks whether another version is live."""

    def token(self) -> str | None:
        """The token out of the environment. Raises Refused where the variable is not set."""
        if self.token_env is None:
            return None
        token = os.environ.get(self.token_env)
        if not token:
            raise Refused(
                f"the environment variable {self.token_env} is not set",
                hint="serving.token_env names the variable that holds the bearer token",
            )
        if len(token) < MIN_TOKEN_CHARACTERS or not (token.isascii() and token.isprintable()):
            raise Refused(
                f"the token in {self.token_env} can be guessed or not be sent: it must be at least "
                f"{MIN_TOKEN_CHARACTERS} printable ASCII characters",
                hint=f"export {self.token_env}=$(openssl rand -hex 24)",
            )
        return token


class DataFileConfig(Config):
    """How a data file writes events: Parquet, CSV or JSON lines; see docs/data-files.md."""

    columns: dict[str, str] = {}
    """Event column -> column of the file, where the names differ."""

    times: TimeUnit | None = None
    """Unit of times that are numbers, where it is not that of `events.times`."""

    time_zone: ZoneName | None = None
    """IANA name: the zone of times without one, where it is not that of `events.time_zone`."""

    separator: Annotated[str, AfterValidator(_separator)] = ","
    """Between the fields of a CSV."""

    decimal: Literal[".", ","] = "."
    """Sign before the fraction of a number that is written as text."""

    list_separator: Annotated[str, Field(min_length=1)] = ","
    """Between the elements of a list that is written as text and is no JSON array."""

    null_values: tuple[str, ...] = ()
    """Texts that are no value, such as NA or null, besides the empty and blank ones."""


class FoldersConfig(Config):
    """Where each kind of artifact lies, where that is not its folder below `data_dir`."""

    shards: OwnPlace | None = None
    """Shards, as `shards` below `data_dir`."""

    slices: OwnPlace | None = None
    """Slices, as `slices` below `data_dir`."""

    checkpoints: OwnPlace | None = None
    """Checkpoints, as `checkpoints` below `data_dir`."""

    versions: OwnPlace | None = None
    """Versions and what is live, as `versions` below `data_dir`."""

    def below(self, data_dir: Path) -> dict[str, Path]:
        """Where each kind lies; the ledger of the shards and the vectors of the versions lie beside
        them.
        """
        places = {name: getattr(self, name) or data_dir / name for name in type(self).model_fields}
        beside = {
            "ledger": ledger_folder(places["shards"]),
            "vectors": vectors_folder(places["versions"]),
        }
        return places | beside


class Deployment(Config):
    """All of it. `data_dir` holds shards/, slices/, checkpoints/ and versions/."""

    data_dir: Place = Path("data")
    """Relative paths start at the folder of the configuration file."""

    folders: FoldersConfig = FoldersConfig()
    kafka: KafkaConfig = KafkaConfig()
    events: EventSchema
    shards: ShardsConfig = ShardsConfig()
    model: ModelSpec
    training: TrainingConfig = TrainingConfig()
    publishing: PublishingConfig = PublishingConfig()
    serving: ServingConfig = ServingConfig()
    data_file: DataFileConfig = DataFileConfig()

    @property
    def shards_dir(self) -> Path:
        """Folder of shards and nothing else; owned by streaming."""
        return self.folders.below(self.data_dir)["shards"]

    @property
    def ledger_dir(self) -> Path:
        """Beside the shards, for all else of ingest: claims, watermarks, quarantine."""
        return ledger_folder(self.shards_dir)

    @property
    def slices_dir(self) -> Path:
        """Folder of slices; owned by the trainer."""
        return self.folders.below(self.data_dir)["slices"]

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of checkpoints; owned by the trainer."""
        return self.folders.below(self.data_dir)["checkpoints"]

    @property
    def versions_dir(self) -> Path:
        """Folder of versions and the state of what is live; owned by the publisher."""
        return self.folders.below(self.data_dir)["versions"]

    @property
    def vectors_dir(self) -> Path:
        """Beside the versions: stores of fixed vectors, made by the trainer, mapped by servers."""
        return vectors_folder(self.versions_dir)

    def with_model(self, model: ModelSpec) -> "Deployment":
        """The same but for the model."""
        return self.model_copy(update={"model": model})

    def learning_hash(self) -> str:
        """sha256 of all that shapes what is learnt: events, model, training. Part of a lineage. It
        does not depend on where a file of vectors lies; a manifest names its sha256 apart.
        """
        parts = self.model_dump(mode="json", include={"events", "training"})
        parts["model"] = self.model.placeless().identity()
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Deployment:
    """Read and check a configuration file. Raises Refused, naming each wrong key."""
    return _deployment(*examine(path), name=str(path))


def examine(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The sections of a file as far as they can be read, and all that is wrong with them.

    Raises Refused where the file is missing or holds no YAML.
    """
    return _examined(values_in(path), folder=path.parent.resolve())


def values_in(path: Path) -> dict[str, Any]:
    """What a file says, unchecked. Raises Refused where it is missing or holds no YAML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise Refused(
            f"there is no file {path}", hint="`configs/quickstart.yaml` is a file to start from"
        ) from None
    except (OSError, ValueError) as error:
        raise Refused(
            f"{path} cannot be read: {error}", hint="a configuration is a text file in UTF-8"
        ) from error
    return yaml12.parse(text, name=str(path))


def parse(values: dict[str, Any], *, name: str) -> Deployment:
    """Check values as they come out of YAML. Raises Refused with every problem, by its key."""
    return _deployment(*_examined(values, folder=None), name=name)


def _deployment(sections: dict[str, Any], problems: list[Problem], *, name: str) -> Deployment:
    if problems:
        raise Misconfigured(name, problems)
    return Deployment(**sections)


def _examined(
    values: dict[str, Any], *, folder: Path | None
) -> tuple[dict[str, Any], list[Problem]]:
    """Each section by itself, then what fits together; relative paths start at `folder`."""
    problems = [
        Problem(key, "is no section", did_you_mean(key, KEYS))
        for key in values
        if key not in Deployment.model_fields
    ]
    sections: dict[str, Any] = {}
    for section in Deployment.model_fields:
        found, wrong = _section(section, values)
        problems += wrong
        sections |= found
    if folder is not None:
        sections = _beside(sections, folder)
    for problem in told(declaration.problems_of(sections), before=problems):
        if not any(overlap(each.key, read) for each in problems for read in problem.reads):
            problems.append(problem)
    return sections, problems


def _section(section: str, values: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """One section, and what is wrong in it. Wrong keys are left out, so that the rules can look at
    the rest; a section that cannot be read without them is not there.
    """
    field = Deployment.model_fields[section]
    if section not in values:
        if field.is_required():
            return {}, [Problem(section, "is missing", "start from a file of `configs/`")]
        return {section: field.default}, []
    given = values[section]
    problems: list[Problem] = []
    for _ in range(_ROUNDS):
        try:
            # Only from JSON does strict pydantic take a list for a tuple and a string for a path.
            return {section: _adapter(section).validate_json(json.dumps(given))}, problems
        except ValidationError as error:
            errors: list[dict[str, Any]] = [dict(each) for each in error.errors(include_url=False)]
            for each in errors:
                problems += told([from_pydantic(each, section, given, KEYS)], before=problems)
            given = _without(given, errors)
    return {}, problems


@lru_cache
def _adapter(section: str) -> TypeAdapter[Any]:
    """What reads one section alone."""
    field = Deployment.model_fields[section]
    kind: Any = Annotated[field.annotation, *field.metadata, Field()]
    return TypeAdapter(kind)


_ROUNDS = 3
"""Leaving out what is wrong may show more: a feature without its kind, then a side without any."""


def _without(values: Any, errors: list[dict[str, Any]]) -> Any:
    """A copy without what the errors are about; a feature with a wrong key goes as a whole."""
    values = json.loads(json.dumps(values))
    gone = {_root(path_in(values, each["loc"]), each["type"]) for each in errors}
    for path in sorted(gone, key=_last_first, reverse=True):
        if path and _at(values, path) is not None:
            del _at(values, path[:-1])[path[-1]]
    return values


def _root(path: list[str | int], kind: str) -> tuple[str | int, ...]:
    in_a_list = len(path) > 1 and isinstance(path[-1], str) and isinstance(path[-2], int)
    return tuple(path[:-1] if in_a_list and kind != "extra_forbidden" else path)


def _at(values: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        inside = values if isinstance(values, dict) else dict(enumerate(values))
        if part not in inside:
            return None
        values = inside[part]
    return values


def _last_first(path: Sequence[str | int]) -> list[tuple[str, int]]:
    return [(part, 0) if isinstance(part, str) else ("", part) for part in path]


def _keys_of(model: type[BaseModel], before: str = "") -> list[str]:
    """Every key that a section may have, with its section."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(f"{before}{name}")
        for inner in _models_in(field.annotation):
            keys += _keys_of(inner, f"{before}{name}.")
    return list(dict.fromkeys(keys))


def _models_in(kind: Any) -> Iterator[type[BaseModel]]:
    """The sections that a key may hold: one, or one of several kinds, or none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    elif get_origin(kind) in {Annotated, Union, UnionType}:
        for each in get_args(kind):
            yield from _models_in(each)


KEYS = tuple(_keys_of(Deployment))


def _beside(sections: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Relative paths count from the folder of the configuration file."""
    beside = dict(sections)
    if "data_dir" in sections:
        beside["data_dir"] = (folder / sections["data_dir"]).resolve()
    for name in ("folders", "kafka"):
        if name in sections:
            paths = {
                key: folder / value for key, value in sections[name] if isinstance(value, Path)
            }
            beside[name] = sections[name].model_copy(update=paths)
    if "model" in sections:
        beside["model"] = sections["model"].beside(folder)
    return beside


def fill_in(deployment: Deployment, changes: dict[str, Any]) -> Deployment:
    """A copy with some values changed, checked like a file.

    {"kafka": {"topic": "x"}} changes one key; what becomes of another `kind` is replaced whole.
    """
    return parse(
        _merged(deployment.model_dump(mode="json"), changes), name="the changed configuration"
    )


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return values | {
        key: _merged(values[key], change) if _is_of_one_kind(values.get(key), change) else change
        for key, change in changes.items()
    }


def _is_of_one_kind(value: Any, change: Any) -> bool:
    """Whether both are sections, of which keys can be changed one by one."""
    both = isinstance(value, dict) and isinstance(change, dict)
    return both and change.get("kind", value.get("kind")) == value.get("kind")

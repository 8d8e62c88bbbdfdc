"""The configuration of one deployment: a YAML file, read strictly.

Unknown keys are refused, units stand in the names, secrets come from the environment only, and a
combination that cannot work is refused with the reason. Each stage gets its own section as a value.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from twintide import yaml12
from twintide.errors import Refused
from twintide.events import EventSchema
from twintide.features import ModelSpec


class Config(BaseModel):
    """Frozen, strict, and no unknown keys: every section below is one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class KafkaConfig(Config):
    """Where the click stream is, and how to reach it."""

    bootstrap_servers: tuple[str, ...] = ("127.0.0.1:9092",)
    """host:port of one or more brokers."""

    topic: str = "clicks"
    group: str = "twintide"
    """Consumer group; several ingest daemons with one group share the partitions."""

    assignment: Literal["group", "all"] = "group"
    """`group`: the ingest daemons of one group share the partitions. `all`: this daemon takes every
    one, and is back at once after a crash, since no group waits for a dead member."""

    session_timeout_seconds: PositiveFloat = 6.0
    """How long a group waits for a member that says nothing before others take its partitions."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password_env: str | None = None
    """Name of the environment variable that holds the password; the password itself is never
    written down.
    """

    ssl_cafile: Path | None = None
    allow_password_over_plaintext: bool = False
    """SASL_PLAINTEXT sends the password readably over the network; it must be asked for."""

    @model_validator(mode="after")
    def _security_fits(self) -> Self:
        uses_sasl = self.security_protocol.startswith("SASL")
        if uses_sasl and not (
            self.sasl_mechanism and self.sasl_username and self.sasl_password_env
        ):
            raise ValueError("SASL needs sasl_mechanism, sasl_username and sasl_password_env")
        if self.security_protocol == "SASL_PLAINTEXT" and not self.allow_password_over_plaintext:
            raise ValueError(
                "SASL_PLAINTEXT sends the password readably: use SASL_SSL, "
                "or set allow_password_over_plaintext: true"
            )
        return self

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

    minutes: PositiveInt = 1
    """Length of the window that one shard covers, in minutes of broker time."""

    max_rows: PositiveInt = 500_000
    """Rows after which a shard is cut early, so that memory stays bounded."""

    max_bytes: PositiveInt = 256 * 1024 * 1024
    """Message bytes after which a shard is cut early."""

    allowed_lateness_seconds: NonNegativeFloat = 2.0
    """How long after its minute is over (by the wall clock) an idle partition's shard stays open.
    """

    max_rejected_ratio: float = Field(default=0.05, gt=0, le=1)
    """Share of bad messages, over the last 10,000 of a partition, above which the daemon stops."""

    accept_gap: bool = False
    """Go on where Kafka's retention has deleted messages that were never read; the gap is recorded.
    """


class HourlyConfig(Config):
    """The ordered pass over the newest slices."""

    every_minutes: PositiveInt = 60
    """How often the scheduler rings, counted from the full hour."""

    batch_rows: PositiveInt = 512
    """Clicks in one step; small batches follow the hour better than large ones."""

    row_learning_rate: PositiveFloat = 0.1
    learns: Literal["id_tables", "everything"] = "id_tables"
    """What the pass may change. `everything` lets dense weights and side tables learn too, and may
    begin without a nightly checkpoint.
    """

    dense_learning_rate: PositiveFloat = 1e-3
    """Used only where `learns` is `everything`."""

    holdback_minutes: NonNegativeInt = 2
    """The newest minutes are sliced but left for the next run to learn: the gate judges a version
    on them.
    """


class NightlyConfig(Config):
    """The shuffled epoch over a day."""

    batch_rows: PositiveInt = 512
    row_learning_rate: PositiveFloat = 0.1
    dense_learning_rate: PositiveFloat = 1e-3


class TrainingConfig(Config):
    """Both lines of training."""

    day_starts_at: str = Field(default="00:00", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    """HH:MM at which a day begins, in `time_zone`: the users' quiet hour."""

    time_zone: str = "UTC"
    """IANA name, such as Europe/Vienna."""

    seed: NonNegativeInt = 1
    threads: PositiveInt = 2
    """CPU threads of one run; a run is reproducible to the byte for the same number."""

    keep_hourly: PositiveInt = 48
    """Hourly checkpoints that gc keeps; every nightly of the last `keep_nightly` stays too."""

    keep_nightly: PositiveInt = 14
    hourly: HourlyConfig = HourlyConfig()
    nightly: NightlyConfig = NightlyConfig()

    @field_validator("time_zone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{name!r} is not a time zone of the IANA list, such as Europe/Vienna"
            ) from None
        return name


class GateConfig(Config):
    """What a version must show before it may be promoted."""

    min_events: PositiveInt = 200
    """With fewer newer clicks than this, recall is not judged (and the gate says so)."""

    max_events: PositiveInt = 5_000
    """The newest clicks that are looked at."""

    k: PositiveInt = 100
    """Recall@k is what is compared."""

    max_recall_drop_ratio: float = Field(default=0.2, ge=0, le=1)
    """A candidate whose recall falls by more than this share of the live version's is refused."""

    min_items_ratio: float = Field(default=0.5, ge=0, le=1)
    """A candidate with fewer than this share of the live version's items is refused."""


class PublishingConfig(Config):
    """Versions and the item index."""

    index: Literal["auto", "flat", "ivf"] = "auto"
    """`auto`: exact (flat) up to 50,000 items, an inverted file above."""

    nprobe: PositiveInt = 64
    """Lists that an inverted file looks into."""

    keep_versions: PositiveInt = 24
    """Versions that gc keeps, besides the live, the previous and the held ones."""

    gate: GateConfig = GateConfig()


class ServingConfig(Config):
    """The HTTP server."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token_env: str | None = None
    """Name of the environment variable that holds the bearer token. Needed when `host` is not
    loopback.
    """

    max_k: PositiveInt = 1000
    poll_seconds: PositiveFloat = 0.2
    """How often the server looks whether another version is live."""

    @model_validator(mode="after")
    def _beyond_loopback_needs_a_token(self) -> Self:
        if self.host not in {"127.0.0.1", "::1", "localhost"} and self.token_env is None:
            raise ValueError(
                f"host {self.host} is reachable from other machines: set token_env as well"
            )
        return self

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
        return token


class DataFileConfig(Config):
    """How the columns of a data file (Parquet, CSV, JSONL) map to the columns of events."""

    columns: dict[str, str] = {}
    """Event column -> column of the file, where the names differ."""


class FoldersConfig(Config):
    """Where each kind of artifact lies, where that is not its folder below `data_dir`."""

    shards: Path | None = None
    slices: Path | None = None
    checkpoints: Path | None = None
    versions: Path | None = None


class Deployment(Config):
    """All of it. `data_dir` holds shards/, slices/, checkpoints/ and versions/."""

    data_dir: Path = Path("data")
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

    @model_validator(mode="after")
    def _features_exist(self) -> Self:
        self.model.check_against(self.events)
        return self

    @model_validator(mode="after")
    def _holdback_holds_a_shard(self) -> Self:
        holdback = self.training.hourly.holdback_minutes
        if 0 < holdback < self.shards.minutes:
            raise ValueError(
                f"training.hourly.holdback_minutes: {holdback} is shorter than a shard of "
                f"{self.shards.minutes} minutes, so nothing would be held back; 0 says so"
            )
        return self

    @property
    def shards_dir(self) -> Path:
        """Folder of shards, quarantine files and watermarks; owned by streaming."""
        return self.folders.shards or self.data_dir / "shards"

    @property
    def slices_dir(self) -> Path:
        """Folder of slices; owned by the trainer."""
        return self.folders.slices or self.data_dir / "slices"

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of checkpoints; owned by the trainer."""
        return self.folders.checkpoints or self.data_dir / "checkpoints"

    @property
    def versions_dir(self) -> Path:
        """Folder of versions and the state of what is live; owned by the publisher."""
        return self.folders.versions or self.data_dir / "versions"

    def learning_hash(self) -> str:
        """sha256 of all that shapes what is learnt: events, model, training. Part of a lineage."""
        parts = self.model_dump(mode="json", include={"events", "model", "training"})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load(path: Path) -> Deployment:
    """Read and check a configuration file. Raises Refused, naming each wrong key."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(
            f"there is no file {path}", hint="`configs/quickstart.yaml` is a file to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error
    deployment = parse(yaml12.parse(text, name=str(path)), name=str(path))
    return _beside(deployment, path.parent.resolve())


def parse(values: dict[str, Any], *, name: str) -> Deployment:
    """Check values as they come out of YAML. Raises Refused, naming each wrong key."""
    try:
        # Only from JSON does strict pydantic take a list for a tuple and a string for a path.
        return Deployment.model_validate_json(json.dumps(values))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'file'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise Refused(
            f"{name} is not a valid configuration: {problems}",
            hint="`twintide config show` prints every key with its default",
        ) from None


def _beside(deployment: Deployment, folder: Path) -> Deployment:
    """Relative paths count from the folder of the configuration file."""
    folders = {
        name: folder / path
        for name, path in deployment.folders.model_dump().items()
        if path is not None
    }
    return deployment.model_copy(
        update={
            "data_dir": (folder / deployment.data_dir).resolve(),
            "folders": deployment.folders.model_copy(update=folders),
        }
    )


def fill_in(deployment: Deployment, changes: dict[str, Any]) -> Deployment:
    """A copy with some values changed, checked like a file: {"kafka": {"topic": "x"}} changes one
    key.
    """
    return parse(
        _merged(deployment.model_dump(mode="json"), changes), name="the changed configuration"
    )


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return values | {
        key: _merged(values[key], change)
        if isinstance(change, dict) and isinstance(values.get(key), dict)
        else change
        for key, change in changes.items()
    }

"""What was seen of a deployment at one moment. `seen` makes these values, `wrong` judges them."""

from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from twintide.overview.capacity import StateRow, TableRow
from twintide.overview.recent import Recent
from twintide.overview.versions import VersionRow


@dataclass(frozen=True)
class Partition:
    """How far ingest has come in one partition."""

    partition: int
    next: int
    """The offset that is read next."""

    waiting: int | None
    """Messages behind it in the log; None where Kafka was not asked or does not answer."""

    newest_shard_at: datetime | None
    """Start of the newest shard's minute."""

    complete_until: datetime | None
    """Everything that the broker had stored by then is in shards."""

    lag_minutes: float | None
    """How long ago that was."""


@dataclass(frozen=True)
class TroubleRow:
    """A partition that ingest cannot read, as it said last."""

    partition: int
    what: str
    hint: str
    needs_operator: bool
    since: datetime
    told_at: datetime


@dataclass(frozen=True)
class CheckpointRow:
    """The newest checkpoint of a line."""

    name: str
    day: date | None
    newest_event_at: datetime | None
    rows: int


@dataclass(frozen=True)
class ItemsRow:
    """What the source of items said last."""

    listing: str | None
    """None where it was never read."""

    read_at: datetime | None
    listed: int
    unavailable: int
    unread: int
    trouble: str | None
    """Why what it says now is not used."""

    since: datetime | None
    """Since when not."""


@dataclass(frozen=True)
class Hop:
    """One hop of a click on its way to an answer: the newest one that has come so far."""

    to: str
    newest_event_at: datetime | None
    age_minutes: float | None


@dataclass(frozen=True)
class HistoryRow:
    """What of files that never were in Kafka is in shards."""

    files: int
    first: str
    events: int
    newest_event_at: datetime
    is_whole: bool


@dataclass(frozen=True)
class Fault:
    """What could not be read, or is refused each time."""

    what: str
    verb: str
    """The command that says more."""


@dataclass(frozen=True)
class Status:
    """What was seen."""

    config: Path
    data_dir: Path
    at: datetime
    topic: str
    kafka: str
    """"answers", "not asked", or why it does not answer."""

    partitions: list[Partition] = field(default_factory=list)
    partitions_of_topic: int = 0
    is_stream_here: bool = True
    """Whether shards, or what ingest writes beside them, have a folder on this machine."""

    troubles: list[TroubleRow] = field(default_factory=list)
    history: HistoryRow | None = None
    recent: Recent = field(default_factory=Recent)
    read_columns: tuple[str, ...] = ()
    """Columns that a feature, a click or a user is read from."""

    user_column: str = ""
    slices: int = 0
    nightly: CheckpointRow | None = None
    hourly: CheckpointRow | None = None
    tables: list[TableRow] = field(default_factory=list)
    """Rows of each table, and when one that has a limit is full."""

    remembered: list[StateRow] = field(default_factory=list)
    """How many users and items are remembered."""

    due_day: date | None = None
    first_day_ends_at: datetime | None = None
    """When the first nightly can run; None once there is a checkpoint."""

    items: ItemsRow | None = None
    versions: list[VersionRow] = field(default_factory=list)
    live: str | None = None
    hold: str | None = None
    doubt: str | None = None
    """What is live was judged again and refused, and nothing was live before it: what was found."""

    head: str | None = None
    """The newest checkpoint: what the next publish makes live."""

    freshness: list[Hop] = field(default_factory=list)
    every_minutes: int = 60
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has come in yet."""
        return not (
            self.partitions
            or self.history
            or self.troubles
            or self.slices
            or self.head
            or self.versions
            or self.faults
        )

    @property
    def only_serves(self) -> bool:
        """Whether versions came here from another machine, which has the shards."""
        return bool(self.versions) and not self.is_stream_here

    @property
    def waiting(self) -> int:
        """Messages in the log that are in no shard, as far as Kafka has said."""
        return sum(each.waiting or 0 for each in self.partitions)

"""The version format and the serving state: what the publisher writes and the server reads.

A version is an immutable folder `v000001`, all of one checkpoint: query tower, tables that the
query tower reads, users' histories, item index, item ids, sample queries, and a manifest with the
sha256 of each. What is served is named by one small file, `state.json`; never by the newest folder.
"""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from twintide import __version__
from twintide.arrays import MANIFEST, Files
from twintide.config import MilvusConfig
from twintide.errors import Corrupt, Refused, unreadable
from twintide.events import EventSchema
from twintide.listed import ListingRef
from twintide.modelspec import ModelSpec
from twintide.records import CheckpointName, Counted, Instant, Position, Record, Sealed
from twintide.storefile import StoreEntry
from twintide.vectorstore import Vectors, VectorsRef, open_read, vectors_folder

INDEX = "index.faiss"
INDEX_BASE, INDEX_NEWER = "index.base.faiss", "index.newer.faiss"
"""In place of a whole index: that of an earlier version, and the vectors that differ from it."""

INDEX_PLACES, INDEX_POSITIONS = "index.places.parquet", "index.positions.npy"
"""Where the items of the one stand in this version, and where the vectors of the other do."""

ITEM_IDS, ITEM_IDS_NEWER = "items.parquet", "items.newer.parquet"
"""One column `item_id`, in index order: those of an earlier version, and what stands behind them.
"""

STATE = "state.json"
MOVES = frozenset({"promote", "rollback"})
"""Changes by which other weights are live."""

_NAME = re.compile(r"^v[0-9]{6}$")


class GateReport(Record):
    """What the gate found. A version that did not pass is kept for a look, never promoted."""

    passed: bool
    reasons: tuple[str, ...] = ()
    """Why it was refused; empty where it passed."""

    notes: tuple[str, ...] = ()
    """What could not be judged, and why."""

    events: int = 0
    """Clicks that recall was measured on; neither version had learnt any of them."""

    k: int = 0
    recall: float | None = None
    live_recall: float | None = None
    live: str | None = None

    decided: bool = True
    """Whether clicks were enough to see a fall of recall. If not, it is judged again once there are
    more.
    """

    events_needed: int | None = None
    """Clicks on which such a fall would be seen in 9 of 10 cases."""

    holdback_minutes: int | None = None
    """How long to hold back for so many clicks, at the pace of those it was judged on."""

    change_low: float | None = None
    """Recall against that of the live version, as a share of it: 5 of 100 cases lie below this."""

    change_high: float | None = None
    """5 of 100 cases lie above."""

    best: str | None = None
    """The best of the versions that were live before, as far as it was asked too."""

    best_recall: float | None = None

    chance_recall: float | None = None
    """What a list by lot finds, within `floor_places` places."""

    list_recall: float | None = None
    """What the last hour's most clicked items find there."""

    floor_recall: float | None = None
    """What the version finds there."""

    others_recall: float | None = None
    """What it finds there with the answers to other users, of the clicks of users that it knows."""

    floor_places: int = 0
    index_recall: float | None = None
    """Share of the k best items that the index finds."""

    top_share: float | None = None
    """Share of users for whom the same item stands first."""

    top_ten_share: float | None = None
    """Share of the first ten places, over all users, that the ten items take that stand there most
    often.
    """

    coverage: float | None = None
    """Share of the items that the first ten places of the users asked show."""

    overruled: bool = False
    """Whether an operator left the gate out."""


class IndexAt(Record):
    """Where an index lies that is no file of the version."""

    kind: Literal["milvus"]
    service: MilvusConfig
    collection: str
    epoch: Annotated[int, Field(ge=0, lt=2**62)]
    """A row is of this version where `since <= epoch < until`."""

    rows: Annotated[int, Field(ge=0, lt=2**62)]
    """That the collection has had: the next one has this number."""

    lists: Annotated[int, Field(ge=1, le=65_536)]
    probes: Annotated[int, Field(ge=1, le=65_536)]
    columns: tuple[str, ...] = ()
    """By which it can be filtered: `attribute_<number>` of a row has the keys of each."""

    single: tuple[str, ...] = ()
    """Those of them of which no item has more than one value: a row has the key, 0 where there is
    none, and not a list.
    """

    @property
    def alias(self) -> str:
        """What stands for the collection of the live version."""
        return f"{self.service.prefix}_live"


class VersionManifest(Sealed):
    """manifest.json of a version; with its lineage."""

    format: int = 2
    name: str
    checkpoint: CheckpointName
    kind: Literal["nightly", "hourly"]
    base: CheckpointName | None
    day: date | None
    position: Position
    newest_event_at: Instant | None
    """Event time of the newest click that it has learnt."""

    counted: Counted | None = None
    """How far its statistics, histories and items have come beyond what it has learnt; None where
    they are those of its checkpoint.
    """

    refreshes: str | None = None
    """The version of the same weights that the gate has judged; None where it is one itself."""

    items: int
    dimension: int
    """Width of the indexed vectors: for each objective output width + 1."""

    index: str
    """flat, or ivf with its number of lists."""

    index_of: str | None = None
    """The version whose index this one goes on from; None where it has its own."""

    index_recall: float | None = None
    """Recall@100 of the index against an exact search for its sample queries."""

    index_at: IndexAt | None = None
    """Where the index lies, if it is no file of the version. The version has its vectors all the
    same, so that the next one can go on from it.
    """

    events: EventSchema
    model: ModelSpec
    learning_hash: str
    publishing_hash: str | None = None
    """Of what `publishing` declared of it; None in older versions, of which nobody can tell."""

    gate: GateReport
    code_version: str = __version__
    vectors: dict[str, VectorsRef] = {}  # noqa: RUF012  pydantic gives each record its own
    """Table -> the fixed vectors that it holds, as the checkpoint has them. Those that the query
    tower reads must be there to serve it.
    """

    listing: ListingRef | None = None
    """What the source of items said when it was made; None without one."""

    catalogue_items: int | None = None
    """Items that its checkpoint knows, whether they are in the index or not; None in older
    versions, whose index holds them all.
    """

    idle_items: int = 0
    """Items that are left out, as no event was about them for `publishing.active_within_days`."""

    @property
    def knows_of(self) -> Position:
        """Partition -> next offset of which nothing of it knows, neither weights nor counts."""
        return self.counted.position if self.counted else self.position

    @property
    def newest_counted_at(self) -> datetime | None:
        """Event time of the newest click that its answers follow."""
        return self.counted.newest_event_at if self.counted else self.newest_event_at

    def is_built_as(self, publishing_hash: str) -> bool:
        """Whether the same was declared when it was built, as far as it says so."""
        return self.publishing_hash in {None, publishing_hash}

    @property
    def backend(self) -> str:
        """What holds and searches its index."""
        return self.index_at.kind if self.index_at else "faiss"

    stores: dict[str, StoreEntry] = {}  # noqa: RUF012  pydantic gives each record its own
    """Rows that it shares with its checkpoint, as that has them; format 1 has none."""

    files: Files


VersionName = Annotated[str, Field(pattern=_NAME.pattern)]


class Hold(Record):
    """Automatic promotion is stopped."""

    reason: str
    since: Instant


class Pin(Record):
    """gc keeps a version, until it is unpinned."""

    reason: str
    since: Instant


class SecondLook(Record):
    """A version that went live undecided was judged again, on clicks that came since."""

    version: VersionName
    at: Instant
    passed: bool
    words: str
    """What was found."""


class Change(Record):
    """One change of the serving state, for the history."""

    generation: int
    at: Instant
    action: Literal["promote", "rollback", "refresh", "hold", "release", "pin", "unpin", "judge"]
    current: str | None
    """What was live after the change."""

    reason: str = ""
    version: VersionName | None = None
    """What was pinned, unpinned or judged again."""


class ServingState(Record):
    """state.json: the pointer that moves last."""

    format: int = 1
    generation: Annotated[int, Field(ge=0, lt=2**63)] = 0
    current: VersionName | None = None
    previous: VersionName | None = None
    hold: Hold | None = None
    pins: dict[VersionName, Pin] = {}  # noqa: RUF012  pydantic gives each record its own
    second_look: SecondLook | None = None
    """The newest."""

    history: tuple[Change, ...] = ()
    """Oldest first."""


def read_state(root: Path) -> ServingState:
    """The serving state; an empty one before the first promotion. Raises Corrupt."""
    path = root / STATE
    try:
        return ServingState.from_json(path.read_bytes(), name=str(path))
    except FileNotFoundError:
        return ServingState()
    except Corrupt as error:
        raise Corrupt(
            error.message,
            hint=f"move {path} away; `twintide rollback --to VERSION --reason TEXT` then says anew "
            "what is live",
        ) from None


def was_rolled_back_from(state: ServingState, name: str) -> bool:
    """Whether an operator went back from this version, and nothing has made it live since."""
    live, is_bad = set[str | None](), False
    for made in state.history:
        if made.current == name:
            is_bad = False
        elif made.action == "rollback" and name in live:
            is_bad = True
        if made.action == "refresh":  # what was refreshed goes with what took its place
            live.add(made.current)
        elif made.action in MOVES:
            live = {made.current}
    return is_bad


def judged_live(state: ServingState) -> str | None:
    """The version whose weights are live: what is live, or the version that this one refreshes."""
    moves = (made.current for made in reversed(state.history) if made.action in MOVES)
    return next(moves, state.current)


def is_version_name(name: str) -> bool:
    """Whether it looks like v000123."""
    return bool(_NAME.fullmatch(name))


def version_names(root: Path) -> list[str]:
    """Every visible version, oldest first."""
    return [name for name in names_taken(root) if (root / name).is_dir()]


def names_taken(root: Path) -> list[str]:
    """Every name of a version that something has, in order: also a file that is none."""
    try:
        names = [path.name for path in root.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(filter(is_version_name, names))


def read_version_manifest(root: Path, name: str) -> VersionManifest:
    """Raises Refused where there is no such version (any more), Corrupt where it is damaged."""
    if not is_version_name(name) or not (root / name).is_dir():
        raise _no_version(root, name)
    path = root / name / MANIFEST
    try:
        manifest = VersionManifest.from_json(path.read_bytes(), name=str(path))
    except OSError as error:
        if not (root / name).is_dir():  # gc took it away meanwhile
            raise _no_version(root, name) from error
        raise unreadable(path, error) from error
    if manifest.name != name:
        raise Corrupt(f"{path} describes {manifest.name}, not {name}")
    return manifest


def open_vectors(root: Path, manifest: VersionManifest) -> dict[str, Vectors]:
    """The fixed vectors that its query tower reads; they lie beside the versions. Raises Corrupt
    where they are not there, or are not as they were written.
    """
    return open_read(
        vectors_folder(root), manifest.model, manifest.vectors, sides=("query",), who=manifest.name
    )


def _no_version(root: Path, name: str) -> Refused:
    return Refused(f"there is no version {name!r} in {root}", hint="`twintide versions` lists them")

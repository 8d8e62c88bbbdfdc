"""The `model:` of a declaration: what a two-tower model sees, its tables, its towers, its loss."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from twintide.events import Condition, EventSchema
from twintide.features import Feature
from twintide.features.item_statistics import ItemStatistics
from twintide.features.kind import SIDES, Kind, LookedUp, Name, Sequence, Side
from twintide.features.user_statistics import UserStatistics
from twintide.frequency import AnyFrequency, Exact
from twintide.losses import AnyLoss, Softmax
from twintide.negatives import IN_BATCH, Hard, InBatch, Negatives, Pool, Popularity, Source
from twintide.objectives import CLICK, MOST_OBJECTIVES, Objective
from twintide.places import Place as FilePlace
from twintide.positives import Positives
from twintide.ragged import Encoded, Ids
from twintide.reward import Reward
from twintide.towers import AnyTower, Dnn, Head, Place, Shape, Tower

AnyKind = TypeVar("AnyKind", bound=Source)

WIDEST = 4096
"""Numbers in one fixed vector."""

WIDEST_LEARNT = 1024
"""Numbers in one row that learns."""

VECTOR_FILES = (".parquet", ".npz", ".npy")
"""How a file of fixed vectors may end."""


CLICKS = ""
"""The memory of what users clicked, among those of other events."""


@dataclass(frozen=True)
class Memory:
    """What is remembered of each user: the newest events of one sort."""

    of: Condition | None
    """Which events; None: clicks."""

    features: tuple[Feature, ...]
    """Those that look back on them."""

    @cached_property
    def length(self) -> int:
        """Items of each user that the feature which goes back farthest asks for."""
        return max(feature.reach() for feature in self.features)

    @cached_property
    def has_times(self) -> bool:
        """Whether it matters how long ago an item was."""
        return any(feature.reads_ages() for feature in self.features)

    def encoded(self, histories: Ids) -> Encoded:
        """The rows of its features, of what each user did before."""
        return {feature.name: feature.of_histories(histories) for feature in self.features}


def memory_prefix(prefix: str, name: str) -> str:
    """What the arrays of one of them begin with."""
    return prefix if name == CLICKS else f"{prefix}.{name}"


class TableSpec(BaseModel):
    """A table: how wide its rows are, and who changes them; or fixed vectors out of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    width: Annotated[int, Field(ge=1, le=WIDEST)] | None = None
    """Numbers in one row, at most 1,024 where rows learn; null: as `model.embedding_width` says, or
    as wide as the vectors of the file are.
    """

    changed_by: Literal["hourly", "nightly"] | None = None
    """`hourly`: both lines learn its rows; `nightly`: the nightly retrain only; null: hourly where
    it is looked up by user or item id, else nightly. Fixed vectors are changed by nobody.
    """

    vectors: FilePlace | None = None
    """A file of fixed vectors by id: Parquet, `.npz`, or `.npy` with `ids`. They never learn, and
    an id that the file lacks is the zero vector. What the file holds when a night begins is what
    that night and its hours use.
    """

    ids: FilePlace | None = None
    """The `.npy` that holds the ids of a `.npy` of vectors, one for each row."""

    id_column: Annotated[str, Field(min_length=1)] = "id"
    """Column of the Parquet file, or array of the `.npz`, that holds the ids."""

    vector_column: Annotated[str, Field(min_length=1)] = "vector"
    """Column of the Parquet file, or array of the `.npz`, that holds the vectors."""

    admit_after: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """An id has a row of its own from the first hour on that sees it after earlier hours have seen
    it so often; before that it is the table's default row. 1: at its first sighting. One that
    waits is forgotten when it was not seen for `evict_after_days`, or 7.
    """

    evict_after_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    """An id that was not seen for more days than these loses its row, with what the row learnt, to
    the next new one; when it comes back it is new. Null: never.
    """

    max_rows: Annotated[int, Field(ge=1)] | None = None
    """Ids that have a row at once, at most; further ones are the default row until some leave.
    Null: as many as come.
    """

    def is_rule(self) -> bool:
        """Whether it says when ids come or go."""
        return self.admit_after > 1 or self.evict_after_days is not None

    def identity(self) -> dict[str, Any]:
        """As JSON has it; what it came to know later only where it is said."""
        unsaid = {key for key in RULES if getattr(self, key) == _RULE_DEFAULTS[key]}
        return self.model_dump(mode="json", exclude=unsaid)

    def without_rules(self) -> "TableSpec":
        """What its rows are, whoever has one."""
        return self.model_copy(update=_RULE_DEFAULTS)


_RULE_DEFAULTS = {"admit_after": 1, "evict_after_days": None, "max_rows": None}
RULES = tuple(_RULE_DEFAULTS)
"""Keys that say when ids come and go."""


class StateSpec(BaseModel):
    """How long it is remembered what users did, and what items are. Days are those of the log, in
    UTC; who leaves takes along what was known, and begins anew when coming back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    forget_users_after_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    """A user who did nothing for more days than these is forgotten: told of as one whom nobody has
    seen, and the room is the next new one's. Of clicks and of each other sort of events that a
    history looks back on by itself. More days than windows of `user_statistics` reach. Null: never.
    """

    forget_items_after_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    """An item that no event was learnt of for more days than these leaves the catalogue: it is no
    negative any more and in no version, but where a source of items lists it, and then as one that
    nobody has clicked. More days than windows of `item_statistics` reach. Null: never.
    """

    user_columns: tuple[Name, ...] = ()
    """Event columns that say something of the user which goes on being so, such as `region`. A
    request that leaves one out is answered with what the last event of the user that had it said.
    Each is the only column of a feature of the query; one of several columns, and none but these,
    is remembered as a whole.
    """

    def forgets(self) -> bool:
        """Whether anybody, or anything, is ever forgotten."""
        return self.forget_users_after_days is not None or self.forget_items_after_days is not None


class ModelSpec(BaseModel):
    """A two-tower model: its features, its tables, its towers, its loss."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    later_keys: ClassVar[frozenset[str]] = frozenset(
        {
            "negatives",
            "objectives",
            "scenarios",
            "positives",
            "frequency",
            "state",
            "popularity_layer",
        }
    )
    """Keys that came later: where they stand at their default, a declaration is known by the others
    alone, so that what was trained before goes on.
    """

    embedding_width: Annotated[int, Field(ge=4, le=1024)] = 64
    """Numbers in one row of a table, where `tables` does not say otherwise."""

    tables: dict[Name, TableSpec] = {}
    """By name of a table that a feature reads: what is special about it."""

    query: Annotated[tuple[Feature, ...], Field(min_length=1)]
    """What the query tower sees: the user and the moment."""

    candidate: Annotated[tuple[Feature, ...], Field(min_length=1)]
    """What the candidate tower sees: the item. One sparse feature reads the item's id."""

    tower: AnyTower = Dnn()
    """What makes a vector of the features, on both sides."""

    query_tower: AnyTower | None = None
    """Another one for the query side alone."""

    candidate_tower: AnyTower | None = None
    """Another one for the candidate side alone."""

    output_width: Annotated[int, Field(ge=8, le=1024)] = 64
    """Numbers in one vector of the index."""

    similarity: Literal["cosine", "dot"] = "cosine"
    """How a query and an item are compared: by direction alone, or by their vectors' product, where
    a longer vector says more.
    """

    temperature: Annotated[float, Field(ge=0.001, le=100)] = 0.05
    """What the similarity is divided by. Cosines need about 0.05; 1 leaves a product as it is."""

    temperature_learnt: bool = True
    """Whether the nightly retrain learns the temperature, from there on."""

    popularity_bias: bool = True
    """Add a learnt number per item to the score: on news-like streams popularity is signal."""

    popularity_layer: Annotated[int, Field(ge=0, le=256)] = 0
    """Units of a layer through which `item_statistics` also reach the popularity bias, which learns
    ten times as fast as towers do: how soon what is new is over, how little one click says. 16 for
    news; 0: the bias is linear in all that the candidate tower sees, and moves as it does.
    """

    logq: bool = True
    """Subtract log Q, the log probability that an item is in a batch, from its logits: corrects
    each loss for how much more often popular items are negatives. Only in training.
    """

    frequency: AnyFrequency = Exact()
    """How it is estimated how often each item is clicked, of which Q is made. Another one begins
    anew, and all else goes on.
    """

    loss: AnyLoss = Softmax()
    """What is learnt from a click: its item against others of the batch."""

    reward: Reward | None = None
    """What a click counts; null: all clicks the same."""

    negatives: Negatives = IN_BATCH
    """What a clicked item is judged against: a list of sources, each of another kind. All their
    items are columns of a batch, each one once; Q is that of their union.
    """

    objectives: Annotated[dict[Name, Objective], Field(max_length=MOST_OBJECTIVES)] = {}
    """By name: what is learnt, where that is not clicks alone by `loss` and `reward`. Each has a
    vector of its own in the index, `output_width` numbers wide.
    """

    scenarios: dict[Name, Condition] = {}
    """By name: where events happen, such as a page; an objective may be of one alone."""

    state: StateSpec = StateSpec()
    """How long users and items are remembered; for ever where nothing is said."""

    def every_objective(self) -> dict[str, Objective]:
        """What is learnt, by name, in the order of the names; clicks where nothing is declared."""
        declared = self.objectives or {CLICK: Objective(loss=self.loss, reward=self.reward)}
        return {name: declared[name] for name in sorted(declared)}

    def request_weights(self) -> dict[str, float]:
        """What each objective counts in an answer, where the request does not say."""
        every = self.every_objective().items()
        weights = {name: objective.request_weight for name, objective in every}
        return weights if len(weights) > 1 else dict.fromkeys(weights, 1.0)

    def index_width(self) -> int:
        """Numbers in one vector of the index: of each objective its vector, then its bias."""
        return len(self.every_objective()) * (self.output_width + 1)

    def scenario_of(self, objective: Objective) -> Condition | None:
        """Where an objective's positives happen; None for anywhere."""
        return None if objective.scenario is None else self.scenarios[objective.scenario]

    positives: Positives | None = None
    """How often a click is learnt, by how popular its item is; null: each once."""

    def sources(self, kind: type[AnyKind]) -> tuple[AnyKind, ...]:
        """The sources of negatives that are of this kind or a narrower one."""
        return tuple(each for each in self.negatives if isinstance(each, kind))

    def has_in_batch(self) -> bool:
        """Whether items of a batch's other clicks are negatives."""
        return bool(self.sources(InBatch))

    def hard(self) -> Hard | None:
        """The hard negatives, where they are declared."""
        return next(iter(self.sources(Hard)), None)

    def has_sources(self) -> bool:
        """Whether anything else brings negatives."""
        return self.negatives != IN_BATCH

    def needs_stock(self) -> bool:
        """Whether the learner has to know the catalogue."""
        return self.has_sources() or self.positives is not None

    def counts_clicks(self) -> bool:
        """Whether something goes by how many clicks an item has had so far."""
        return bool(self.sources(Popularity)) or self.positives is not None

    def pooled_clicks(self) -> int:
        """How many of the clicks that were learnt last are remembered; 0 without a pool."""
        return sum(each.clicks for each in self.sources(Pool))

    def told_by_users(self) -> tuple[Feature, ...]:
        """Features of the query that read nothing but what is remembered of users."""
        columns = set(self.state.user_columns)
        return tuple(
            each
            for each in self.query
            if each.derived_from is None
            and not each.reads_time
            and each.reads()
            and columns.issuperset(each.reads())
        )

    def features(self, side: Side) -> tuple[Feature, ...]:
        """What the tower of that side sees, in the order of its inputs."""
        return self.query if side == "query" else self.candidate

    def identity(self) -> dict[str, Any]:
        """All that what is learnt depends on, as JSON has it."""
        fields = type(self).model_fields
        unsaid = {key for key in self.later_keys if getattr(self, key) == fields[key].default}
        tables = {"tables": {name: one.identity() for name, one in self.tables.items()}}
        return self.model_dump(mode="json", exclude=unsaid) | tables | self.features_identity()

    def features_identity(self) -> dict[str, Any]:
        """All that the features' rows and the hard negatives depend on, as JSON has it; what it
        came to know later only where it is said.
        """
        hard = self.hard()
        listed = {} if hard is None else {"hard": hard.identity()}
        said = self.state.model_dump(mode="json", exclude_defaults=True)
        listed |= {"state": said} if said else {}
        return {side: [one.identity() for one in self.features(side)] for side in SIDES} | listed

    def all_features(self) -> Iterator[tuple[Side, Feature]]:
        """Every feature, with the side whose tower sees it."""
        for side in SIDES:
            for feature in self.features(side):
                yield side, feature

    def lookups(self, side: Side) -> tuple[LookedUp, ...]:
        """The features of a side that look rows up in a table."""
        return tuple(f for f in self.features(side) if isinstance(f, LookedUp))

    def input_width(self, features: tuple[Kind, ...]) -> int:
        """Numbers that these features give to a tower, side by side."""
        return sum(feature.width(self.table_width) for feature in features)

    def table_rule(self, table: str) -> TableSpec:
        """What is declared of a table, beside its width."""
        return self.tables.get(table, TableSpec())

    def table_width(self, table: str) -> int:
        """Numbers in one row of a table. That of fixed vectors must have been read off the file:
        see `with_widths`.
        """
        spec = self.tables.get(table, _PLAIN_TABLE)
        if spec.vectors is not None and spec.width is None:
            raise RuntimeError(f"the width of the vectors of table {table} is not known yet")
        return spec.width or self.embedding_width

    def vector_tables(self) -> tuple[str, ...]:
        """Tables of fixed vectors."""
        return tuple(name for name, table in self.tables.items() if table.vectors is not None)

    def is_measured(self, side: Side) -> bool:
        """Whether the width of each table that a side reads is known."""
        read = [self.tables.get(name, _PLAIN_TABLE) for name in self.table_names(side)]
        return all(table.vectors is None or table.width is not None for table in read)

    def with_widths(self, widths: Mapping[str, int | None]) -> "ModelSpec":
        """With fixed vectors of these widths, wherever their file lies: as manifests have it. What
        stands for the file is the table's own name.
        """
        tables = dict(self.tables)
        for name, width in widths.items():
            tables[name] = TableSpec(vectors=Path(f"{name}.parquet"), width=width)
        return self.model_copy(update={"tables": tables})

    def placeless(self) -> "ModelSpec":
        """With nothing that depends on files of vectors: the same before and after one is read."""
        return self.with_widths(dict.fromkeys(self.vector_tables()))

    def learnt(self) -> "ModelSpec":
        """With nothing that may change while learning goes on: where files lie, what a request
        asks, how frequencies are estimated, when ids come and go, how long what is remembered.
        """
        objectives = {
            name: objective.model_copy(update={"request_weight": 1.0})
            for name, objective in self.objectives.items()
        }
        tables = {name: table.without_rules() for name, table in self.tables.items()}
        update = {"objectives": objectives, "frequency": Exact(), "tables": tables}
        return self.placeless().model_copy(update=update | {"state": StateSpec()})

    def beside(self, folder: Path) -> "ModelSpec":
        """With relative paths counted from a folder."""
        tables = {
            name: table.model_copy(
                update={
                    key: folder / path
                    for key in ("vectors", "ids")
                    if (path := getattr(table, key)) is not None
                }
            )
            for name, table in self.tables.items()
        }
        return self.model_copy(update={"tables": tables})

    def tower_key(self, side: Side) -> Literal["tower", "query_tower", "candidate_tower"]:
        """The key that declares the tower of a side."""
        if side == "query":
            return "query_tower" if self.query_tower else "tower"
        return "candidate_tower" if self.candidate_tower else "tower"

    def tower_of(self, side: Side) -> Tower:
        """The tower of a side, as it is declared."""
        tower: Tower = getattr(self, self.tower_key(side))
        return tower

    def shape(self, side: Side) -> Shape:
        """What the tower of a side is given, and what it owes."""
        learning = self.learning_tables((side,))
        looked_up = {feature.name: feature for feature in self.lookups(side)}
        places, begin = {}, 0
        for feature in self.features(side):
            found = looked_up.get(feature.name)
            places[feature.name] = Place(
                begin,
                self.input_width((feature,)),
                is_one_id=found is not None and found.is_one_id,
                learns=found is not None and found.table in learning,
            )
            begin += places[feature.name].width
        heads = tuple(
            Head(name, objective.scenario) for name, objective in self.every_objective().items()
        )
        is_alone = self.tower_key(side) != "tower"
        return Shape(side, places, self.output_width, heads, is_alone=is_alone)

    def inputs(self, side: Side) -> dict[str, Place]:
        """Where each feature stands among what the encoders and the tower of a side are given: as
        its tower sees it, or as the rows of a sequence, then their ages, then which are there.
        """
        places, begin = {}, 0
        for feature in self.features(side):
            width = self.input_width((feature,))
            if (sequence := self.sequences(side).get(feature.name)) is not None:
                width = sequence.length * (width + 2)
            places[feature.name] = Place(begin, width)
            begin += width
        return places

    def sequences(self, side: Side) -> dict[str, Sequence]:
        """The features of a side that an encoder makes a vector of."""
        found = {feature.name: feature.sequence() for feature in self.lookups(side)}
        return {name: sequence for name, sequence in found.items() if sequence is not None}

    def columns_read(self, side: Side) -> tuple[str, ...]:
        """Event columns that a side's features read, in order of first use."""
        names = [name for feature in self.features(side) for name in feature.reads()]
        return tuple(dict.fromkeys(names))

    def table_names(self, side: Side) -> tuple[str, ...]:
        """Tables that a side reads, in order of first use."""
        return tuple(dict.fromkeys(feature.table for feature in self.lookups(side)))

    def learning_tables(self, sides: tuple[Side, ...] = SIDES) -> tuple[str, ...]:
        """Tables whose rows learn, of those that these sides read, in order of first use."""
        fixed = self.vector_tables()
        read = dict.fromkeys(name for side in sides for name in self.table_names(side))
        return tuple(name for name in read if name not in fixed)

    def hourly_tables(self, events: EventSchema) -> tuple[str, ...]:
        """Tables that an hourly pass may change: those looked up by user or item id, where the
        declaration does not say otherwise.
        """
        lookups = (*self.lookups("query"), *self.lookups("candidate"))
        of_ids = {feature.table for feature in lookups if feature.is_of_users_or_items(events)}
        return tuple(name for name in self.learning_tables() if self._is_hourly(name, of_ids))

    def _is_hourly(self, table: str, of_ids: set[str]) -> bool:
        said = self.tables.get(table, _PLAIN_TABLE).changed_by
        return table in of_ids if said is None else said == "hourly"

    def item_feature(self, events: EventSchema) -> LookedUp:
        """The candidate's item id; its table has a row for every item of the catalogue, where it is
        one that learns: such a one is preferred.
        """
        of_items = [f for f in self.lookups("candidate") if f.is_id(events.item)]
        learning = [f for f in of_items if f.table in self.learning_tables()]
        return (learning or of_items)[0]

    def memories(self) -> dict[str, Memory]:
        """What is remembered of each user: clicks under `CLICKS`, and other events under the name
        of the first feature that asks for them.
        """
        found: dict[str, Memory] = {}
        for feature in self.query:
            if feature.derived_from == "histories":
                of = feature.remembers()
                known = (name for name, memory in found.items() if memory.of == of)
                name = next(known, CLICKS if of is None else feature.name)
                before = found[name].features if name in found else ()
                found[name] = Memory(of, (*before, feature))
        return found

    def longest_history(self) -> Feature | None:
        """The feature that goes back farthest in a user's clicks; None without any."""
        clicks = self.memories().get(CLICKS)
        return max(clicks.features, key=lambda feature: feature.reach()) if clicks else None

    def user_statistics(self) -> UserStatistics | None:
        """The user statistics, where the model declares them."""
        return next((f for f in self.query if isinstance(f, UserStatistics)), None)

    def item_statistics(self) -> ItemStatistics | None:
        """The item statistics, where the model declares them."""
        return next((f for f in self.candidate if isinstance(f, ItemStatistics)), None)


_PLAIN_TABLE = TableSpec()

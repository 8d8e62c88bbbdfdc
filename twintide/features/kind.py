"""What every kind of feature states of itself, so that nobody else asks which kind it is.

    declared    a kind's fields
    -> encoded  `encode`: an event, a catalogue row or a request
    -> stored   `to_arrow`, `from_arrow`: in slices and catalogues
    -> pooled   twintide.model

A new kind is one class in a file of its own, named in `twintide.features`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict

from twintide.events import Condition, EventSchema
from twintide.keys import Keys
from twintide.problems import Problem
from twintide.ragged import Ids, Numbers

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "must begin with a letter and hold up to 64 letters, digits, _ and -, "
            "since it becomes part of file names"
        )
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
"""It becomes part of file and column names."""

Side = Literal["query", "candidate"]
SIDES: tuple[Side, Side] = ("query", "candidate")


DerivedFrom = Literal["histories", "item_clicks", "user_clicks"]
"""States of the trainer's ordered pass."""

WidthOf = Callable[[str], int]
"""Name of a table -> numbers in one of its rows."""


@dataclass(frozen=True)
class Doubt:
    """Why a feature would learn nothing from a sample of events, and what to do."""

    reason: str
    hint: str


@dataclass(frozen=True)
class Sequence:
    """Rows of a table in their order, which a small encoder makes one vector of."""

    length: int
    """Rows at most."""

    layers: int
    heads: int


@dataclass(frozen=True)
class Known:
    """What a model knows, from which a feature takes the inputs of sample queries."""

    users: Keys
    """[S], one of each query."""

    user_column: str
    ids_in: Callable[[str], Keys]
    """The ids that a table has a row for."""

    history: Callable[["Kind"], Ids]
    """[S]: what each user's history holds of which that feature looks back on, with ages."""

    @property
    def count(self) -> int:
        """S, the number of queries."""
        return len(self.users)


class Kind(BaseModel, ABC):
    """A feature: what it reads, what it gives, and how it is encoded and stored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    readable: ClassVar[frozenset[str]] = frozenset()
    """Types of event columns that it can read."""

    reads_time: ClassVar[bool] = False
    """Whether it reads the event's time, which at a request is now."""

    moment_ms: ClassVar[int] = 1
    """How finely it reads the time: all along so many milliseconds it gives the same."""

    derived_from: ClassVar[DerivedFrom | None] = None
    """The state of the trainer's ordered pass that gives it, where it tells what happened before an
    event and not what the event says itself.
    """

    only_tower: ClassVar[tuple[Side, str] | None] = None
    """The one tower that may see it, and why."""

    at_most_one: ClassVar[bool] = False
    """Whether a model may have one feature of this kind only."""

    column_key: ClassVar[str] = "column"
    """The key that names the event columns which it reads."""

    later_keys: ClassVar[frozenset[str]] = frozenset()
    """Keys that came after the kind did: where they stand at their default, a declaration is known
    by the others alone, so that what was trained before goes on.
    """

    tuned: ClassVar[frozenset[str]] = frozenset()
    """Keys whose change leaves what its numbers mean, so that what was learnt of it goes on."""

    kind: str
    name: Name
    """What it is called in slices; once in each tower."""

    def reads(self) -> tuple[str, ...]:
        """The event columns that it reads; a request may give them."""
        return ()

    def read_by(self, column: str) -> tuple[str, frozenset[str]]:
        """Of a column that it reads: the key that names it, and the types that it may have."""
        del column
        return self.column_key, self.readable

    def identity(self) -> dict[str, Any]:
        """All that its rows depend on, as JSON has it."""
        fields = type(self).model_fields
        unsaid = {key for key in self.later_keys if getattr(self, key) == fields[key].default}
        return self.model_dump(mode="json", exclude=unsaid)

    def meaning(self) -> dict[str, Any]:
        """What its numbers mean to a tower, as JSON has it."""
        return {key: value for key, value in self.identity().items() if key not in self.tuned}

    def problems(self, events: EventSchema) -> Iterator[Problem]:
        """What cannot be of its own keys; each problem's key is one of them."""
        del events
        yield from ()

    def misfits(self, width_of: WidthOf) -> Iterator[Problem]:
        """What of its own keys does not fit the width of its table."""
        del width_of
        yield from ()

    def misfit(self, event: pa.Table) -> str | None:
        """Why a request that gives these columns cannot be meant, where each by itself can."""
        del event
        return None

    def is_id(self, column: str) -> bool:
        """Whether it looks up each row's one id, from this column."""
        del column
        return False

    def is_standardised(self) -> bool:
        """Whether its numbers are brought to mean 0 and spread 1 by what the model has seen."""
        return False

    @property
    def is_filterable(self) -> bool:
        """Whether its ids are the values of its one column, so that a request may filter by it."""
        return False

    @property
    def reads_all(self) -> bool:
        """Whether it is told every value of its one column, however many these are."""
        return True

    @abstractmethod
    def width(self, width_of: WidthOf) -> int:
        """Numbers that it gives to its tower."""

    def popularity(self) -> tuple[int, float] | None:
        """Which of its numbers says best how popular an item is, and what brings it to the scale of
        a log probability; None where none does.
        """
        return None

    def encode(self, events: pa.Table, *, time_column: str) -> Ids | Numbers:
        """Its rows, one for each event. A derived kind has none of its own."""
        raise NotImplementedError

    def reach(self) -> int:
        """How many items of a user it looks back on."""
        return 0

    def of_histories(self, histories: Ids) -> Ids:
        """Its rows where it is derived from histories: of what each user clicked before, the newest
        last, each with its age.
        """
        raise NotImplementedError

    def remembers(self) -> Condition | None:
        """Which events' history it is derived from; None: that of clicks."""
        return None

    def reads_ages(self) -> bool:
        """Whether it makes anything of how long ago an item of a history was."""
        return False

    @abstractmethod
    def no_rows(self) -> Ids | Numbers:
        """Its rows for no event at all."""

    @abstractmethod
    def to_arrow(self, rows: Ids | Numbers) -> pa.Array:
        """Its rows as a column."""

    @abstractmethod
    def from_arrow(self, column: pa.Array) -> Ids | Numbers:
        """What `to_arrow` gave."""

    def sample(self, known: Known) -> Ids | Numbers:
        """Inputs of sample queries, so varied that another model would answer otherwise; for kinds
        that the query tower may see.
        """
        raise NotImplementedError

    def doubt(self, clicks: pa.Table, *, time_column: str) -> Doubt | None:
        """Why it would learn nothing from these clicks, whose columns are not all null."""
        del clicks, time_column
        return None


class LookedUp(Kind):
    """A feature of ids, each of which has a row in an embedding table."""

    is_one_id: ClassVar[bool] = False
    """Whether it looks up one id for each row, never several or none."""

    table: Name
    """The embedding table; features of one table share its rows."""

    def pools(self) -> Literal["mean", "sum"]:
        """What becomes of several rows of one bag."""
        return "sum"

    def id_type(self, events: EventSchema) -> str:
        """The type of the column whose ids it looks up."""
        del events
        return "int64"

    def told(self, ids: Ids) -> Ids:
        """Those of the ids that the model is told; what else a row has is kept for filters."""
        return ids

    def is_of_users_or_items(self, events: EventSchema) -> bool:
        """Whether its ids are users or items, whose rows an hourly pass may change."""
        del events
        return False

    def width(self, width_of: WidthOf) -> int:
        """A row of its table, or a pool of rows."""
        return width_of(self.table)

    def sequence(self) -> "Sequence | None":
        """How its rows become one vector, where that is learnt and no pooling."""
        return None


def spread(keys: Keys, count: int) -> Keys:
    """`count` of the keys at even distances, over again where they are too few; 0 without any."""
    if not len(keys):
        return np.zeros(count, np.uint64)
    return keys[np.arange(count) * max(len(keys) // count, 1) % len(keys)]


def a_few_each(keys: Keys, count: int) -> Ids:
    """`count` lists of three of the keys, such as sample queries take; empty without any."""
    length = 3 if len(keys) else 0
    return Ids(spread(keys, count * length), np.arange(count + 1) * length)

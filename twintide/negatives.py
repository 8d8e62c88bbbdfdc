"""Sources of negatives, declared: what stands in `model.negatives`.

    declared    one class here: a source's keys, and which of them mean nothing together
    -> drawn    one class in trainer.negatives/<kind>.py: what it brings, and how probable that was

A new source is those two. Each brings items as columns of a batch, one for each distinct item of
all sources together; Q is the probability that an item is a column at all.
"""

from abc import ABC
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from twintide.keys import Keys
from twintide.problems import Problem
from twintide.ragged import Ids, cut_to, lists_of_ids

Count = Annotated[int, Field(ge=1, le=65_535)]

NEVER_NEGATIVE = (
    "an item that was shown and not clicked is never a negative, since whatever retrieval showed "
    "was a very good match already; it is data for the ranking model"
)
_SHOWN = ("expos", "shown", "impress", "display", "not_click", "unclick", "no_click", "skipped")
"""Parts of names by which people call items that were shown."""


def names_what_was_shown(name: str) -> bool:
    """Whether a name says that it is of items that the user has seen."""
    return any(part in name.lower() for part in _SHOWN)


class Source(BaseModel, ABC):
    """What every source of negatives is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    is_enough: ClassVar[bool] = True
    """Whether a model can be taught with it alone."""

    kind: str

    def most(self, batch_rows: int) -> int:
        """How many negatives it has for a click of a batch of so many clicks, at most."""
        del batch_rows
        return 0

    def problems(self) -> Iterator[Problem]:
        """Which of its keys mean nothing together, by their own names."""
        yield from ()


class InBatch(Source):
    """Items of the batch's other clicks. They cost nothing, and come as often as clicked."""

    kind: Literal["in_batch"] = "in_batch"

    def most(self, batch_rows: int) -> int:
        return batch_rows - 1


class Drawn(Source, ABC):
    """A source that is drawn from, again for each batch, with replacement; a function of the run's
    seed and of where the batch's clicks lie in the log.
    """

    count: Count
    """How many are drawn for a batch. All its clicks share them; what comes twice is one column."""

    def most(self, batch_rows: int) -> int:
        del batch_rows
        return self.count


class Uniform(Drawn):
    """Any item of the catalogue, each as probable as the other."""

    kind: Literal["uniform"]


class Popularity(Drawn):
    """Items of the catalogue, the more probable the more clicks they have had."""

    kind: Literal["popularity"]

    exponent: Annotated[float, Field(ge=0, le=2)] = 0.75
    """An item is as probable as its number of clicks to this power; 0.75 is usual."""


class Pool(Drawn):
    """Items of the clicks that were learnt last: a batch that reaches further back."""

    is_enough: ClassVar[bool] = False

    kind: Literal["pool"]

    clicks: Annotated[int, Field(ge=1, le=10_000_000)] = 65_536
    """How many clicks are remembered; an item is as probable as it has clicks among them."""

    def problems(self) -> Iterator[Problem]:
        if self.clicks < self.count:
            yield Problem(
                "clicks",
                f"{self.clicks} are fewer than the {self.count} that are drawn from them",
                hint="remember some batches, such as 65536",
            )


class Hard(Source):
    """Items that were retrieved for the click's user and dropped before he saw them: by pre-ranking
    (hard), or by ranking, at the end of its list (harder). They are negatives of their own click
    alone, without a correction, since no chance brought them.
    """

    is_enough: ClassVar[bool] = False

    kind: Literal["hard"]

    # Not strict: behind a validator pydantic takes JSON's list for one of Python.
    from_columns: Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
    """Columns of the event that list the ids of such items, `list<string>` or `list<int64>` as the
    item's column is; a click's negatives are those of the first column, then of the next.
    """

    at_most: Annotated[int, Field(ge=1, le=1000)] = 10
    """Hard negatives of one click: the first ones. One that no click has named yet is left out."""

    share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What hard negatives are of the loss of a click that has some; the others are the rest. At 0.5
    it is half easy, half hard.
    """

    def identity(self) -> dict[str, Any]:
        """All that its lists in slices depend on, as JSON has it."""
        return self.model_dump(mode="json", include={"from_columns", "at_most"})

    def of(self, events: pa.Table, items: Keys) -> Ids:
        """[N]: each event's hard negatives, as keys; `items` are the events' own."""
        lists = [lists_of_ids(events[name]) for name in self.from_columns]
        keys = np.concatenate([each.keys for each in lists])
        rows = np.concatenate([each.row_of_key() for each in lists])
        order = np.argsort(rows, kind="stable")
        keys, rows = keys[order], rows[order]
        by_key = np.lexsort((keys, rows))
        again = (np.diff(keys[by_key]) == 0) & (np.diff(rows[by_key]) == 0)
        chosen = keys != items[rows]
        chosen[by_key[1:][again]] = False
        found = Ids(keys, np.searchsorted(rows, np.arange(len(items) + 1)))
        return cut_to(found.only(chosen), self.at_most)


def _a_source(value: Any) -> Any:
    """Whoever writes such a word means what must not be said."""
    kind = value.get("kind") if isinstance(value, dict) else value
    if isinstance(kind, str) and names_what_was_shown(kind):
        raise ValueError(f"{kind!r} is no source: {NEVER_NEGATIVE}")
    return value


AnySource = Annotated[InBatch | Uniform | Popularity | Pool | Hard, Field(discriminator="kind")]
"""Whatever may stand in the list of `model.negatives`."""

Negatives = Annotated[
    tuple[Annotated[AnySource, BeforeValidator(_a_source)], ...], Field(min_length=1)
]
IN_BATCH: tuple[AnySource, ...] = (InBatch(),)

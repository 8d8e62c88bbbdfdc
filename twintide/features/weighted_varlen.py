"""A list of ids of an event, each with what it counts: topics by share, tags by confidence."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from twintide.events import EventSchema
from twintide.features.dense import LARGEST
from twintide.features.kind import Doubt, Known, a_few_each
from twintide.features.shapes import WeightedIds
from twintide.keys import keys_of
from twintide.problems import Problem
from twintide.ragged import Ids, cut_to, offsets_of, without_missing

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_ENTRY = rf"^\s*(?P<id>.*[^\s])\s*:\s*(?P<weight>{_NUMBER})\s*$"
_WHOLE = r"^[+-]?[0-9]{1,18}$"
_IDS = frozenset({"list<string>", "list<int64>"})
_AMOUNTS = frozenset({"list<float64>", "list<int64>"})
_UNREAD_SHARE = 0.01


class WeightedVarlen(WeightedIds):
    """A list of ids with weights, pooled; an empty list is the zero vector. It is read from text:
    `sports:0.7,news:0.3`, or a list of such entries; or from two lists of one length, ids and their
    `weights`, as two `events.paths` take them from a list of objects. An entry without a weight of
    0 or more does not count.
    """

    readable: ClassVar[frozenset[str]] = frozenset({"string", "list<string>"})
    later_keys: ClassVar[frozenset[str]] = frozenset({"weights"})

    tuned: ClassVar[frozenset[str]] = frozenset({"max_length"})

    kind: Literal["weighted_varlen"]
    column: str
    """Column of the event: a string of `id:weight` with commas between, or a list<string> of them;
    with `weights` a list<string> or list<int64> of ids.
    """

    weights: str | None = None
    """Column of the event, list<float64> or list<int64>: what each id of `column` counts. Of a list
    that is longer or shorter than that of the ids, nothing counts, and a request is refused.
    """

    ids: Literal["string", "int64"] = "string"
    """The type of the ids before the colon; to share a table, that of the others who read it. With
    `weights` it is that of the column.
    """

    pooling: Literal["mean", "sum"] = "mean"
    """`sum` of weight · row, or the weighted `mean`: that sum divided by the sum of the weights."""

    max_length: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """Ids of one list that count: those of the largest weights."""

    def reads(self) -> tuple[str, ...]:
        return (self.column,) if self.weights is None else (self.column, self.weights)

    def read_by(self, column: str) -> tuple[str, frozenset[str]]:
        if self.weights is None:
            return self.column_key, self.readable
        return ("column", _IDS) if column == self.column else ("weights", _AMOUNTS)

    def problems(self, events: EventSchema) -> Iterator[Problem]:
        del events
        if self.weights is not None and self.ids != type(self).model_fields["ids"].default:
            yield Problem(
                "ids",
                f"is given, but the ids are those of column {self.column!r}, as {self.weights!r} "
                "has their weights",
                hint="leave it out: the column's type says it",
            )
        if self.weights == self.column:
            yield Problem("weights", f"is {self.weights!r}, which holds the ids")

    def misfit(self, event: pa.Table) -> str | None:
        if self.weights is None or not _differ(event, self.column, self.weights).any():
            return None
        return f"features.{self.weights} must hold a weight for each id of features.{self.column}"

    def id_type(self, events: EventSchema) -> str:
        return self.ids if self.weights is None else events.columns.get(self.column, "int64")

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        ids = _heaviest(self._read(events), self.max_length)
        return _as_shares(ids) if self.pooling == "mean" else ids

    def _read(self, events: pa.Table) -> Ids:
        """Every entry that can be read, as it stands."""
        if self.weights is not None:
            return _paired(events, self.column, self.weights)
        lists = _entries(events[self.column])
        parts = pc.extract_regex(lists.flatten(), pattern=_ENTRY)
        names, texts = (pc.struct_field(parts, part) for part in ("id", "weight"))
        if self.ids == "int64":
            whole = pc.match_substring_regex(names, _WHOLE)
            unsigned = pc.utf8_ltrim(names, "+")  # which Arrow does not read before a number
            names = pc.if_else(whole, unsigned, None).cast(pa.int64())
        keys = keys_of(names)
        weights = pc.fill_null(texts.cast(pa.float64()), 0.0).to_numpy()
        return without_missing(Ids(keys, offsets_of(lists), _cut(weights)))

    def sample(self, known: Known) -> Ids:
        ids = a_few_each(known.ids_in(self.table), known.count)
        weights = np.resize(np.array([0.5, 0.3, 0.2], np.float32), len(ids.keys))
        return Ids(ids.keys, ids.offsets, weights)

    def doubt(self, clicks: pa.Table, *, time_column: str) -> Doubt | None:
        del time_column
        if self.weights is not None:
            share = float(_differ(clicks, self.column, self.weights).mean())
            return _unequal(self.column, self.weights, share) if share > _UNREAD_SHARE else None
        entries, read = _entries(clicks[self.column]), self._read(clicks)
        found = int(offsets_of(entries)[-1])
        unread = found - len(read.keys)
        if found and unread <= _UNREAD_SHARE * found:
            return None
        return Doubt(
            f"{unread} of {found} entries of column {self.column!r} cannot be read as id:weight",
            f"such as sports:0.7,news:0.3, where an id is {self.ids}; plain lists are varlen",
        )


def _entries(column: pa.ChunkedArray) -> pa.Array:
    """Each event's entries as a list; an empty text has none."""
    array = _in_one(column)
    if not pa.types.is_string(array.type):
        return array
    return pc.split_pattern(pc.if_else(pc.equal(array, ""), None, array), ",")


def _paired(events: pa.Table, ids_column: str, weights_column: str) -> Ids:
    """Ids of one list with the numbers at their places in the other, which count from 0 up."""
    ids, amounts = (_in_one(events[name]) for name in (ids_column, weights_column))
    differs = _differ(events, ids_column, weights_column)
    ids, amounts = (pc.if_else(pa.array(differs), None, each) for each in (ids, amounts))
    weights = pc.fill_null(amounts.flatten().cast(pa.float64(), safe=False), -1.0).to_numpy()
    keys = keys_of(ids.flatten())
    read = Ids(keys, offsets_of(ids), _cut(weights))
    return without_missing(read.only(weights >= 0))


def _differ(events: pa.Table, ids_column: str, weights_column: str) -> npt.NDArray[np.bool_]:
    """[N]: whether one list is longer than the other; what is null has no entries."""
    ids, weights = (
        np.diff(offsets_of(_in_one(events[name]))) for name in (ids_column, weights_column)
    )
    differs: npt.NDArray[np.bool_] = ids != weights
    return differs


def _unequal(ids_column: str, weights_column: str, share: float) -> Doubt:
    return Doubt(
        f"in {share:.0%} of the clicks {ids_column!r} and {weights_column!r} are lists of other "
        "lengths, of which nothing counts",
        "give a weight for each id",
    )


def _in_one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _cut(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.minimum(weights, LARGEST).astype(np.float32)


def _heaviest(ids: Ids, length: int) -> Ids:
    """The `length` keys of each row that count most; of equal ones those that came first."""
    if ids.weights is None or not (np.diff(ids.offsets) > length).any():
        return ids
    order = np.lexsort((-ids.weights, ids.row_of_key()))
    return cut_to(Ids(ids.keys[order], ids.offsets, ids.weights[order]), length)


def _as_shares(ids: Ids) -> Ids:
    """Weights that add up to 1 in each row."""
    if ids.weights is None:
        raise TypeError("only weighted ids have shares")
    rows = ids.row_of_key()
    totals = np.bincount(rows, ids.weights, minlength=len(ids))
    shares = ids.weights / np.where(totals > 0, totals, 1.0)[rows]
    return Ids(ids.keys, ids.offsets, shares.astype(np.float32))

"""A list of ids of an event, each with what it counts: topics by share, tags by confidence."""

from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from twintide.events import EventSchema
from twintide.features.dense import LARGEST
from twintide.features.kind import Doubt, Known, spread
from twintide.features.shapes import WeightedIds
from twintide.keys import keys_of
from twintide.ragged import Ids, cut_to, offsets_of, without_missing

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_ENTRY = rf"^\s*(?P<id>.*[^\s])\s*:\s*(?P<weight>{_NUMBER})\s*$"
_WHOLE = r"^[+-]?[0-9]{1,18}$"
_UNREAD_SHARE = 0.01
_SAMPLE_LENGTH = 3


class WeightedVarlen(WeightedIds):
    """A list of ids with weights, pooled; an empty list is the zero vector. It is read from text:
    `sports:0.7,news:0.3`, or a list of such entries. An entry without a weight does not count.
    """

    readable: ClassVar[frozenset[str]] = frozenset({"string", "list<string>"})

    kind: Literal["weighted_varlen"]
    column: str
    """Column of the event: a string of `id:weight` with commas between, or a list<string> of them.
    Weights are 0 or more.
    """

    ids: Literal["string", "int64"] = "string"
    """The type of the ids before the colon; to share a table, that of the others who read it."""

    pooling: Literal["mean", "sum"] = "mean"
    """`sum` of weight · row, or the weighted `mean`: that sum divided by the sum of the weights."""

    max_length: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    """Ids of one list that count: those of the largest weights."""

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def id_type(self, events: EventSchema) -> str:
        del events
        return self.ids

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        ids = _heaviest(self._read(events[self.column]), self.max_length)
        return _as_shares(ids) if self.pooling == "mean" else ids

    def _read(self, column: pa.ChunkedArray) -> Ids:
        """Every entry that can be read, as it stands."""
        lists = _entries(column)
        parts = pc.extract_regex(lists.flatten(), pattern=_ENTRY)
        names, texts = (pc.struct_field(parts, part) for part in ("id", "weight"))
        if self.ids == "int64":
            whole = pc.match_substring_regex(names, _WHOLE)
            names = pc.if_else(whole, names, None).cast(pa.int64())
        keys = keys_of(names)
        weights = pc.fill_null(texts.cast(pa.float64()), 0.0).to_numpy()
        read = Ids(keys, offsets_of(lists), np.minimum(weights, LARGEST).astype(np.float32))
        return without_missing(read)

    def sample(self, known: Known) -> Ids:
        ids = known.ids_in(self.table)
        length = _SAMPLE_LENGTH if len(ids) else 0
        keys = spread(ids, known.count * length)
        weights = np.resize(np.array([0.5, 0.3, 0.2], np.float32), len(keys))
        return Ids(keys, np.arange(known.count + 1) * length, weights)

    def doubt(self, clicks: pa.Table, *, time_column: str) -> Doubt | None:
        del time_column
        entries, read = _entries(clicks[self.column]), self._read(clicks[self.column])
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
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_string(array.type):
        return array
    return pc.split_pattern(pc.if_else(pc.equal(array, ""), None, array), ",")


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

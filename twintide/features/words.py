"""The words of a text: a title, a description, what was searched for."""

from typing import Annotated, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from twintide.events import EventSchema
from twintide.features.kind import Doubt, Known, a_few_each
from twintide.features.shapes import ManyIds
from twintide.ragged import Ids, cut_to, lists_of_ids

_BETWEEN_WORDS = r"[^\p{L}\p{M}\p{N}]+"
_FEW_TEXTS = 0.01


class Words(ManyIds):
    """The words of a text, each an id, pooled: what a new item is about is known by its title. A
    word is letters and digits between other signs, in lower case; a text without one is the zero
    vector. Languages that set no spaces need a list of words, by `varlen`.
    """

    readable: ClassVar[frozenset[str]] = frozenset({"string"})
    tuned: ClassVar[frozenset[str]] = frozenset({"max_length"})

    kind: Literal["words"]
    column: str
    """Column of the event, a string."""

    pooling: Literal["mean", "sum"] = "mean"
    """What becomes of several rows."""

    max_length: Annotated[int, Field(ge=1, le=10_000)] = 50
    """Words of one text that count: its first ones."""

    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    def pools(self) -> Literal["mean", "sum"]:
        return self.pooling

    def id_type(self, events: EventSchema) -> str:
        del events
        return "string"

    def encode(self, events: pa.Table, *, time_column: str) -> Ids:
        del time_column
        return cut_to(lists_of_ids(_words_of(events[self.column])), self.max_length)

    def sample(self, known: Known) -> Ids:
        return a_few_each(known.ids_in(self.table), known.count)

    def doubt(self, clicks: pa.Table, *, time_column: str) -> Doubt | None:
        del time_column
        lengths = pc.list_value_length(_words_of(clicks[self.column]))
        several = pc.sum(pc.greater(lengths, 1)).as_py() or 0
        if several > _FEW_TEXTS * len(clicks):
            return None
        reason = f"{several} of {len(clicks)} texts of column {self.column!r} have several words"
        return Doubt(reason, "sparse takes a text as one id, varlen a list of words")


def _words_of(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """[N] lists of strings; null where there is no word."""
    spaced = pc.replace_substring_regex(pc.utf8_lower(texts), _BETWEEN_WORDS, " ")
    trimmed = pc.ascii_trim(spaced, " ")
    return pc.split_pattern(pc.if_else(pc.equal(trimmed, ""), None, trimmed), " ")

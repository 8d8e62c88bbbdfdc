"""What is clicked most, out of the newest shards: the answer before there is a version.

What was read is kept as counts by item, and let go when a version answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from publisher.reader import Attributes, attributes_said
from serving.answer import Answer
from serving.bounds import check_request, check_together
from serving.filters import allowed, having
from serving.newest import NewestShards
from serving.request import RecommendRequest, keys_of_ids, plain_ids
from twintide.events import EventSchema
from twintide.keys import NO_KEYS, Keys, keys_of
from twintide.modelspec import ModelSpec
from twintide.shards import Ledger

WINDOW = timedelta(hours=24)
"""Clicks of so long before the newest shard count."""

CLICKS = "clicks"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Popular:
    """Items by how often they were clicked: it answers as a version does, everybody alike."""

    events: EventSchema
    max_k: int
    items: pa.Table
    """The most clicked first: the item, CLICKS, and what its newest event says to filter by."""

    attributes: Attributes
    blocked: Keys = field(default_factory=lambda: NO_KEYS)

    name: str | None = None
    """Of no version."""

    def without(self, items: Keys) -> "Popular":
        """The same, whose answers hold none of these items."""
        return replace(self, blocked=items)

    def answer(self, request: RecommendRequest) -> Answer:
        """Raises Refused where the request does not fit the events, or asks for too many."""
        return self.search(self.query(request))

    def prepared(self, request: RecommendRequest) -> Callable[[], Answer]:
        """What is left to do when a request was understood. Raises Refused as `answer`."""
        return partial(self.search, self.query(request))

    def query(self, request: RecommendRequest) -> "PopularQuery":
        """What the list is asked for a request. Raises Refused as `answer`. Of features, histories
        and objectives it knows nothing, so that they may be anything.
        """
        check_request(request, max_k=self.max_k)
        keys_of_ids([request.user_id], self.events, self.events.user, what="user_id")
        excluded = self._items(request.exclude, what="an item of exclude")
        recent = self._items(plain_ids(request.recent or []), what="an item of recent")
        gone = [self.blocked, excluded] if request.seen else [self.blocked, excluded, recent]
        may = ~np.isin(self._keys, np.concatenate(gone))
        wanted = having(request.filters, self.attributes, self.events, of="what is popular")
        among = allowed(wanted, self.attributes)
        return PopularQuery(request, may if among is None else may & among)

    def search(self, query: "PopularQuery") -> Answer:
        """The answer to it."""
        places = np.flatnonzero(query.may)[: query.request.wanted(max_k=self.max_k)]
        found = self.items.take(pa.array(places))
        ids, clicks = found[self.events.item].to_pylist(), found[CLICKS].to_pylist()
        nothing: list[dict[str, Any]] | None = None
        if query.request.explain:
            nothing = [{"parts": {}, "history": []} for _ in ids]
        remembered: list[str] | None = [] if query.request.explain else None
        return Answer(
            version=None,
            known_user=False,
            item_ids=ids,
            scores=[float(each) for each in clicks],
            answered_from="popularity",
            explained=nothing,
            remembered=remembered,
        )

    def check_together(self, requests: Sequence[RecommendRequest]) -> None:
        """Raises Refused where those that are answered at once ask for too many items in all."""
        check_together(requests, max_k=self.max_k)

    def _items(self, ids: Sequence[int | str], *, what: str) -> Keys:
        return keys_of_ids(ids, self.events, self.events.item, what=what)

    @cached_property
    def _keys(self) -> Keys:
        return keys_of(self.items[self.events.item])


@dataclass(frozen=True)
class PopularQuery:
    """A request as the list is asked."""

    request: RecommendRequest
    may: npt.NDArray[np.bool_]
    """[items]: which items the answer may hold."""


class RecentClicks:
    """Follows the newest shards. One thread looks."""

    def __init__(
        self,
        ledger: Ledger,
        events: EventSchema,
        model: ModelSpec,
        filters: tuple[str, ...],
        *,
        max_k: int,
    ) -> None:
        self._events, self._model = events, model
        self._filters, self._max_k = filters, max_k
        self._shards = NewestShards(ledger, events, self._counted, window=WINDOW)

    def look(self) -> Popular | None:
        """What is popular by now, where that is known better than before."""
        found = self._shards.look()
        return None if found is None else self._popular(found)

    def _counted(self, clicks: pa.Table) -> pa.Table:
        """By item its clicks, and what its last event says to filter by."""
        own = clicks.select(self._columns())
        return self._by_item(own.append_column(CLICKS, pa.array(np.ones(len(own), np.int64))))

    def _columns(self) -> list[str]:
        return [self._events.item, *(each for each in self._filters if each != self._events.item)]

    def _by_item(self, rows: pa.Table) -> pa.Table:
        """One row for each item: its clicks together, and of each column what was said last."""
        rows = rows.combine_chunks()
        keys = keys_of(rows[self._events.item])
        distinct, first, of = np.unique(keys, return_index=True, return_inverse=True)
        clicks = np.bincount(of, rows[CLICKS].to_numpy(), minlength=len(distinct)).astype(np.int64)
        columns = {self._events.item: rows[self._events.item].take(pa.array(first))}
        for name in self._columns()[1:]:
            columns[name] = rows[name].take(_last_said(of, rows[name], len(distinct)))
        return pa.table(columns | {CLICKS: pa.array(clicks)})

    def _popular(self, oldest_first: list[pa.Table]) -> Popular:
        none = self._counted(self._events.shard_schema().empty_table())
        items = self._by_item(pa.concat_tables([none, *oldest_first]))
        order = np.lexsort((keys_of(items[self._events.item]), -items[CLICKS].to_numpy()))
        items = items.take(pa.array(order))
        said = attributes_said(items, self._model, self._filters, time=self._events.time)
        return Popular(self._events, self._max_k, items, said)


def _last_said(of: Ints, column: pa.ChunkedArray, count: int) -> pa.Array:
    """Of each of `count` items the last row that is not null; null without one."""
    rows = np.flatnonzero(pc.is_valid(column).to_numpy())
    last = np.full(count, -1)
    np.maximum.at(last, of[rows], rows)
    return pa.array(last, mask=last < 0)

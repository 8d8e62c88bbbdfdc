"""Answer requests from one version: encode, search, leave out what must not be there.

A retriever holds one version for ever, so an answer can never mix two. It only reads, and any
number of threads may ask it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.index.selection import NONE, Mask, Selection
from publisher.reader import LoadedVersion
from serving.answer import Answer
from serving.bounds import check_names, check_request, check_together
from serving.encoding import Encoding, Inputs, Left
from serving.explain import explanations
from serving.filters import allowed, having
from serving.lately import DEPTH, fused
from serving.request import RecommendRequest
from twintide.clock import Clock, to_unix_ms
from twintide.errors import Corrupt, Refused
from twintide.keys import Keys
from twintide.ragged import Encoded

Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

SCORE_DIGITS = 6
"""More would be rounding errors of float32."""


@dataclass(frozen=True)
class Query:
    """A request as the index is asked."""

    request: RecommendRequest
    user: Keys
    inputs: Inputs
    vectors: npt.NDArray[np.float32]
    """[1, O · (D + 1)]"""

    known_user: bool
    selection: Selection
    """What the answer may hold."""

    lately: Positions
    """What many clicked of late and the answer may hold, if it is to hold any of it; most first."""


class Retriever:
    """A version that answers."""

    def __init__(self, version: LoadedVersion, *, clock: Clock, max_k: int) -> None:
        self.version = version
        self._clock = clock
        self._max_k = max_k
        self._encoding = Encoding(version)
        events, spec = version.manifest.events, version.manifest.model
        self._user_tables = [
            version.model.looked_up(f.table) for f in spec.lookups("query") if f.is_id(events.user)
        ]
        self._objectives = tuple(spec.every_objective())
        self._ids_at = _ids_at(version.item_ids)
        for each in version.attributes.values():
            each.prepare()  # the first request that filters by it would have all others wait
        self._anything = Selection()
        """What a request without limits may be answered with: all but what is blocked."""

        self._lately = NONE

    @property
    def name(self) -> str:
        """Of the version, such as v000001."""
        return self.version.name

    def without(self, items: Keys) -> "Retriever":
        """The same, whose answers hold none of these items."""
        other = copy(self)
        blocked = self.version.positions_of(items)
        # Of the copy, before anybody has it. What is blocked is no better than the rest, so no
        # search looks further for it; and one mask serves all requests.
        free = Mask.all(self.version.index.items).without(blocked) if len(blocked) else None
        other._anything = Selection(among=free, blocked=blocked)  # noqa: SLF001
        return other

    def beside(self, lately: Keys) -> "Retriever":
        """The same, which holds what many clicked of late, most first, in answers to users of whom
        nothing is known.
        """
        other = copy(self)
        other._lately = self.version.positions_in_order(lately)  # noqa: SLF001
        return other

    def answer(self, request: RecommendRequest) -> Answer:
        """Raises Refused where the request does not fit the events, or asks for too many."""
        return self.search(self.query(request))

    def prepared(self, request: RecommendRequest) -> Callable[[], Answer]:
        """What is left to do when a request was understood. Raises Refused as `answer`."""
        return partial(self.search, self.query(request))

    def check_together(self, requests: Sequence[RecommendRequest]) -> None:
        """Raises Refused where those that are answered at once ask for too many items in all."""
        check_together(requests, max_k=self._max_k)

    def query(self, request: RecommendRequest) -> Query:
        """What the index is asked for a request. Raises Refused as `answer`."""
        check_request(request, max_k=self._max_k)
        user = self._encoding.user_key(request)
        selection = self._selection(request, user)
        weights = self._weights(request.objectives)
        inputs = self._inputs(request, user)
        vectors = self.version.model.query_vectors(inputs.encoded, weights, made=inputs.made)
        if not np.isfinite(vectors).all():
            if not request.features:
                raise Corrupt(f"version {self.name} makes no finite vector of a request")
            raise Refused(
                "the numbers in features are too large for the model to compute with",
                hint="give numbers of the size that the events have",
            )
        is_known = self._knows(user)
        lately = NONE if is_known or request.says_what_is_liked else self._allowed(selection)
        return Query(request, user, inputs, vectors, is_known, selection, lately)

    def search(self, query: Query) -> Answer:
        """The answer to it."""
        scores, positions = self._best(query)
        explained = remembered = None
        if query.request.explain:
            explained = explanations(self.version, query.vectors, positions, self._left(query))
            remembered = self._encoding.remembered(query.inputs)
        return Answer(
            version=self.name,
            known_user=query.known_user,
            item_ids=self._ids_at(positions),
            scores=scores.astype(np.float64).round(SCORE_DIGITS).tolist(),
            explained=explained,
            answered_from="model and popularity" if len(query.lately) else "model",
            remembered=remembered,
        )

    def _best(self, query: Query) -> tuple[Scores, Positions]:
        wanted, is_exact = query.request.wanted(max_k=self._max_k), query.request.exact
        best = partial(self.version.index.best, query.vectors, is_exact=is_exact)
        if not len(query.lately):
            return best(wanted, query.selection)
        return fused(best(wanted + DEPTH, query.selection)[1], query.lately, wanted)

    def _allowed(self, selection: Selection) -> Positions:
        """Of what was clicked of late, what this may hold."""
        mask = selection.mask(self.version.index.items)
        return self._lately if mask is None else self._lately[mask.has(self._lately)]

    def _left(self, query: Query) -> Left | None:
        weights = self._weights(query.request.objectives)
        return self._encoding.without_each(query.request, query.user, query.inputs, weights)

    def encode(self, request: RecommendRequest) -> Encoded:
        """The query tower's inputs for one request: a batch of one."""
        return self._inputs(request, self._encoding.user_key(request)).encoded

    def _inputs(self, request: RecommendRequest, user: Keys) -> Inputs:
        return self._encoding.of(request, user, now_ms=to_unix_ms(self._clock.now()))

    def _selection(self, request: RecommendRequest, user: Keys) -> Selection:
        """Not what is blocked, nor what the request excludes; of what it filters by."""
        if request.seen and not request.filters and not request.exclude:
            return self._anything
        version, free = self.version, self._anything.among
        attributes, events = version.attributes, version.manifest.events
        wanted = having(request.filters, attributes, events, of=f"version {self.name}")
        having_them = allowed(wanted, attributes)
        among = None if having_them is None else Mask.of(having_them)
        if free is not None:
            among = free if among is None else among & free
        return Selection(self._without(request, user), among, wanted, self._anything.blocked)

    def _without(self, request: RecommendRequest, user: Keys) -> Positions:
        """What the request excludes, and what the user has seen if it says so."""
        keys = self._encoding.item_keys(request.exclude, what="an item of exclude")
        if not request.seen:
            keys = np.concatenate((keys, self._encoding.clicked(request, user)))
        return self.version.positions_of(keys)

    def _knows(self, user: Keys) -> bool:
        """Whether the tables that are read by user id, what users said, how active they are, or the
        histories have this one.
        """
        if any(table.rows_of(user)[0] for table in self._user_tables):
            return True
        told, counted = self.version.told, self.version.user_numbers
        if told is not None and told.knows(user)[0]:
            return True
        if counted is not None and counted.knows(user)[0]:
            return True
        return any(each.knows(user)[0] for each in self.version.memories.values())

    def _weights(self, given: Mapping[str, float] | None) -> Mapping[str, float] | None:
        """What each objective counts; None for what the version declares."""
        if given is None:
            return None
        check_names(
            given,
            self._objectives,
            says=f"objectives: version {self.name} has learnt no",
            there="the objectives that it has",
        )
        there = ", ".join(self._objectives)
        if not all(map(math.isfinite, given.values())) or not any(given.values()):
            raise Refused(
                "objectives: each weight must be a finite number, and one of them above 0",
                hint=f'such as {{"{self._objectives[0]}": 1}}; it has {there}',
            )
        return given


def _ids_at(item_ids: pa.Array) -> Callable[[npt.NDArray[np.int64]], list[Any]]:
    """Positions to item ids as JSON has them."""
    if pa.types.is_integer(item_ids.type):
        numbers = item_ids.to_numpy()
        return lambda positions: numbers[positions].tolist()
    return lambda positions: item_ids.take(pa.array(positions)).to_pylist()

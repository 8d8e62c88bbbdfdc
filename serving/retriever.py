"""Answer requests from one version: encode, search, leave out what must not be there.

A retriever holds one version for ever, so an answer can never mix two. It only reads, and any
number of threads may ask it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.reader import LoadedVersion
from serving.request import Id, RecentItem, RecommendRequest, feature_of, ids_of
from twintide.clock import Clock, to_unix_ms
from twintide.errors import Refused
from twintide.features.columns import encode
from twintide.keys import Keys, keys_of
from twintide.modelspec import CLICKS, Memory
from twintide.ragged import Encoded, Ids, hours_between

SCORE_DIGITS = 6
"""More would be rounding errors of float32."""


@dataclass(frozen=True)
class Answer:
    """What a version recommends, best first."""

    version: str
    known_user: bool
    """Whether the version has a row or a history of this user. Without one, the answer is that of
    an anonymous user with the rest of the request.
    """

    item_ids: list[Id]
    scores: list[float]
    """Similarity of query and candidate plus the scaled bias; comparable within a version.
    """

    def to_dict(self) -> dict[str, Any]:
        """As the HTTP answer and `--json` print it."""
        pairs = zip(self.item_ids, self.scores, strict=True)
        return {
            "version": self.version,
            "known_user": self.known_user,
            "items": [{"item_id": item_id, "score": score} for item_id, score in pairs],
        }


def answer_schema() -> dict[str, Any]:
    """The JSON schema of an answer."""
    item = {
        "type": "object",
        "required": ["item_id", "score"],
        "properties": {
            "item_id": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "score": {"type": "number", "description": "comparable within a version"},
        },
    }
    return {
        "type": "object",
        "required": ["version", "known_user", "items"],
        "properties": {
            "version": {"type": "string", "description": "the version that answered"},
            "known_user": {
                "type": "boolean",
                "description": "false: the version has neither a row nor a history of this user, "
                "so the answer is that of an anonymous one",
            },
            "items": {"type": "array", "items": item},
        },
    }


class Retriever:
    """A version that answers."""

    def __init__(self, version: LoadedVersion, *, clock: Clock, max_k: int) -> None:
        self.version = version
        self._clock = clock
        self._max_k = max_k
        events, spec = version.manifest.events, version.manifest.model
        own = {events.user, events.time}
        self._columns = [name for name in spec.columns_read("query") if name not in own]
        self._user_tables = [f.table for f in spec.lookups("query") if f.is_id(events.user)]
        self._memories = spec.memories()
        self._memory_of = {
            each.name: name for name, memory in self._memories.items() for each in memory.features
        }
        self._objectives = tuple(spec.every_objective())
        self._needs_time = any(feature.reads_time for feature in spec.query)

    @property
    def name(self) -> str:
        """Of the version, such as v000001."""
        return self.version.name

    def answer(self, request: RecommendRequest) -> Answer:
        """Raises Refused where the request does not fit the events, or asks for too many."""
        if request.k > self._max_k:
            raise Refused(
                f"k is {request.k}; this server gives at most {self._max_k}",
                hint="ask for fewer, or raise serving.max_k in the configuration",
            )
        events = self.version.manifest.events
        user = ids_of([request.user_id], events, events.user, what="user_id")
        excluded = self._keys(request.exclude, what="an item of exclude")
        keys = keys_of(user)
        scores, positions = self.version.index.best(
            self._query(request, user, keys), request.k, without=self.version.positions_of(excluded)
        )
        return Answer(
            version=self.name,
            known_user=self._knows(keys),
            item_ids=self.version.item_ids.take(pa.array(positions)).to_pylist(),
            scores=scores.astype(np.float64).round(SCORE_DIGITS).tolist(),
        )

    def _knows(self, user: Keys) -> bool:
        """Whether the tables that are read by user id, or the histories, have this one."""
        if any(each.knows(user)[0] for each in self.version.memories.values()):
            return True
        tables = [self.version.model.looked_up(name) for name in self._user_tables]
        return any(table.rows_of(user)[0] for table in tables)

    def _query(
        self, request: RecommendRequest, user: pa.Array, keys: Keys
    ) -> npt.NDArray[np.float32]:
        """What the index is searched with, [1, O · (D + 1)]."""
        weights = self._weights(request.objectives)
        vectors = self.version.model.query_vectors(self._encoded(request, user, keys), weights)
        if not np.isfinite(vectors).all():
            raise Refused(
                "the numbers in features are too large for the model to compute with",
                hint="give numbers of the size that the events have",
            )
        return vectors

    def _weights(self, given: Mapping[str, float] | None) -> Mapping[str, float] | None:
        """What each objective counts; None for what the version declares."""
        if given is None:
            return None
        unknown = sorted(set(given) - set(self._objectives))
        there = ", ".join(self._objectives)
        if unknown:
            raise Refused(
                f"objectives: version {self.name} has learnt no "
                f"{', '.join(map(repr, unknown))[:200]}",
                hint=f"the objectives that it has: {there}",
            )
        if not all(map(math.isfinite, given.values())) or not any(given.values()):
            raise Refused(
                "objectives: each weight must be a finite number, and one of them above 0",
                hint=f'such as {{"{self._objectives[0]}": 1}}; it has {there}',
            )
        return given

    def encode(self, request: RecommendRequest) -> Encoded:
        """The query tower's inputs for one request: a batch of one."""
        events = self.version.manifest.events
        user = ids_of([request.user_id], events, events.user, what="user_id")
        return self._encoded(request, user, keys_of(user))

    def _encoded(self, request: RecommendRequest, user: pa.Array, keys: Keys) -> Encoded:
        events, spec = self.version.manifest.events, self.version.manifest.model
        self._check_features(request.features)
        self._check_histories(request)
        columns = {
            name: feature_of(request.features.get(name), events, name) for name in self._columns
        }
        now_ms = to_unix_ms(self._clock.now())
        if self._needs_time:
            columns[events.time] = pa.array([now_ms], pa.timestamp("ms", tz="UTC"))
        columns[events.user] = user
        event = pa.table(columns)
        for why in filter(None, (feature.misfit(event) for feature in spec.query)):
            raise Refused(why, hint="`twintide config show` prints what a feature reads")
        encoded = encode(event, spec.query, time_column=events.time)
        encoded |= self.version.activity_of(keys)
        for name, memory in self._memories.items():
            given = self._given(name, memory, request)
            before = (
                self.version.memories[name].of(keys, length=memory.length, at_ms=np.array([now_ms]))
                if given is None
                else self._asked_with(*given, memory, now_ms=now_ms)
            )
            encoded |= memory.encoded(before)
        return encoded

    def _asked_with(
        self, what: str, items: Sequence[Id | RecentItem], memory: Memory, *, now_ms: int
    ) -> Ids:
        """What the user did last, as the request has it, the newest item last."""
        items = items[-memory.length :]
        ids = [each.item_id if isinstance(each, RecentItem) else each for each in items]
        keys = self._keys(ids, what=f"an item of {what}")
        found = Ids(keys, np.array([0, len(keys)]))
        if not memory.has_times:
            return found
        times = np.array([each.at for each in items if isinstance(each, RecentItem)], np.int64)
        if len(times) < len(items) or (np.diff(times) < 0).any():
            raise Refused(
                f"{what}: version {self.name} reads how long ago each item was, so each needs its "
                "time, the newest last",
                hint='such as {"item_id": 17, "at": 1772323200000}, at in Unix milliseconds',
            )
        return replace(found, ages=hours_between(times, np.full(len(times), now_ms)))

    @staticmethod
    def _given(
        name: str, memory: Memory, request: RecommendRequest
    ) -> tuple[str, Sequence[Id | RecentItem]] | None:
        """What of the request is instead of a memory, and what it is called there."""
        if name == CLICKS and request.recent is not None:
            return "recent", request.recent
        named = [each.name for each in memory.features if each.name in request.histories]
        return (f"histories.{named[0]}", request.histories[named[0]]) if named else None

    def _check_histories(self, request: RecommendRequest) -> None:
        """Each list names events that the version looks back on, and no two the same."""
        unknown = sorted(set(request.histories) - set(self._memory_of))
        if unknown:
            looks = ", ".join(self._memory_of) or "none"
            raise Refused(
                f"histories: version {self.name} has no {', '.join(map(repr, unknown))[:200]}",
                hint=f"the histories that it looks back on: {looks}",
            )
        said = [self._memory_of[each] for each in request.histories]
        said += [CLICKS] if request.recent is not None else []
        if len(set(said)) < len(said):
            raise Refused(
                "histories: two lists are of the same events",
                hint="give one: it is for every feature that looks back on them",
            )

    def _keys(self, ids: list[Id], *, what: str) -> Keys:
        if not ids:
            return np.zeros(0, np.uint64)
        events = self.version.manifest.events
        return keys_of(ids_of(ids, events, events.item, what=what))

    def _check_features(self, features: Collection[str]) -> None:
        unknown = sorted(set(features) - set(self._columns))
        if unknown:
            reads = ", ".join(self._columns) or "none"
            raise Refused(
                f"features: version {self.name} reads no {', '.join(map(repr, unknown))[:200]}",
                hint=f"the columns that it reads: {reads}",
            )

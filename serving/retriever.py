"""Answer requests from one version: encode, search, leave out what must not be there.

A retriever holds one version for ever, so an answer can never mix two. It only reads, and any
number of threads may ask it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.reader import LoadedVersion
from serving.request import Id, RecommendRequest, feature_of, ids_of
from twintide.clock import Clock, to_unix_ms
from twintide.errors import Refused
from twintide.features.columns import encode
from twintide.keys import Keys, keys_of
from twintide.ragged import Encoded, Ids

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
        self._histories, self._history_length = spec.histories(), spec.history_length()
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
        if self.version.histories.knows(user)[0]:
            return True
        tables = [self.version.model.looked_up(name) for name in self._user_tables]
        return any(table.rows_of(user)[0] for table in tables)

    def _query(
        self, request: RecommendRequest, user: pa.Array, keys: Keys
    ) -> npt.NDArray[np.float32]:
        """What the index is searched with, [1, D + 1]."""
        vectors = self.version.model.query_vectors(self._encoded(request, user, keys))
        if not np.isfinite(vectors).all():
            raise Refused(
                "the numbers in features are too large for the model to compute with",
                hint="give numbers of the size that the events have",
            )
        return vectors

    def encode(self, request: RecommendRequest) -> Encoded:
        """The query tower's inputs for one request: a batch of one."""
        events = self.version.manifest.events
        user = ids_of([request.user_id], events, events.user, what="user_id")
        return self._encoded(request, user, keys_of(user))

    def _encoded(self, request: RecommendRequest, user: pa.Array, keys: Keys) -> Encoded:
        events, spec = self.version.manifest.events, self.version.manifest.model
        self._check_features(request.features)
        columns = {
            name: feature_of(request.features.get(name), events, name) for name in self._columns
        }
        if self._needs_time:
            now = to_unix_ms(self._clock.now())
            columns[events.time] = pa.array([now], pa.timestamp("ms", tz="UTC"))
        columns[events.user] = user
        event = pa.table(columns)
        for why in filter(None, (feature.misfit(event) for feature in spec.query)):
            raise Refused(why, hint="`twintide config show` prints what a feature reads")
        encoded = encode(event, spec.query, time_column=events.time)
        if self._histories:
            before = self._before(request, keys)
            encoded |= {each.name: each.of_histories(before) for each in self._histories}
        return encoded

    def _before(self, request: RecommendRequest, user: Keys) -> Ids:
        """What the user clicked last, the newest item last: as asked with, else as remembered."""
        if request.recent is None:
            return self.version.histories.of(user, length=self._history_length)
        keys = self._keys(request.recent[-self._history_length :], what="an item of recent")
        return Ids(keys, np.array([0, len(keys)]))

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

"""How a request becomes the inputs of a version's query tower: prepared once for each version.

Features are encoded by what encodes events, so that training and serving cannot drift apart. What
they gave, and what the tower makes of that, is kept for a while: requests of one region, of one
page or of one quarter of an hour are many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.reader import LoadedVersion
from serving.bounds import check_names
from serving.request import (
    Id,
    RecentItem,
    RecommendRequest,
    feature_of,
    keys_of_ids,
    plain_ids,
)
from twintide.errors import Refused
from twintide.events import ARROW_TYPES, EventSchema
from twintide.features.kind import Kind
from twintide.keys import Keys
from twintide.model.exported.query import QueryTower
from twintide.modelspec import CLICKS, Memory
from twintide.ragged import Encoded, Ids, Numbers, hours_between, one_id_each, take

KEPT_ROWS = 4096
"""Of each feature: what the values gave that were asked for last."""

EVERY_ITEM = 1_000_000
"""More items than are remembered of anybody."""

MOST_LEFT_OUT = 50
"""Items of a history, the newest, without which an answer is explained."""

KEPT_BYTES = 256
"""JSON of the values of one feature. What longer ones gave is not kept."""

Floats = npt.NDArray[np.float32]
Longs = npt.NDArray[np.int64]

Given = bytes | None
"""A value of a request, as JSON."""

Part = tuple[Ids | Numbers, Floats | None]
"""A feature of a request, and where that is kept what of the tower's inputs it makes, [1, width].
"""

Encode = Callable[[RecommendRequest, Keys, int], Part]
"""A request of the user with this key [1], at this instant in Unix milliseconds."""


@dataclass(frozen=True)
class Inputs:
    """What the query tower is given for one request, and where it is from."""

    encoded: Encoded
    """A batch of one."""

    made: Mapping[str, Floats]
    """Of some of these features what the tower makes of them."""

    remembered: frozenset[str]
    """Features that go by what the user last said."""

    now_ms: int
    """The instant that it is of, in Unix milliseconds."""


@dataclass(frozen=True)
class Left:
    """A request without each item of the user's history in turn."""

    keys: Keys
    """[H], the items, the newest one last."""

    queries: Floats
    """[H, O · (D + 1)]: what the index would have been searched with."""


class Encoding:
    """Of requests to one version. It only reads, and any number of threads may ask it."""

    def __init__(self, version: LoadedVersion) -> None:
        self._version = version
        events, spec = version.manifest.events, version.manifest.model
        self._events = events
        own = {events.user, events.time}
        self._columns = [name for name in spec.columns_read("query") if name not in own]
        self._memories = spec.memories()
        self._memory_of = {
            each.name: name for name, memory in self._memories.items() for each in memory.features
        }
        self._features = {
            feature.name: _encoder_of(feature, events, version.model)
            for feature in spec.query
            if feature.derived_from is None
        }
        self._told = {each.name: each.reads() for each in spec.told_by_users()}

    def of(self, request: RecommendRequest, user: Keys, *, now_ms: int) -> Inputs:
        """The query tower's inputs for one request. Raises Refused where it does not fit the
        events.
        """
        self._check_features(request)
        self._check_histories(request)
        remembered = self._remembered(request, user)
        encoded: Encoded = {}
        made: dict[str, Floats] = {}
        for name, encode in self._features.items():
            encoded[name], kept = encode(request, user, now_ms)
            if kept is not None and name not in remembered:
                made[name] = kept
        encoded |= remembered
        encoded |= self._version.activity_of(user)
        for name, memory in self._memories.items():
            encoded |= memory.encoded(self._before(name, memory, request, user, now_ms=now_ms))
        return Inputs(encoded, made, frozenset(remembered), now_ms)

    def remembered(self, inputs: Inputs) -> list[str]:
        """The columns of which the answer goes by what the user last said."""
        return sorted({column for name in inputs.remembered for column in self._told[name]})

    def _remembered(self, request: RecommendRequest, user: Keys) -> Encoded:
        """What the user last said of all that the request does not say itself."""
        if self._version.told is None:
            return {}
        said = self._version.told.of_one(user)
        given = request.features.keys()
        return {name: each for name, each in said.items() if given.isdisjoint(self._told[name])}

    def without_each(
        self,
        request: RecommendRequest,
        user: Keys,
        whole: Inputs,
        weights: Mapping[str, float] | None,
    ) -> Left | None:
        """What the request, encoded as a whole, would have been without each of the newest items of
        what the user clicked; None where the model does not look back on clicks.
        """
        memory = self._memories.get(CLICKS)
        if memory is None:
            return None
        before = self._before(CLICKS, memory, request, user, now_ms=whole.now_ms)
        count = len(before.keys)
        tried = np.arange(max(count - MOST_LEFT_OUT, 0), count)
        kept = np.tile(np.arange(count), (len(tried), 1))
        rest = kept[kept != tried[:, None]]
        histories = Ids(
            before.keys[rest],
            np.arange(len(tried) + 1) * max(count - 1, 0),
            ages=None if before.ages is None else before.ages[rest],
        )
        encoded = take(whole.encoded, np.zeros(len(tried), np.int64)) | memory.encoded(histories)
        return Left(before.keys[tried], self._version.model.query_vectors(encoded, weights))

    def user_key(self, request: RecommendRequest) -> Keys:
        """uint64 [1]. Raises Refused where the id is of another type than the events' users."""
        return keys_of_ids([request.user_id], self._events, self._events.user, what="user_id")

    def item_keys(self, ids: Sequence[Id], *, what: str) -> Keys:
        """uint64 [n]. Raises Refused where an id is of another type than the events' items."""
        return keys_of_ids(ids, self._events, self._events.item, what=what)

    def clicked(self, request: RecommendRequest, user: Keys) -> Keys:
        """The items that the user has clicked, as the version remembers and the request says."""
        memory = self._memories.get(CLICKS)
        given = None if memory is None else _given(CLICKS, memory, request)
        what, items = given or ("recent", request.recent or [])
        said = self.item_keys(plain_ids(items), what=f"an item of {what}")
        known = self._version.memories.get(CLICKS)
        if known is None:
            return said
        return np.concatenate((said, known.of(user, length=EVERY_ITEM).keys))

    def _before(
        self, name: str, memory: Memory, request: RecommendRequest, user: Keys, *, now_ms: int
    ) -> Ids:
        """What the user did before of one sort: as the request says, else as the version knows."""
        given = _given(name, memory, request)
        if given is None:
            at_ms = np.array([now_ms])
            return self._version.memories[name].of(user, length=memory.length, at_ms=at_ms)
        return self._asked_with(*given, memory, now_ms=now_ms)

    def _asked_with(
        self, what: str, items: Sequence[Id | RecentItem], memory: Memory, *, now_ms: int
    ) -> Ids:
        """What the user did last, as the request has it, the newest item last."""
        items = items[-memory.length :]
        keys = self.item_keys(plain_ids(items), what=f"an item of {what}")
        found = Ids(keys, np.array([0, len(keys)]))
        if not memory.has_times:
            return found
        times = _times(what, items, now_ms=now_ms)
        return replace(found, ages=hours_between(times, np.full(len(times), now_ms)))

    def _check_histories(self, request: RecommendRequest) -> None:
        """Each list names events that the version looks back on, and no two the same."""
        if not request.histories:
            return
        check_names(
            request.histories,
            self._memory_of,
            says=f"histories: version {self._version.name} has no",
            there="the histories that it looks back on",
        )
        said = [self._memory_of[each] for each in request.histories]
        said += [CLICKS] if request.recent is not None else []
        if len(set(said)) < len(said):
            raise Refused(
                "histories: two lists are of the same events",
                hint="give one: it is for every feature that looks back on them",
            )

    def _check_features(self, request: RecommendRequest) -> None:
        check_names(
            request.features,
            self._columns,
            says=f"features: version {self._version.name} reads no",
            there="the columns that it reads",
        )


def _given(
    name: str, memory: Memory, request: RecommendRequest
) -> tuple[str, Sequence[Id | RecentItem]] | None:
    """What of the request is instead of a memory, and what it is called there."""
    if name == CLICKS and request.recent is not None:
        return "recent", request.recent
    named = [each.name for each in memory.features if each.name in request.histories]
    return (f"histories.{named[0]}", request.histories[named[0]]) if named else None


def _times(what: str, items: Sequence[Id | RecentItem], *, now_ms: int) -> Longs:
    """int64 [n]: when each was clicked. One without its time was clicked no later than the next one
    that has it, and just now where none has. Raises Refused where the newest is not the last.
    """
    told = [each.at if isinstance(each, RecentItem) else None for each in items]
    if (np.diff([at for at in told if at is not None]) < 0).any():
        raise Refused(
            f"{what}: the newest item is not the last, by the times that are given",
            hint="sort them by `at`, which is in Unix milliseconds",
        )
    times = np.array([now_ms if at is None else at for at in told], np.int64)
    earliest: Longs = np.minimum.accumulate(times[::-1])[::-1]
    return earliest


def _encoder_of(feature: Kind, events: EventSchema, tower: QueryTower) -> Encode:
    """What encodes a feature of a request's own columns."""
    if feature.is_id(events.user):
        return lambda _, user, __: (one_id_each(user), None)
    columns = [name for name in feature.reads() if name != events.time]
    step_ms = feature.moment_ms if feature.reads_time else None

    def encode(moment_ms: int, given: tuple[Given, ...]) -> Part:
        event = _event(moment_ms, dict(zip(columns, given, strict=True)), events)
        if why := feature.misfit(event):
            raise Refused(why, hint="`twintide config show` prints what a feature reads")
        rows = feature.encode(event, time_column=events.time)
        return rows, tower.input_of(feature.name, rows)

    kept = lru_cache(maxsize=KEPT_ROWS)(encode)

    def run(request: RecommendRequest, _: Keys, now_ms: int) -> Part:
        given = tuple(_value(request, name, events) for name in columns)
        moment_ms = 0 if step_ms is None else now_ms - now_ms % step_ms
        return (kept if step_ms != 1 and _is_short(given) else encode)(moment_ms, given)

    return run


def _value(request: RecommendRequest, column: str, events: EventSchema) -> Given:
    if column == events.user:
        return msgspec.json.encode(request.user_id)
    raw = request.features.get(column)
    return None if raw is None else bytes(raw)


def _is_short(given: Sequence[Given]) -> bool:
    return sum(len(each) for each in given if each is not None) <= KEPT_BYTES


def _event(moment_ms: int, given: dict[str, Given], events: EventSchema) -> pa.Table:
    """The one event that these values are of. Raises Refused where they do not fit its columns."""
    columns = {name: feature_of(value, events, name) for name, value in given.items()}
    moment = pa.array([moment_ms]).cast(ARROW_TYPES["timestamp_ms"])
    return pa.table(columns | {events.time: moment})

"""Sample queries: what a version must answer, stored in it beside what it did answer.

Replaying them when a version is loaded shows that query tower, tables, histories, index and item
ids belong together, which no hash of single files can show. They are made from the ids that the
tables know, at the hours of one fixed day, so that every table of the query tower takes part.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from publisher.histories import Memories
from publisher.index.searched import ItemIndex, Positions, Scores, Vectors
from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.events import EventSchema
from twintide.features.kind import Kind, Known, spread
from twintide.keys import NO_KEYS, Keys
from twintide.model.exported.tables import Known as KnownIds
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, Ids

Number = TypeVar("Number", bound=np.generic)

COUNT = 64
K = 10
TOLERANCE = 1e-4
"""Between two machines' products of the same float32 vectors, where these are of about 1."""


class Model(Protocol):
    """The query side of a model, as the trainer or as a server applies it."""

    spec: ModelSpec

    def looked_up(self, table: str) -> KnownIds:
        """What features look up under this name."""

    def query_vectors(self, encoded: Encoded) -> Vectors:
        """float32 [B, O · (D + 1)]: what is searched with."""


@dataclass(frozen=True)
class Answers:
    """What a version answered: vectors [S, O · (D + 1)], scores [S, K], keys of the items."""

    vectors: Vectors
    scores: Scores
    items: Keys
    """uint64 [S, K]; 0 where there were fewer than K."""

    def to_arrays(self) -> Arrays:
        """As they stand in a version."""
        return {
            "sample.vectors": self.vectors,
            "sample.scores": self.scores,
            "sample.items": self.items,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Answers":
        """Raises Corrupt where they are missing or of another type."""
        try:
            return cls(
                vectors=_matrix(arrays["sample.vectors"], np.dtype(np.float32)),
                scores=_matrix(arrays["sample.scores"], np.dtype(np.float32)),
                items=_matrix(arrays["sample.items"], np.dtype(np.uint64)),
            )
        except KeyError as error:
            raise Corrupt(f"the version has no {error.args[0]}") from error


def queries(model: Model, events: EventSchema, memories: Memories) -> Encoded:
    """The sample queries of a version: a pure function of what is in it."""
    users = spread(_user_pool(model, events, memories), COUNT)
    memory_of = {
        feature.name: name
        for name, memory in model.spec.memories().items()
        for feature in memory.features
    }

    def history(feature: Kind) -> Ids:
        """As of the newest event that is remembered, so that ages are none that never occur."""
        of = memories[memory_of[feature.name]]
        return of.of(users, length=feature.reach(), at_ms=np.full(len(users), of.newest_ms))

    known = Known(
        users=users,
        user_column=events.user,
        ids_in=lambda table: model.looked_up(table).known,
        history=history,
    )
    return {feature.name: feature.sample(known) for feature in model.spec.query}


def answer(model: Model, index: ItemIndex, item_keys: Keys, encoded: Encoded) -> Answers:
    """What this tower and this index answer."""
    vectors = model.query_vectors(encoded)
    scores, positions = index.search_again(vectors, min(K, len(item_keys)))
    return Answers(vectors=vectors, scores=scores, items=keys_at(item_keys, positions))


def compare(expected: Answers, found: Answers) -> None:
    """Raises Corrupt where the two are not the answers of one version."""
    _close("query vectors", expected.vectors, found.vectors)
    _close("scores", expected.scores, found.scores)
    if expected.items.shape != found.items.shape:
        raise Corrupt("the sample queries find another number of items than when it was built")
    settled = _settled(expected.scores, tolerance=_tolerance(found.scores))
    if (expected.items != found.items)[settled].any():
        raise Corrupt("the sample queries find other items than when the version was built")


def keys_at(item_keys: Keys, positions: Positions) -> Keys:
    """The keys of positions; 0 for position -1."""
    return np.where(positions >= 0, item_keys[positions], np.uint64(0))


def _tolerance(found: Vectors) -> float:
    """Products of longer vectors than 1 are rounded by more, and a product without a temperature
    has such. Of what was found: what is expected was read from a file.
    """
    return TOLERANCE * float(np.abs(found[np.isfinite(found)]).max(initial=1.0))


def _settled(scores: Scores, *, tolerance: float) -> npt.NDArray[np.bool_]:
    """Places whose item is certain: no neighbour's score is so near that rounding may swap them."""
    apart = scores[:, :-1] > scores[:, 1:] + 2 * tolerance
    edge = np.ones((len(scores), 1), np.bool_)
    # The last place may trade with an item beyond the list, so it is never certain.
    certain: npt.NDArray[np.bool_] = np.hstack((edge, apart)) & np.hstack((apart, ~edge))
    return certain


def _close(what: str, expected: Vectors, found: Vectors) -> None:
    tolerance = _tolerance(found)
    if expected.shape != found.shape or not np.allclose(expected, found, rtol=0, atol=tolerance):
        raise Corrupt(
            f"the sample queries give other {what} than when the version was built: "
            "its files do not belong together"
        )


def _user_pool(model: Model, events: EventSchema, memories: Memories) -> Keys:
    for histories in memories.values():
        if len(users := histories.sample(COUNT)):
            return users
    tables = [each.table for each in model.spec.lookups("query") if each.is_id(events.user)]
    return model.looked_up(tables[0]).known if tables else NO_KEYS


def _matrix(array: npt.NDArray[np.generic], kind: np.dtype[Number]) -> npt.NDArray[Number]:
    if array.dtype != kind or array.ndim != 2:  # noqa: PLR2004
        raise Corrupt(f"sample answers of {array.ndim} dimensions of {array.dtype}")
    return array.astype(kind)

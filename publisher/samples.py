"""Sample queries: what a version must answer, stored in it beside what it did answer.

Replaying them when a version is loaded shows that query tower, tables, histories, index and item
ids belong together, which no hash of single files can show. They are made from the ids that the
tables know, at the hours of one fixed day, so that every table of the query tower takes part.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from publisher.histories import Histories
from publisher.index import ItemIndex, Positions, Scores, Vectors
from twintide.arrays import Arrays
from twintide.errors import Corrupt
from twintide.events import EventSchema
from twintide.features import (
    Dense,
    Encoded,
    Feature,
    History,
    HourOfDay,
    Ids,
    Numbers,
    Sparse,
    one_id_each,
)
from twintide.keys import Keys, keys_of
from twintide.model.two_tower import TwoTower

Number = TypeVar("Number", bound=np.generic)

COUNT = 64
K = 10
TOLERANCE = 1e-4
"""Between two machines' products of the same float32 vectors, all of length about 1."""

_LIST_LENGTH = 3
"""Ids in each list of a varlen feature."""


@dataclass(frozen=True)
class Answers:
    """What a version answered: vectors [S, D + 1], scores [S, K], and the keys of the items."""

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


def queries(model: TwoTower, events: EventSchema, histories: Histories) -> Encoded:
    """The sample queries of a version: a pure function of what is in it."""
    users = _spread(_user_pool(model, events, histories), COUNT)
    encoded: Encoded = {}
    for feature in model.spec.query:
        if isinstance(feature, History):
            encoded[feature.name] = histories.of(users, length=feature.length)
        elif isinstance(feature, Sparse) and feature.column == events.user:
            encoded[feature.name] = one_id_each(users)
        else:
            encoded[feature.name] = _context(feature, model)
    return encoded


def answer(model: TwoTower, index: ItemIndex, item_keys: Keys, encoded: Encoded) -> Answers:
    """What this tower and this index answer."""
    vectors = model.query_vectors(encoded)
    scores, positions = index.search(vectors, min(K, len(item_keys)))
    return Answers(vectors=vectors, scores=scores, items=keys_at(item_keys, positions))


def compare(expected: Answers, found: Answers) -> None:
    """Raises Corrupt where the two are not the answers of one version."""
    _close("query vectors", expected.vectors, found.vectors)
    _close("scores", expected.scores, found.scores)
    if expected.items.shape != found.items.shape:
        raise Corrupt("the sample queries find another number of items than when it was built")
    settled = _settled(expected.scores)
    if (expected.items != found.items)[settled].any():
        raise Corrupt("the sample queries find other items than when the version was built")


def keys_at(item_keys: Keys, positions: Positions) -> Keys:
    """The keys of positions; 0 for position -1."""
    return np.where(positions >= 0, item_keys[positions], np.uint64(0))


def _settled(scores: Scores) -> npt.NDArray[np.bool_]:
    """Places whose item is certain: no neighbour's score is so near that rounding may swap them."""
    apart = scores[:, :-1] > scores[:, 1:] + 2 * TOLERANCE
    edge = np.ones((len(scores), 1), np.bool_)
    # The last place may trade with an item beyond the list, so it is never certain.
    certain: npt.NDArray[np.bool_] = np.hstack((edge, apart)) & np.hstack((apart, ~edge))
    return certain


def _close(what: str, expected: Vectors, found: Vectors) -> None:
    fits = expected.shape == found.shape and np.allclose(expected, found, rtol=0, atol=TOLERANCE)
    if not fits:
        raise Corrupt(
            f"the sample queries give other {what} than when the version was built: "
            "its files do not belong together"
        )


def _user_pool(model: TwoTower, events: EventSchema, histories: Histories) -> Keys:
    if len(histories.users):
        return histories.users
    tables = [
        f.table for f in model.spec.query if isinstance(f, Sparse) and f.column == events.user
    ]
    return model.tables[tables[0]].vocabulary.keys[1:] if tables else np.zeros(0, np.uint64)


def _context(feature: Feature, model: TwoTower) -> Ids | Numbers:
    if isinstance(feature, HourOfDay):
        return one_id_each(keys_of(pa.array(np.arange(COUNT) % 24)))
    if isinstance(feature, Dense):
        return Numbers(np.linspace(0, 1, COUNT, dtype=np.float32)[:, None])
    known = model.tables[feature.table].vocabulary.keys[1:]  # type: ignore[union-attr]
    if isinstance(feature, Sparse):
        return one_id_each(_spread(known, COUNT))
    if not len(known):
        return Ids(np.zeros(0, np.uint64), np.zeros(COUNT + 1, np.int64))
    return Ids(_spread(known, COUNT * _LIST_LENGTH), np.arange(COUNT + 1) * _LIST_LENGTH)


def _spread(keys: Keys, count: int) -> Keys:
    """`count` of the keys at even distances, over again where they are too few; 0 without any."""
    if not len(keys):
        return np.zeros(count, np.uint64)
    return keys[np.arange(count) * max(len(keys) // count, 1) % len(keys)]


def _matrix(array: npt.NDArray[np.generic], kind: np.dtype[Number]) -> npt.NDArray[Number]:
    if array.dtype != kind or array.ndim != 2:  # noqa: PLR2004
        raise Corrupt(f"sample answers of {array.ndim} dimensions of {array.dtype}")
    return array.astype(kind)

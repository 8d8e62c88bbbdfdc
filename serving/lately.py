"""What many users clicked of late, out of the newest shards, and how an answer holds it: for users
of whom nothing is known, to whom a model an hour old has less to say than the last hour has.

Nobody counts twice for an item, so that one client that clicks without end moves nothing.
"""

from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from serving.newest import NewestShards
from twintide.events import EventSchema
from twintide.keys import NO_KEY, NO_KEYS, Keys, keys_of
from twintide.shards import Ledger

WINDOW = timedelta(hours=1)
"""Before the newest hour, which may just have begun."""

LEAST = 500
"""Users and their items, in that time. Of fewer the order says too little."""

MOST = 1_000
"""Items that are kept, the most clicked ones."""

DEPTH = 100
"""So many more than are wanted are asked of the model: the list may raise what it has lower."""

_DAMPED = 60
"""Of the formula below, as its paper has it."""

Pairs = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]


class LatelyClicked:
    """Follows the newest shards. One thread looks."""

    def __init__(self, ledger: Ledger, events: EventSchema) -> None:
        self._events = events
        self._shards = NewestShards(ledger, events, self._pairs, window=WINDOW)

    def look(self) -> Keys | None:
        """The items that most users clicked, most first; none where too few did. None where that is
        as it was.
        """
        found = self._shards.look()
        return None if found is None else most_clicked(found)

    def _pairs(self, clicks: pa.Table) -> Pairs:
        """[clicks, 2]: the user, and the item."""
        users, items = clicks[self._events.user], clicks[self._events.item]
        return np.stack((keys_of(users), keys_of(items)), axis=1)


def most_clicked(shards: list[Pairs]) -> Keys:
    """Items by how many users clicked them; each click of nobody in particular counts."""
    pairs = np.concatenate([np.zeros((0, 2), np.uint64), *shards])
    anonymous = pairs[:, 0] == NO_KEY
    once = np.unique(pairs[~anonymous], axis=0)
    clicked = np.concatenate((once[:, 1], pairs[anonymous, 1]))
    if len(clicked) < LEAST:
        return NO_KEYS
    items, users = np.unique(clicked, return_counts=True)
    return items[np.lexsort((items, -users))][:MOST]


def fused(first: Positions, second: Positions, k: int) -> tuple[npt.NDArray[np.float32], Positions]:
    """The k best of two lists, by the sum over both of 1 / (60 + place): reciprocal rank fusion,
    Cormack et al., SIGIR 2009. It asks nothing of what their scores mean.
    """
    places = np.concatenate((np.arange(len(first)), np.arange(len(second))))
    positions, of = np.unique(np.concatenate((first, second)), return_inverse=True)
    scores = np.bincount(of, 1 / (_DAMPED + 1 + places))
    order = np.lexsort((positions, -scores))[:k]
    return scores[order].astype(np.float32), positions[order]

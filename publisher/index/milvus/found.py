"""An index of a version in Milvus, as it is searched."""

from typing import Any

import numpy as np

from publisher.index.best import Ask, best, best_of
from publisher.index.milvus.columns import having, numbers
from publisher.index.milvus.halves import Halves
from publisher.index.milvus.service import Reads, Service
from publisher.index.searched import Positions, Scores, Vectors
from publisher.index.selection import EVERYTHING, Mask, Selection
from twintide.errors import Corrupt
from twintide.keys import Keys, places_of
from twintide.versions import IndexAt

MOST_FOUND = 16_384
"""By one search: Milvus gives no more."""

EVERY_LIST = 65_536
"""The most that Milvus can be told to look into: all, however many an index has."""

_QUERIES_AT_ONCE = 100


class MilvusIndex:
    """Position i is the i-th of `keys`."""

    def __init__(
        self, service: Service, at: IndexAt, keys: Keys, halves: Halves, *, reads: Reads = "Strong"
    ) -> None:
        self._service, self._at, self._halves, self._reads = service, at, halves, reads
        self._blocked_as = ("", np.zeros(0, np.int64))
        self.keys, self.probes = keys, at.probes
        self._order = np.argsort(keys)
        self._ascending = keys[self._order]

    @property
    def at(self) -> IndexAt:
        """Where it lies, and how it is searched."""
        return self._at.model_copy(update={"probes": self.probes})

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return int(self._halves.base.shape[1])

    @property
    def items(self) -> int:
        """How many it holds."""
        return len(self.keys)

    @property
    def kind(self) -> str:
        """What kind of index Milvus has of it."""
        return "milvus flat" if self.lists == 1 else f"milvus ivf{self.lists},nprobe{self.probes}"

    is_elsewhere = True
    """A search waits for the network."""

    @property
    def lists(self) -> int:
        """As it was declared to Milvus, which divides each of its segments so."""
        return self._at.lists

    @property
    def looks_into_all(self) -> bool:
        """Whether a search passes over nothing."""
        return self.probes >= self.lists

    def look_into(self, lists: int) -> None:
        """So many lists are looked into from now on."""
        self.probes = min(lists, self.lists)

    def search(self, query_vectors: Vectors, k: int) -> tuple[Scores, Positions]:
        """As ItemIndex.search."""
        return self._searched(query_vectors, k, self.probes, self._reads)

    def search_again(self, query_vectors: Vectors, k: int) -> tuple[Scores, Positions]:
        """Everything is looked at: Milvus divides its rows anew when it likes."""
        return self._searched(query_vectors, k, self.lists, "Strong")

    def _searched(
        self, query_vectors: Vectors, k: int, probes: int, reads: Reads
    ) -> tuple[Scores, Positions]:
        scores = np.full((len(query_vectors), k), -np.inf, np.float32)
        positions = np.full((len(query_vectors), k), -1, np.int64)
        for begin in range(0, len(query_vectors), _QUERIES_AT_ONCE):
            some = query_vectors[begin : begin + _QUERIES_AT_ONCE]
            for row, found in enumerate(
                self._found(some, k, self._visible(), probes, reads), begin
            ):
                scores[row, : len(found)], positions[row, : len(found)] = self._placed(found)
        return scores, positions

    def best(
        self, query: Vectors, k: int, selection: Selection = EVERYTHING, *, is_exact: bool = False
    ) -> tuple[Scores, Positions]:
        """As ItemIndex.best. For more than Milvus gives, each that may be answered is looked at."""
        if k < MOST_FOUND:
            return best(self, query, k, selection, is_exact=is_exact)
        mask = selection.mask(self.items)
        among = np.arange(self.items) if mask is None else mask.positions()
        return best_of(self, query, k, among)

    def asking(self, query: Vectors, selection: Selection, mask: Mask | None) -> Ask:
        """As Searchable.asking: Milvus is told in words."""
        del mask
        which = " and ".join((self._visible(), *self._words(selection)))

        def ask(k: int, probes: int) -> tuple[Scores, Positions]:
            return self._placed(self._found(query, k, which, probes, self._reads)[0])

        return ask

    def vectors(self, positions: Positions) -> Vectors:
        """The vectors at these positions as the index keeps them."""
        return self._halves.at(positions)

    def prepare(self) -> None:
        """Nothing is made later."""

    def _found(
        self, queries: Vectors, k: int, which: str, probes: int, reads: Reads
    ) -> list[list[dict[str, Any]]]:
        return self._service.search(
            self._at.collection,
            np.ascontiguousarray(queries),
            min(k, MOST_FOUND),
            which=which,
            reads=reads,
            probes=probes if probes < self.lists else EVERY_LIST,
        )

    def _placed(self, found: list[dict[str, Any]]) -> tuple[Scores, Positions]:
        """Raises Corrupt where it found an item that the version does not have."""
        scores = np.array([each["distance"] for each in found], np.float32)
        items = np.array([each["entity"]["item"] for each in found], np.int64).view(np.uint64)
        places, is_known = places_of(items, self._ascending)
        if not is_known.all():
            raise Corrupt(f"collection {self._at.collection} holds items of another version")
        return scores, self._order[places]

    def _visible(self) -> str:
        return visible(self._at.epoch)

    def _words(self, selection: Selection) -> list[str]:
        found = having(self._at, selection.having)
        if len(selection.without):
            found.append(f"item not in {numbers(self.keys[selection.without])}")
        if len(selection.blocked):
            found.append(self._not_blocked(selection.blocked))
        return found

    def _not_blocked(self, blocked: Positions) -> str:
        """Written once: all requests say the same."""
        words, written_of = self._blocked_as
        if written_of is not blocked:
            words = f"item not in {numbers(self.keys[blocked])}"
            self._blocked_as = (words, blocked)
        return words


def visible(epoch: int) -> str:
    """The rows of a version."""
    return f"since <= {epoch} and until > {epoch}"

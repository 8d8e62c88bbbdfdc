"""What an index gives whoever searches it, wherever its vectors lie."""

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from publisher.index.selection import Selection

Vectors = npt.NDArray[np.float32]
"""float32 [rows, O · (D + 1)]: of each of O objectives its vector, then a bias."""

Scores = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
"""Numbers of items in index order; -1 where there are not enough."""

Bools = npt.NDArray[np.bool_]


class ItemIndex(Protocol):
    """An index that can be searched; position i is the i-th item of the catalogue."""

    @property
    def dimension(self) -> int:
        """Width of the vectors."""

    @property
    def items(self) -> int:
        """How many items it holds."""

    @property
    def kind(self) -> str:
        """`flat`, or `ivf` with its number of lists and how many a search looks into."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether a search waits for another machine."""

    @property
    def lists(self) -> int:
        """Of an inverted file; 1 of a flat index."""

    @property
    def looks_into_all(self) -> bool:
        """Whether a search passes over none of its lists."""

    def look_into(self, lists: int) -> None:
        """So many lists of an inverted file are looked into from now on."""

    def search(self, query_vectors: Vectors, k: int) -> tuple[Scores, Positions]:
        """The k best items of each query, best first: [B, k] scores and [B, k] positions.

        Where fewer than k are found, the rest has position -1 and score -inf.
        """

    def search_again(self, query_vectors: Vectors, k: int) -> tuple[Scores, Positions]:
        """As `search`, by whatever finds the same whenever this version is asked."""

    def best(
        self, query: Vectors, k: int, selection: "Selection" = ..., *, is_exact: bool = False
    ) -> tuple[Scores, Positions]:
        """The k best items for one query [1, O · (D + 1)] of those that may be answered: scores and
        positions [n], best first, and of equal scores the first in the catalogue. Exact: every item
        is looked at.

        There are fewer than k only where no more are left.
        """

    def vectors(self, positions: Positions) -> Vectors:
        """The vectors at these positions as the index keeps them, [N, O · (D + 1)]."""

    def prepare(self) -> None:
        """Make what searches and `vectors` look into, once, before several threads ask."""


def directions(vectors: Vectors, *, output_width: int) -> Vectors:
    """[rows, O · D]: indexed vectors without their biases, which are no direction."""
    of_each = vectors.reshape(len(vectors), -1, output_width + 1)
    return of_each[:, :, :-1].reshape(len(vectors), -1)

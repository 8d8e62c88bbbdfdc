"""The item index: which items' vectors have the largest inner product with a query's.

Exact (flat) where the catalogue is small, an inverted file of half-precision vectors where it is
large. The same vectors give the same bytes, and only bytes whose hash was checked are parsed.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from twintide.errors import Corrupt

Vectors = npt.NDArray[np.float32]
"""float32 [rows, output width + 1]."""

Scores = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
"""Numbers of items in index order; -1 where there are not enough."""

FLAT_UP_TO_ITEMS = 50_000
_MIN_ITEMS_PER_LIST = 39
"""Below this k-means has too little to learn a list's centre from (Faiss warns)."""


@dataclass(frozen=True)
class ItemIndex:
    """An index that can be searched; position i is the i-th item of the catalogue."""

    _faiss: Any

    @property
    def items(self) -> int:
        """How many items it holds."""
        return int(self._faiss.ntotal)

    @property
    def dimension(self) -> int:
        """Width of its vectors."""
        return int(self._faiss.d)

    @property
    def kind(self) -> str:
        """`flat`, or `ivf` with its number of lists and how many a search looks into."""
        if isinstance(self._faiss, faiss.IndexIVF):
            return f"ivf{self._faiss.nlist},nprobe{self._faiss.nprobe}"
        return "flat"

    def search(self, query_vectors: Vectors, k: int) -> tuple[Scores, Positions]:
        """The k best items of each query, best first: [B, k] scores and [B, k] positions.

        Where fewer than k are found, the rest has position -1 and score -inf.
        """
        scores, positions = self._faiss.search(np.ascontiguousarray(query_vectors), k)
        if positions[:, -1].min(initial=0) < 0:
            scores[positions < 0] = -np.inf
        return scores, positions

    def vectors(self, positions: Positions) -> Vectors:
        """The vectors at these positions as the index keeps them, [N, D + 1]."""
        if isinstance(self._faiss, faiss.IndexIVF):
            self._faiss.make_direct_map()
        found: Vectors = self._faiss.reconstruct_batch(np.ascontiguousarray(positions))
        return found

    def to_bytes(self) -> bytes:
        """What `parse` reads."""
        data: bytes = faiss.serialize_index(self._faiss).tobytes()
        return data


def build(vectors: Vectors, *, kind: Literal["auto", "flat", "ivf"], nprobe: int) -> ItemIndex:
    """Index item vectors [U, D + 1] for inner products."""
    lists = list_count(len(vectors))
    exact = kind == "flat" or (kind == "auto" and len(vectors) <= FLAT_UP_TO_ITEMS)
    if exact or lists < 2:  # noqa: PLR2004  one list is a flat index with extra steps
        return _filled(faiss.IndexFlatIP(vectors.shape[1]), vectors)
    index = faiss.index_factory(vectors.shape[1], f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    faiss.extract_index_ivf(index).nprobe = min(nprobe, lists)
    index.train(np.ascontiguousarray(vectors))
    return _filled(index, vectors)


def list_count(items: int) -> int:
    """About 2·√items, a power of two, and enough items for each list."""
    wanted = 1 << round(math.log2(max(2.0 * math.sqrt(items), 1.0)))
    while wanted > 1 and wanted * _MIN_ITEMS_PER_LIST > items:
        wanted //= 2
    return wanted


def parse(data: bytes) -> ItemIndex:
    """What `to_bytes` gave; give it verified bytes only. Raises Corrupt."""
    try:
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
    except RuntimeError as error:
        raise Corrupt(f"the item index cannot be read: {error}") from error
    if not isinstance(index, faiss.IndexFlat | faiss.IndexIVF):
        raise Corrupt(f"the item index is a {type(index).__name__}, which Twintide does not write")
    return ItemIndex(index)


def _filled(index: Any, vectors: Vectors) -> ItemIndex:
    index.add(np.ascontiguousarray(vectors))
    return ItemIndex(index)

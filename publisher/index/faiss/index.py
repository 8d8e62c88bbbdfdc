"""An index that Faiss searches, in the process that asks.

Exact (flat) where the catalogue is small, an inverted file of half-precision vectors where it is
large. The same vectors give the same bytes, and only bytes whose hash was checked are parsed.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import faiss
import numpy as np

from publisher.index.faiss.layout import Codes, check_layout
from publisher.index.searched import Bools, Positions, Scores, Vectors
from twintide.errors import Corrupt, words_of

FLAT_UP_TO_ITEMS = 50_000
_MIN_ITEMS_PER_LIST = 39
"""Below this k-means has too little to learn a list's centre from (Faiss warns)."""


SCANNED_PER_ITEM = 10
"""An inverted file looks into at least this many items for each that it must find or leave out.
Where the best 10,000 of 200,000 are excluded, it still finds 97 % of the next best (measured).
"""

ONE_BY_ONE = 500
ONE_BY_ONE_SHARE = 1 / 500
"""Where no more items are allowed than the one, or than the other of all, each is looked at, which
is exact. A search for so few takes as long or longer: it looks into ever more lists (measured at
60,000 and at a million items, benchmarks/filters.py).
"""

_LANES = 16
"""Inverted files hold vectors filled up with zeros to a multiple of this: Faiss compares
half-precision vectors of other widths one number at a time, 9 times slower (65 wide, measured).
"""


@dataclass(frozen=True)
class FaissIndex:
    """An index that can be searched; position i is the i-th item of the catalogue."""

    _faiss: Any
    dimension: int
    """Width of the vectors, without what they are filled up with."""

    _memory: object = field(default=None, repr=False)
    """What an index lies in that has none of its own."""

    @property
    def items(self) -> int:
        """How many items it holds."""
        return int(self._faiss.ntotal)

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
        scores, positions = self._faiss.search(_filled_up(query_vectors, self._faiss.d), k)
        if positions[:, -1].min(initial=0) < 0:
            scores[positions < 0] = -np.inf
        return scores, positions

    def best(
        self,
        query: Vectors,
        k: int,
        *,
        without: Positions,
        among: Bools | None = None,
        is_exact: bool = False,
    ) -> tuple[Scores, Positions]:
        """The k best items for one query [1, O · (D + 1)] that are not in `without`, and in `among`
        [items] where that is given: scores and positions [n], best first, and of equal scores the
        first in the catalogue. Exact: every item is looked at.

        There are fewer than k only where no more are left: an inverted file looks into ever more
        lists, in the end into all. Positions in `without` are distinct.
        """
        allowed, left = None, self.items
        if among is not None or len(without):
            allowed = np.ones(self.items, np.bool_) if among is None else among.copy()
            allowed[without] = False
            left = int(np.count_nonzero(allowed))
        if allowed is not None and left <= max(ONE_BY_ONE, self.items * ONE_BY_ONE_SHARE):
            return self._best_of(query, k, np.flatnonzero(allowed))
        probes = self.lists if is_exact else self._probes(min(k, left), left, len(without))
        selector = None if allowed is None else _selector(allowed)
        return self._searched(_filled_up(query, self._faiss.d), k, left, selector, probes)

    def _searched(
        self, query: Vectors, k: int, left: int, selector: Any, probes: int
    ) -> tuple[Scores, Positions]:
        """The k best of those that are left, by looking into ever more lists."""
        wanted = min(k, left)
        asked = min(wanted + 1, left)  # one more, to see whether the last has an equal
        while True:
            scores, positions = self._search(query, asked, selector, probes)
            found = int((positions >= 0).sum())
            if found < asked and probes < self.lists:
                probes = min(2 * probes, self.lists)
            elif found == asked < left and scores[wanted - 1] == scores[-1]:
                asked = min(2 * asked, left)
            else:
                order = np.lexsort((positions[:found], -scores[:found]))[:wanted]
                return scores[order], positions[order]

    def _best_of(self, query: Vectors, k: int, among: Positions) -> tuple[Scores, Positions]:
        """The k best of these items: each of them is looked at, and no other."""
        scores = self.vectors(among) @ query[0]
        order = np.lexsort((among, -scores))[:k]
        return scores[order], among[order]

    @property
    def lists(self) -> int:
        """Of an inverted file; 1 of a flat index."""
        return int(self._faiss.nlist) if isinstance(self._faiss, faiss.IndexIVF) else 1

    @property
    def looks_into_all(self) -> bool:
        """Whether a search passes over none of its lists."""
        return self.lists == 1 or int(self._faiss.nprobe) >= self.lists

    def look_into(self, lists: int) -> None:
        """So many lists of an inverted file are looked into from now on."""
        self._faiss.nprobe = min(lists, self.lists)

    def _probes(self, wanted: int, left: int, without: int) -> int:
        """How many lists to look into at first: to pass those that are left out, which may be the
        best, and to find as many as are wanted among those that are left.
        """
        if not isinstance(self._faiss, faiss.IndexIVF):
            return 1
        passed = SCANNED_PER_ITEM * (wanted * (self.items - without) / max(left, 1) + without)
        needed = math.ceil(passed * self.lists / self.items)
        return min(max(int(self._faiss.nprobe), needed), self.lists)

    def _search(
        self, query: Vectors, k: int, allowed: Any, probes: int
    ) -> tuple[Scores, Positions]:
        # Faiss's stubs describe the constructors of C++, not those that Python wraps around them.
        library: Any = faiss
        parameters = None
        if isinstance(self._faiss, faiss.IndexIVF):
            if allowed is not None or probes != self._faiss.nprobe:
                parameters = library.SearchParametersIVF(sel=allowed, nprobe=probes)
        elif allowed is not None:
            parameters = library.SearchParameters(sel=allowed)
        scores, positions = self._faiss.search(query, k, params=parameters)
        return scores[0], positions[0]

    def prepare(self) -> None:
        """Make what `vectors` looks into, once: two threads that made it together would break it,
        and none but makes it who finds none.
        """
        if isinstance(self._faiss, faiss.IndexIVF):
            self._faiss.make_direct_map()

    def vectors(self, positions: Positions) -> Vectors:
        """The vectors at these positions as the index keeps them, [N, O · (D + 1)]."""
        self.prepare()
        found: Vectors = self._faiss.reconstruct_batch(np.ascontiguousarray(positions))
        return found[:, : self.dimension]

    def lists_of(self, vectors: Vectors) -> tuple[list[Positions], list[Codes]]:
        """Into which of its lists these vectors belong, and what stands for each there, where it is
        an inverted file. Of each list: numbers of vectors, and their codes.
        """
        library: Any = faiss  # as in `_search`
        whole, fp16 = self._faiss, library.ScalarQuantizer.QT_fp16
        made = library.IndexIVFScalarQuantizer(
            whole.quantizer, whole.d, whole.nlist, fp16, whole.metric_type
        )
        made.by_residual, made.is_trained = whole.by_residual, True
        made.add(_filled_up(vectors, whole.d))
        lists, numbers, codes = made.invlists, [], []
        for each in range(whole.nlist):
            size = lists.list_size(each)
            numbers.append(np.array(_numbers(lists.get_ids(each), size), np.int64))
            codes.append(np.array(_numbers(lists.get_codes(each), size * made.code_size), np.uint8))
        return numbers, codes

    def to_bytes(self) -> bytes:
        """What `parse` reads."""
        data: bytes = faiss.serialize_index(self._faiss).tobytes()
        return data


def build(vectors: Vectors, *, kind: Literal["auto", "flat", "ivf"], nprobe: int = 1) -> FaissIndex:
    """Index item vectors [U, O · (D + 1)] for inner products; an inverted file looks into `nprobe`
    lists until it is told otherwise.
    """
    lists = list_count(len(vectors))
    exact = kind == "flat" or (kind == "auto" and len(vectors) <= FLAT_UP_TO_ITEMS)
    width = vectors.shape[1]
    index: faiss.Index
    if exact or lists < 2:  # noqa: PLR2004  one list is a flat index with extra steps
        index = faiss.IndexFlatIP(width)
    else:
        inner_product = faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(_ivf_width(width), f"IVF{lists},SQfp16", inner_product)
        faiss.extract_index_ivf(index).nprobe = min(nprobe, lists)
    stored = _filled_up(vectors, index.d)
    index.train(stored)
    index.add(stored)
    return FaissIndex(index, width)


def search_in_one_thread() -> None:
    """From now on in this process. Faiss would share one query between threads, which then wait for
    each other: on a busy machine twice as long (50,000 items, flat, measured).
    """
    faiss.omp_set_num_threads(1)


def list_count(items: int) -> int:
    """About 2·√items, a power of two, and enough items for each list."""
    wanted = 1 << round(math.log2(max(2.0 * math.sqrt(items), 1.0)))
    while wanted > 1 and wanted * _MIN_ITEMS_PER_LIST > items:
        wanted //= 2
    return wanted


def parse(data: bytes | memoryview, *, dimension: int) -> FaissIndex:
    """What `to_bytes` gave; give it verified bytes only. What it holds stays where it lies, so that
    what is mapped is in memory once. Raises Corrupt.
    """
    check_layout(data)
    held = np.frombuffer(data, np.uint8)
    library: Any = faiss  # its stubs do not know how Python gives memory
    try:
        reader = library.ZeroCopyIOReader(library.swig_ptr(held), len(held))
        index = library.read_index(reader)
    except RuntimeError as error:
        raise Corrupt(f"the item index cannot be read: {words_of(error)}") from error
    if not isinstance(index, faiss.IndexFlat | faiss.IndexIVF):
        raise Corrupt(f"the item index is a {type(index).__name__}, which Twintide does not write")
    width = _ivf_width(dimension) if isinstance(index, faiss.IndexIVF) else dimension
    if index.d != width:
        raise Corrupt(f"the item index is {index.d} wide, not {width}")
    return FaissIndex(index, dimension, (held, reader))


def _numbers(pointer: Any, count: int) -> Any:
    library: Any = faiss  # as in `_search`
    return library.rev_swig_ptr(pointer, count) if count else ()


def _selector(allowed: Bools) -> Any:
    """Faiss's word for these items: one bit each."""
    library: Any = faiss  # as in `_search`
    return library.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))


def _ivf_width(dimension: int) -> int:
    return -(-dimension // _LANES) * _LANES


def _filled_up(vectors: Vectors, width: int) -> Vectors:
    """The vectors with zeros behind them, which change no inner product."""
    if vectors.shape[1] == width:
        return np.ascontiguousarray(vectors)
    wide = np.zeros((len(vectors), width), np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide

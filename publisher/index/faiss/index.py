"""An index that Faiss searches, in the process that asks.

Exact (flat) where the catalogue is small, an inverted file of half-precision vectors where it is
large. The same vectors give the same bytes, and only bytes whose hash was checked are parsed.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import faiss
import numpy as np

from publisher.index.best import Ask, best
from publisher.index.faiss.layout import Codes, check_layout
from publisher.index.lists import lists_for
from publisher.index.searched import Positions, Scores, Vectors
from publisher.index.selection import EVERYTHING, Mask, Selection
from twintide.errors import Corrupt, words_of

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

    @cached_property
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

    def search_again(self, query_vectors: Vectors, k: int) -> tuple[Scores, Positions]:
        """A search: nothing of an index in a file changes."""
        return self.search(query_vectors, k)

    def best(
        self, query: Vectors, k: int, selection: Selection = EVERYTHING, *, is_exact: bool = False
    ) -> tuple[Scores, Positions]:
        """As ItemIndex.best."""
        return best(self, query, k, selection, is_exact=is_exact)

    is_elsewhere = False
    """A search is this process's own work."""

    @cached_property
    def lists(self) -> int:
        """Of an inverted file; 1 of a flat index."""
        return int(self._faiss.nlist) if isinstance(self._faiss, faiss.IndexIVF) else 1

    @property
    def looks_into_all(self) -> bool:
        """Whether a search passes over none of its lists."""
        return self.lists == 1 or self.probes >= self.lists

    def look_into(self, lists: int) -> None:
        """So many lists of an inverted file are looked into from now on."""
        self._faiss.nprobe = min(lists, self.lists)

    @property
    def probes(self) -> int:
        """Lists that a search looks into."""
        return int(self._faiss.nprobe) if self.lists > 1 else 1

    def asking(self, query: Vectors, selection: Selection, mask: Mask | None) -> Ask:
        """As Searchable.asking: the mask says all."""
        del selection
        filled = _filled_up(query, self._faiss.d)
        selector = None if mask is None else _selector(mask)

        def ask(k: int, probes: int) -> tuple[Scores, Positions]:
            parameters = self._parameters(selector, probes)
            scores, positions = self._faiss.search(filled, k, params=parameters)
            return scores[0], positions[0]

        return ask

    def _parameters(self, selector: Any, probes: int) -> Any:
        # Faiss's stubs describe the constructors of C++, not those that Python wraps around them.
        library: Any = faiss
        if isinstance(self._faiss, faiss.IndexIVF):
            if selector is None and probes == self._faiss.nprobe:
                return None
            return library.SearchParametersIVF(sel=selector, nprobe=probes)
        return None if selector is None else library.SearchParameters(sel=selector)

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
        made = self._with_centres(vectors)
        lists, numbers, codes = made.invlists, [], []
        for each in range(self.lists):
            size = lists.list_size(each)
            numbers.append(np.array(_numbers(lists.get_ids(each), size), np.int64))
            codes.append(np.array(_numbers(lists.get_codes(each), size * made.code_size), np.uint8))
        return numbers, codes

    def refilled(self, vectors: Vectors) -> "FaissIndex":
        """An inverted file of other vectors with the same centres."""
        return FaissIndex(self._with_centres(vectors), self.dimension, self)

    def _with_centres(self, vectors: Vectors) -> Any:
        library: Any = faiss  # as in `_parameters`
        whole, fp16 = self._faiss, library.ScalarQuantizer.QT_fp16
        made = library.IndexIVFScalarQuantizer(
            whole.quantizer, whole.d, whole.nlist, fp16, whole.metric_type
        )
        made.by_residual, made.is_trained = whole.by_residual, True
        made.add(_filled_up(vectors, whole.d))
        return made

    def to_bytes(self) -> bytes:
        """What `parse` reads."""
        data: bytes = faiss.serialize_index(self._faiss).tobytes()
        return data


def build(vectors: Vectors, *, kind: Literal["auto", "flat", "ivf"], nprobe: int = 1) -> FaissIndex:
    """Index item vectors [U, O · (D + 1)] for inner products; an inverted file looks into `nprobe`
    lists until it is told otherwise.
    """
    lists, width = lists_for(len(vectors), kind), vectors.shape[1]
    index: faiss.Index
    if lists == 1:
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
    library: Any = faiss  # as in `_parameters`
    return library.rev_swig_ptr(pointer, count) if count else ()


def _selector(mask: Mask) -> Any:
    """Faiss's word for these items: one bit each."""
    library: Any = faiss  # as in `_parameters`
    return library.IDSelectorBitmap(mask.bits)


def _ivf_width(dimension: int) -> int:
    return -(-dimension // _LANES) * _LANES


def _filled_up(vectors: Vectors, width: int) -> Vectors:
    """The vectors with zeros behind them, which change no inner product."""
    if vectors.shape[1] == width:
        return np.ascontiguousarray(vectors)
    wide = np.zeros((len(vectors), width), np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide

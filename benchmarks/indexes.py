"""How long a search of the item index takes, beside other libraries at equal recall.

    python -m benchmarks.indexes [--items 200000 1000000] [--noise 0.4] [--recall 0.98]

Clustered vectors of 64 numbers and length 1, as towers give them, and queries of the same kind; the
more noise, the more clusters an answer comes from. The 100 largest inner products, one query at a
time on one thread. Each library looks as far as it must to find the declared share of the exact
answer, on queries that are not timed; then all take turns within one run. Printed of each: how far
it looks, its recall, seconds to build, p50 and p99 in milliseconds (medians over the rounds, lowest
and highest p50), and how many times as long as ours it takes, the median of the rounds' own ratios.
Libraries that are not installed are named: pip install hnswlib usearch voyager scann.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from publisher.index.faiss import index as item_index
from publisher.index.lists import list_count

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors], npt.NDArray[np.int64]]
"""The positions of the best for one query [1, D]."""

WIDTH, K = 64, 100
CLUSTERS = 2_000
TUNED_ON, TIMED = 200, 300
REACH = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
"""How far a search looks: lists, leaves or the length of a candidate list."""


@dataclass(frozen=True)
class Built:
    """A library's index of the items."""

    name: str
    seconds: float
    searches: Callable[[int], Search]
    """A search that looks so far."""


@dataclass(frozen=True)
class Tuned:
    """One that looks far enough."""

    built: Built
    reach: int
    recall: float
    search: Search


def main() -> None:
    """Measure each number of items; print a table for each."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, nargs="+", default=[200_000])
    arguments.add_argument("--noise", type=float, default=0.4, help="beside centres of 1")
    arguments.add_argument("--recall", type=float, default=0.98)
    arguments.add_argument("--rounds", type=int, default=7)
    chosen = arguments.parse_args()
    faiss.omp_set_num_threads(1)
    for items in chosen.items:
        vectors = clustered(items, noise=chosen.noise)
        queries = clustered(TUNED_ON + TIMED, noise=chosen.noise, seed=2)
        exact = exact_answers(vectors, queries[:TUNED_ON])
        tuned = [
            enough
            for built in every_library(vectors)
            if (enough := looking_far_enough(built, queries, exact, recall=chosen.recall))
        ]
        times = in_turns(tuned, queries[TUNED_ON:], rounds=chosen.rounds)
        Console(width=130).print(as_table(items, tuned, times))


def clustered(count: int, *, noise: float, seed: int = 1) -> Vectors:
    """Items around centres that differ in size, as items of one topic lie near each other."""
    centres = np.random.default_rng(0).normal(size=(CLUSTERS, WIDTH))
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, CLUSTERS + 1) ** 0.5
    of_each = rng.choice(CLUSTERS, count, p=shares / shares.sum())
    found = centres[of_each] + noise * rng.normal(size=(count, WIDTH))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def exact_answers(vectors: Vectors, queries: Vectors) -> npt.NDArray[np.int64]:
    """[queries, K] by every product."""
    products = queries @ vectors.T
    return np.argpartition(-products, K, axis=1)[:, :K]


def every_library(vectors: Vectors) -> Iterator[Built]:
    """Ours first."""
    yield timed("ours", lambda: _ours(vectors))
    yield timed("ours, exact", lambda: _ours_exact(vectors))
    for name, module, build in (
        ("hnswlib", "hnswlib", _hnswlib),
        ("usearch", "usearch.index", _usearch),
        ("voyager", "voyager", _voyager),
        ("scann", "scann", _scann),
    ):
        try:
            library = importlib.import_module(module)
        except ImportError as error:
            print(f"{name} is left out: {error}")
            continue
        yield timed(name, lambda: build(library, vectors))  # noqa: B023


def timed(name: str, build: Callable[[], Callable[[int], Search]]) -> Built:
    """What it builds, and how long that took."""
    began = time.perf_counter()
    searches = build()
    return Built(name, time.perf_counter() - began, searches)


def _ours(vectors: Vectors) -> Callable[[int], Search]:
    index = item_index.build(vectors, kind="ivf")

    def searches(reach: int) -> Search:
        index.look_into(reach)
        return lambda query: index.best(query, K)[1]

    return searches


def _ours_exact(vectors: Vectors) -> Callable[[int], Search]:
    index = item_index.build(vectors, kind="flat")
    return lambda _: lambda query: index.best(query, K)[1]


def _hnswlib(library: Any, vectors: Vectors) -> Callable[[int], Search]:
    index = library.Index(space="ip", dim=WIDTH)
    index.init_index(max_elements=len(vectors), ef_construction=200, M=24)
    index.set_num_threads(2)
    index.add_items(vectors)
    index.set_num_threads(1)

    def searches(reach: int) -> Search:
        def search(query: Vectors) -> npt.NDArray[np.int64]:
            index.set_ef(max(reach, K))
            found: npt.NDArray[np.int64] = index.knn_query(query, K)[0][0].astype(np.int64)
            return found

        return search

    return searches


def _usearch(library: Any, vectors: Vectors) -> Callable[[int], Search]:
    index = library.Index(ndim=WIDTH, metric="ip", dtype="f16", connectivity=24)
    index.add(np.arange(len(vectors)), vectors, threads=2)

    def searches(reach: int) -> Search:
        def search(query: Vectors) -> npt.NDArray[np.int64]:
            index.expansion_search = max(reach, K)
            found: npt.NDArray[np.int64] = index.search(query[0], K).keys.astype(np.int64)
            return found

        return search

    return searches


def _voyager(library: Any, vectors: Vectors) -> Callable[[int], Search]:
    index = library.Index(library.Space.InnerProduct, num_dimensions=WIDTH, M=24)
    index.add_items(vectors, num_threads=2)

    def searches(reach: int) -> Search:
        ef = max(reach, K)
        return lambda query: index.query(query[0], K, num_threads=1, query_ef=ef)[0].astype(
            np.int64
        )

    return searches


def _scann(library: Any, vectors: Vectors) -> Callable[[int], Search]:
    leaves = list_count(len(vectors))
    builder = library.scann_ops_pybind.builder(vectors, K, "dot_product")
    index = (
        builder.tree(num_leaves=leaves, num_leaves_to_search=64, training_sample_size=250_000)
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(10 * K)
        .build()
    )

    def searches(reach: int) -> Search:
        probes = min(reach, leaves)
        return lambda query: index.search(query[0], leaves_to_search=probes)[0].astype(np.int64)

    return searches


def looking_far_enough(
    built: Built, queries: Vectors, exact: npt.NDArray[np.int64], *, recall: float
) -> Tuned | None:
    """The least reach that finds enough; None where none does."""
    best = 0.0
    for reach in REACH:
        search = built.searches(reach)
        found = [
            len(np.intersect1d(search(queries[row : row + 1]), exact[row]))
            for row in range(TUNED_ON)
        ]
        best = float(np.mean(found)) / K
        if best >= recall:
            return Tuned(built, reach, best, search)
    print(f"{built.name} finds {best:.3f} at most")
    return None


def in_turns(
    tuned: Sequence[Tuned], queries: Vectors, *, rounds: int
) -> dict[str, list[npt.NDArray[np.float64]]]:
    """Milliseconds of each query, by round."""
    found: dict[str, list[npt.NDArray[np.float64]]] = {each.built.name: [] for each in tuned}
    for _ in range(rounds):
        for each in tuned:
            times = np.empty(len(queries))
            for row in range(len(queries)):
                began = time.perf_counter()
                each.search(queries[row : row + 1])
                times[row] = 1e3 * (time.perf_counter() - began)
            found[each.built.name].append(times)
    return found


def as_table(
    items: int, tuned: Sequence[Tuned], times: dict[str, list[npt.NDArray[np.float64]]]
) -> Table:
    """One row each."""
    table = Table(title=f"{items:,} items, 100 of them")
    for column in ("", "reach", "recall", "built in s", "p50 ms", "p99 ms", "beside ours"):
        table.add_column(column, justify="right")
    ours = [np.median(each) for each in times["ours"]]
    for each in tuned:
        own = times[each.built.name]
        p50 = [float(np.median(one)) for one in own]
        p99 = statistics.median(float(np.quantile(one, 0.99)) for one in own)
        ratio = statistics.median(mine / our for mine, our in zip(p50, ours, strict=True))
        table.add_row(
            each.built.name,
            f"{each.reach}",
            f"{each.recall:.3f}",
            f"{each.built.seconds:.1f}",
            f"{statistics.median(p50):.2f} ({min(p50):.2f} to {max(p50):.2f})",
            f"{p99:.2f}",
            f"{ratio:.2f}",
        )
    return table


if __name__ == "__main__":
    main()

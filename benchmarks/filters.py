"""Answers with filters and exclusions beside brute force, and what they cost.

    python -m benchmarks.filters [--items 60000 --items 1000000] [--requests 10000]

Items of 64 numbers and a bias around 1,000 centres, in 200 categories of which the largest has a
fifth of them. Each request: a query near an item, k of 10 or 100, of a random number of categories
or any, without up to 1,000 items of which half are among its best. Printed: how many answers are
short or hold what they must not, the share of the exact answer's items that are found, the same
with `exact`, and milliseconds by how many items are allowed, with each looked at and by a search.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from publisher.attributes import Attribute
from publisher.index import best as item_best
from publisher.index.faiss import index as item_index
from publisher.index.faiss.index import FaissIndex
from publisher.index.searched import Vectors
from publisher.index.selection import EVERYTHING, Mask, Selection
from twintide.clock import monotonic_seconds
from twintide.ragged import one_id_each

WIDTH = 64
CENTRES = 1_000
CATEGORIES = 200
BLOCK = 20
Positions = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def main() -> None:
    """Each size of catalogue in turn."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, action="append")
    arguments.add_argument("--requests", type=int, default=10_000)
    chosen = arguments.parse_args()
    for items in chosen.items or [60_000, 1_000_000]:
        compare(items, chosen.requests)


def compare(items: int, requests: int) -> None:
    """Build an index, ask it, print what it found and what that took."""
    rng = np.random.default_rng(1)
    vectors = drawn_vectors(rng, items)
    index = item_index.build(vectors, kind="ivf", nprobe=64)
    stored = index.vectors(np.arange(items))
    weights = 1 / np.arange(1, CATEGORIES + 1)
    categories = rng.choice(CATEGORIES, items, p=weights / weights.sum()).astype(np.uint64) + 1
    attribute = Attribute(one_id_each(categories))
    print(f"\n{items:,} items, index {index.kind}, {requests:,} requests", flush=True)
    correct(rng, index, stored, attribute, requests)
    cost(rng, index, stored)


def drawn_vectors(rng: np.random.Generator, items: int) -> Vectors:
    """Directions around centres, and a bias behind each."""
    centres = rng.normal(size=(CENTRES, WIDTH))
    made = centres[rng.integers(0, CENTRES, items)] + rng.normal(size=(items, WIDTH)) * 0.7
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return np.hstack((made, rng.normal(size=(items, 1)) * 0.05)).astype(np.float32)


def queries(rng: np.random.Generator, stored: Vectors, count: int) -> Vectors:
    """Near items, with a 1 for the bias."""
    made = stored[rng.integers(0, len(stored), count), :WIDTH]
    near = made + rng.normal(size=made.shape) * 0.08
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return np.hstack((near, np.ones((count, 1)))).astype(np.float32)


def correct(
    rng: np.random.Generator,
    index: FaissIndex,
    stored: Vectors,
    attribute: Attribute,
    requests: int,
) -> None:
    """Every request against all products."""
    short = wrong = wanted = found = found_exactly = exactly_wanted = 0
    for number, (query, scores) in enumerate(with_scores(rng, stored, requests)):
        k = int(rng.choice([10, 100]))
        without, among = limits(rng, scores, attribute)
        best = best_of(scores, k, without, among)
        selection = Selection(without, None if among is None else Mask.of(among))
        _, answered = index.best(query, k, selection)
        is_allowed = ~np.isin(answered, without)
        if among is not None:
            is_allowed &= among[answered]
        short += len(answered) < len(best)
        wrong += not is_allowed.all() or len(np.unique(answered)) < len(answered)
        wanted += len(best)
        found += len(np.intersect1d(answered, best))
        if number % 10 == 0:
            _, exactly = index.best(query, k, selection, is_exact=True)
            found_exactly += len(np.intersect1d(exactly, best))
            exactly_wanted += len(best)
    print(
        f"short {short}, with what must not be there {wrong}; found {found / wanted:.4f} of the "
        f"exact answers' {wanted:,} items; with `exact`, of every tenth request, "
        f"{exactly_wanted - found_exactly} of {exactly_wanted:,} missing",
        flush=True,
    )


def with_scores(
    rng: np.random.Generator, stored: Vectors, requests: int
) -> Iterator[tuple[Vectors, npt.NDArray[np.float32]]]:
    """A query, and its product with every item."""
    for begin in range(0, requests, BLOCK):
        some = queries(rng, stored, min(BLOCK, requests - begin))
        for query, scores in zip(some, some @ stored.T, strict=True):
            yield query[None], scores


def limits(
    rng: np.random.Generator, scores: npt.NDArray[np.float32], attribute: Attribute
) -> tuple[Positions, Bools | None]:
    """What must not be there, and what alone may be."""
    count = int(rng.choice([0, 10, 1_000]))
    likely = np.argpartition(-scores, 2_000)[:2_000]
    half = rng.choice(likely, count // 2, replace=False)
    without = np.unique(np.concatenate((half, rng.integers(0, len(scores), count // 2))))
    if rng.random() < 0.2:  # noqa: PLR2004  a fifth of the requests has no filter
        return without, None
    keys = rng.choice(CATEGORIES, int(rng.choice([1, 3, 20])), replace=False) + 1
    return without, attribute.having(keys.astype(np.uint64))


def best_of(
    scores: npt.NDArray[np.float32], k: int, without: Positions, among: Bools | None
) -> Positions:
    """By a sort of all."""
    may = np.ones(len(scores), np.bool_) if among is None else among.copy()
    may[without] = False
    allowed = np.flatnonzero(may)
    if len(allowed) > k:
        allowed = allowed[np.argpartition(-scores[allowed], k - 1)[:k]]
    return allowed


def cost(rng: np.random.Generator, index: FaissIndex, stored: Vectors) -> None:
    """Milliseconds of k = 100, by how many items are allowed: the median of 50."""
    print(f"{'allowed':>10}{'one by one':>12}{'a search':>12}{'both need':>12}")
    for allowed in (100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000):
        if allowed > len(stored) // 2:
            break
        among = np.zeros(len(stored), np.bool_)
        among[rng.choice(len(stored), allowed, replace=False)] = True
        times = [
            (
                took(partial(one_by_one, index, query, among)),
                took(partial(search, index, query, among, allowed)),
                took(partial(np.count_nonzero, among)),
            )
            for query in np.split(queries(rng, stored, 50), 50)
        ]
        one, by_search, both = np.median(times, axis=0)
        print(f"{allowed:>10,}{one:>12.2f}{by_search:>12.2f}{both:>12.2f}", flush=True)


def one_by_one(index: FaissIndex, query: Vectors, among: Bools) -> object:
    """Each item that is allowed."""
    return item_best.best_of(index, query, 100, np.flatnonzero(among))


def search(index: FaissIndex, query: Vectors, among: Bools, allowed: int) -> object:
    """Into as many lists as are needed."""
    probes = item_best.first_probes(index, min(100, allowed), allowed, 0)
    ask = index.asking(query, EVERYTHING, Mask.of(among))
    return item_best.searched(index, ask, min(100, allowed), allowed, probes)


def took(ask: Callable[[], object]) -> float:
    """Milliseconds."""
    began = monotonic_seconds()
    ask()
    return (monotonic_seconds() - began) * 1000


if __name__ == "__main__":
    main()

"""Answers with filters and exclusions beside brute force, and what they cost.

    python -m benchmarks.filters [--items 60000 --items 1000000] [--requests 10000]
    python -m benchmarks.filters --milvus http://127.0.0.1:19530 [--index flat] --items 60000

Items of 64 numbers and a bias around 1,000 centres, in 200 categories of which the largest has a
fifth of them. Each request: a query near an item, k of 10 or 100, of a random number of categories
or any, without up to 1,000 items of which half are among its best, and half of the time without
1,000 that are blocked. Printed: how many answers are short or hold what they must not, the share of
the exact answer's items that are found, how many the same request misses with `exact`, and for
Faiss milliseconds by how many items are allowed, with each looked at and by a search. An index that
is flat looks at everything, so it is asked once.

With --milvus the index is a collection there, such as in `milvus-lite server --data-dir DIR --port
19530`; it is dropped at the end.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from publisher.attributes import Attribute
from publisher.index import best as item_best
from publisher.index.backend import Wanted
from publisher.index.faiss import index as item_index
from publisher.index.faiss.index import FaissIndex
from publisher.index.milvus import backend as milvus_backend
from publisher.index.searched import ItemIndex, Vectors
from publisher.index.selection import EVERYTHING, Mask, Selection
from twintide.clock import monotonic_seconds
from twintide.config import MilvusConfig, PublishingConfig
from twintide.keys import mixed
from twintide.ragged import one_id_each

WIDTH = 64
CENTRES = 1_000
CATEGORIES = 200
BLOCK = 20
BLOCKED = 1_000
TOLD_EVERY_SECONDS = 300.0
"""A Milvus for tests takes hours."""
ROUNDING = 1e-6
"""Between two ways to add up the same product."""

Kind = Literal["ivf", "flat"]
Positions = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def main() -> None:
    """Each size of catalogue in turn."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, action="append")
    arguments.add_argument("--requests", type=int, default=10_000)
    arguments.add_argument("--milvus", help="Its address, for an index there.")
    arguments.add_argument("--index", choices=["ivf", "flat"], default="ivf")
    arguments.add_argument("--seed", type=int, default=1, help="Of items and requests.")
    chosen = arguments.parse_args()
    for items in chosen.items or [60_000, 1_000_000]:
        compare(np.random.default_rng(chosen.seed), items, chosen)


def compare(rng: np.random.Generator, items: int, chosen: argparse.Namespace) -> None:
    """Build an index, ask it, print what it found and what that took."""
    vectors, kind = drawn_vectors(rng, items), chosen.index
    weights = 1 / np.arange(1, CATEGORIES + 1)
    categories = rng.choice(CATEGORIES, items, p=weights / weights.sum()).astype(np.uint64) + 1
    attribute = Attribute(one_id_each(categories))
    with (
        in_milvus(chosen.milvus, vectors, attribute, kind)
        if chosen.milvus
        else in_process(vectors, kind)
    ) as searched:
        stored = searched.vectors(np.arange(items))
        print(f"\n{items:,} items, index {searched.kind}, {chosen.requests:,} requests", flush=True)
        correct(rng, searched, stored, attribute, chosen.requests)
        if isinstance(searched, FaissIndex):
            cost(rng, searched, stored)


@contextmanager
def in_process(vectors: Vectors, kind: Kind) -> Iterator[ItemIndex]:
    """An index of Faiss."""
    yield item_index.build(vectors, kind=kind, nprobe=64)


@contextmanager
def in_milvus(uri: str, vectors: Vectors, attribute: Attribute, kind: Kind) -> Iterator[ItemIndex]:
    """The same items in a collection."""
    own = MilvusConfig(uri=uri, prefix="benchmark_filters", timeout_seconds=600.0)
    config = PublishingConfig(index=kind, nprobe=64, milvus=own, filters=("category",))
    keys = mixed(np.arange(1, len(vectors) + 1, dtype=np.uint64))
    began = monotonic_seconds()
    told = {"category": attribute}
    wanted = Wanted(keys, vectors, vectors[:64], config, attributes=told)
    made = milvus_backend.index(wanted, None)
    took_seconds = monotonic_seconds() - began
    print(f"{len(vectors):,} items written to Milvus in {took_seconds:.0f} s", flush=True)
    try:
        yield made.index
    finally:
        if made.at:
            milvus_backend.drop(own, [made.at.collection])


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
    index: ItemIndex,
    stored: Vectors,
    attribute: Attribute,
    requests: int,
) -> None:
    """Every request against all products."""
    short = wrong = wanted = found = missing = 0
    blocked = np.sort(rng.choice(len(stored), BLOCKED, replace=False))
    free, took_ms, told_at = Mask.all(len(stored)).without(blocked), [], monotonic_seconds()
    for number, (query, scores) in enumerate(with_scores(rng, stored, requests), 1):
        k = int(rng.choice([10, 100]))
        selection = limits(rng, scores, attribute, free, blocked)
        may = (selection.mask(len(stored)) or Mask.all(len(stored))).positions()
        best = best_of(scores, k, may)
        began = monotonic_seconds()
        _, answered = index.best(query, k, selection)
        took_ms.append((monotonic_seconds() - began) * 1000)
        short += len(answered) < len(best)
        wrong += not np.isin(answered, may).all() or len(np.unique(answered)) < len(answered)
        wanted += len(best)
        found += len(best) - missed(scores, best, answered)
        if not index.looks_into_all:
            _, answered = index.best(query, k, selection, is_exact=True)
        missing += missed(scores, best, answered)
        if number < requests and monotonic_seconds() < told_at + TOLD_EVERY_SECONDS:
            continue
        told_at = monotonic_seconds()
        print(
            f"{number:,} requests: short {short}, with what must not be there {wrong}; found "
            f"{found / wanted:.4f} of the exact answers' {wanted:,} items; with `exact` {missing} "
            f"missing; a search took {np.median(took_ms):.2f} ms in the median",
            flush=True,
        )


def missed(scores: npt.NDArray[np.float32], best: Positions, answered: Positions) -> int:
    """How many of the best are not in an answer, but for those that are as good as its last."""
    if len(answered) < len(best):
        return len(np.setdiff1d(best, answered))
    others = np.setdiff1d(best, answered)
    return int((scores[others] > scores[answered].min(initial=np.inf) + ROUNDING).sum())


def with_scores(
    rng: np.random.Generator, stored: Vectors, requests: int
) -> Iterator[tuple[Vectors, npt.NDArray[np.float32]]]:
    """A query, and its product with every item."""
    for begin in range(0, requests, BLOCK):
        some = queries(rng, stored, min(BLOCK, requests - begin))
        for query, scores in zip(some, some @ stored.T, strict=True):
            yield query[None], scores


def limits(
    rng: np.random.Generator,
    scores: npt.NDArray[np.float32],
    attribute: Attribute,
    free: Mask,
    blocked: Positions,
) -> Selection:
    """What must not be there, and what alone may be."""
    count = int(rng.choice([0, 10, 1_000]))
    likely = np.argpartition(-scores, 2_000)[:2_000]
    half = rng.choice(likely, count // 2, replace=False)
    without = np.unique(np.concatenate((half, rng.integers(0, len(scores), count // 2))))
    among, having = None, {}
    if rng.random() > 0.2:  # noqa: PLR2004  a fifth of the requests has no filter
        keys = rng.choice(CATEGORIES, int(rng.choice([1, 3, 20])), replace=False) + 1
        having = {"category": keys.astype(np.uint64)}
        among = Mask.of(attribute.having(having["category"]))
    if rng.random() < 0.5:  # noqa: PLR2004
        return Selection(without, among, having)
    return Selection(without, among & free if among else free, having, blocked)


def best_of(scores: npt.NDArray[np.float32], k: int, may: Positions) -> Positions:
    """By a sort of all."""
    if len(may) > k:
        may = may[np.argpartition(-scores[may], k - 1)[:k]]
    return may


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

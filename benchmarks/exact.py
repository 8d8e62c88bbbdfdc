"""Up to how many items is an exact index as quick as an inverted file?

    python -m benchmarks.exact [--items 5000 --items 20000 ...]

Vectors of 64 numbers and a bias around centres, 100 items each on average, with little and with
much noise, and hardly around any. Both indexes are asked for the 100 best by 300 queries near
items, one at a time in turns on one thread; the inverted file looks into as few lists as find .98
of them. Printed: milliseconds of processor time in the median.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from publisher.index.faiss import index as item_index
from publisher.index.faiss.index import search_in_one_thread
from publisher.index.searched import Vectors
from publisher.tuning import Best, tune

K = 100
WIDTH = 64
QUERIES = 300
RECALL = 0.98
SIZES = (5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000)
NOISES = (0.4, 0.7, 3.0)


def main() -> None:
    """Each size with each noise."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--items", type=int, action="append")
    search_in_one_thread()
    print(f"{'noise':>6}{'items':>10}{'lists':>7}{'probes':>8}{'exact ms':>10}{'ivf ms':>9}")
    for noise in NOISES:
        for items in arguments.parse_args().items or SIZES:
            compare(items, noise)


def compare(items: int, noise: float) -> None:
    """One line."""
    rng = np.random.default_rng(1)
    vectors = drawn(rng, items, noise)
    asked = vectors[rng.integers(0, items, QUERIES)].copy()
    asked[:, :WIDTH] += rng.normal(size=(QUERIES, WIDTH)).astype(np.float32) * 0.05
    asked[:, WIDTH] = 1
    exact = item_index.build(vectors, kind="flat")
    ivf = item_index.build(vectors, kind="ivf")
    tune(ivf, Best.of(vectors, asked), recall=RECALL)
    times = [
        (took(partial(exact.search, query, K)), took(partial(ivf.search, query, K)))
        for query in np.split(asked, QUERIES)
    ]
    of_exact, of_ivf = np.median(times, axis=0)
    line = f"{noise:>6}{items:>10,}{ivf.lists:>7}{ivf.probes:>8}{of_exact:>10.3f}{of_ivf:>9.3f}"
    print(line, flush=True)


def drawn(rng: np.random.Generator, items: int, noise: float) -> Vectors:
    """Directions around centres, and a bias behind each."""
    centres = rng.normal(size=(max(items // 100, 50), WIDTH))
    made = centres[rng.integers(0, len(centres), items)] + rng.normal(size=(items, WIDTH)) * noise
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return np.hstack((made, rng.normal(size=(items, 1)) * 0.05)).astype(np.float32)


def took(ask: Callable[[], object]) -> float:
    """Milliseconds of processor time."""
    began = time.thread_time()
    ask()
    return (time.thread_time() - began) * 1000


if __name__ == "__main__":
    main()

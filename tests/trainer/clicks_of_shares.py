"""Batches of clicks on items of known shares: what an estimator of Q is measured on."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def zipf(items: int) -> Doubles:
    """[items]: the share of each, ∝ 1 / rank."""
    weights = 1.0 / np.arange(1, items + 1)
    found: Doubles = weights / weights.sum()
    return found


def batches_of(shares: Doubles, sizes: list[int], *, seed: int = 0) -> Iterator[tuple[Ints, Ints]]:
    """Distinct items of each batch, and the clicks on each; a click is on item i with shares[i]."""
    rng, sums = np.random.default_rng(seed), np.cumsum(shares)
    for size in sizes:
        drawn = np.searchsorted(sums, rng.random(size) * sums[-1], side="right")
        yield np.unique(drawn, return_counts=True)

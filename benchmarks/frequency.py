"""How far the estimate of Q is from the truth, for every kind of estimator.

    python -m benchmarks.frequency [--batches 100] [--plot FILE]

Three tables, all on Zipf items (share ∝ 1 / rank) unless it is said:

1.  Mean error of log Q in nats, of the columns of batches of 256 that come after batches of 4,096:
    of the items that have the first, the second and the last third of all clicks. `in batches` is
    the estimator of before: gaps counted in batches, a first sighting told as the batch's mean.
2.  Distance (total variation) of the expected negative mass from that of the full softmax, by how
    columns are corrected; batches of 512, 5,000 items.
3.  The simulation of Yi et al. 2019, section 6.1: shares ∝ rank² that turn round in the middle.
    Distance of the estimate (sum of absolute errors) before, and soon after. --plot draws it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.train import keys_of_range
from tests.trainer.clicks_of_shares import Doubles, Ints, batches_of, zipf
from trainer.frequency import FrequencyEstimator, log_inclusion
from twintide.frequency import Exact, Hashed
from twintide.keys import Keys

mpl.use("Agg")

from matplotlib import pyplot as plt

Floats = npt.NDArray[np.float32]
Observe = Callable[[Keys, Ints], Floats]

SLOTS = 1 << 17
TURN, STEPS = 400, 800
"""Batches until the shares turn round, and in all."""


class InBatches:
    """The estimator of before, with a cell for each item."""

    def __init__(self, items: int) -> None:
        self._numbers = {key: row for row, key in enumerate(keys_of_range(items).tolist())}
        self._step = 0
        self._last, self._gap, self._seen = np.zeros((3, items))

    def observe(self, keys: Keys, _: Ints) -> Floats:
        rows = np.array([self._numbers[key] for key in keys.tolist()])
        self._step += 1
        seen = self._seen[rows]
        share = np.maximum(0.05, 1.0 / np.maximum(seen, 1)) * (seen > 0)
        self._gap[rows] += share * (self._step - self._last[rows] - self._gap[rows])
        self._last[rows], self._seen[rows] = self._step, seen + 1
        log_q = -np.log(np.maximum(self._gap[rows], 1.0))
        if (seen == 0).any() and (seen > 0).any():
            log_q[seen == 0] = log_q[seen > 0].mean()
        found: Floats = log_q.astype(np.float32)
        return found


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--batches", type=int, default=100)
    arguments.add_argument("--plot", type=Path, help="draw the third table to this file")
    chosen = arguments.parse_args()
    show_errors(chosen.batches)
    show_corrections()
    show_simulation(chosen.plot)


def contestants(items: int) -> dict[str, Observe]:
    """What is measured, by name."""
    hashed = {"hashed, 2": 2, "hashed, 4": 4}
    return {
        "in batches": InBatches(items).observe,
        "exact": FrequencyEstimator.fresh(Exact()).observe,
        **{
            name: FrequencyEstimator.fresh(_hashed(arrays, SLOTS)).observe
            for name, arrays in hashed.items()
        },
    }


def show_errors(batches: int) -> None:
    """The first table."""
    table = Table("items", "estimator", "head", "middle", "tail", title="error of log Q, nats")
    sizes = [4096] * batches + [256] * batches
    for items in (1_000, 100_000, 1_000_000):
        shares = zipf(items)
        for name, observe in contestants(items).items():
            errors = errors_of(observe, shares, sizes, after=batches)
            table.add_row(f"{items:,}", name, *(f"{each:+.2f}" for each in errors))
    Console().print(table)


def errors_of(observe: Observe, shares: Doubles, sizes: list[int], *, after: int) -> list[float]:
    """By thirds of the clicks, of the columns of batches from number `after` on."""
    every = keys_of_range(len(shares))
    part = np.minimum(np.cumsum(shares) * 3, 2.9).astype(int)
    sums, counts = np.zeros(3), np.zeros(3)
    for number, (held, clicks) in enumerate(batches_of(shares, sizes)):
        error = observe(every[held], clicks) - log_inclusion(shares[held], sizes[number])
        if number >= after:
            sums += np.bincount(part[held], error, minlength=3)
            counts += np.bincount(part[held], minlength=3)
    return [float(each) for each in sums / counts]


def show_corrections() -> None:
    """The second table."""
    items, rows = 5_000, 512
    shares, every = zipf(items), keys_of_range(items)
    estimator, mass = FrequencyEstimator.fresh(), np.zeros((4, items))
    for number, (held, clicks) in enumerate(batches_of(shares, [rows] * 8_000)):
        q = np.exp(estimator.observe(every[held], clicks).astype(np.float64))
        counts = -rows * np.expm1(np.log1p(-np.minimum(q, 1 - 1e-12)) / rows)
        if number >= 500:  # noqa: PLR2004
            for way, weights in enumerate((clicks, clicks / q, clicks / counts, 1 / q)):
                mass[way, held] += weights / weights.sum()
    distances = np.abs(mass / mass.sum(axis=1, keepdims=True) - 1 / items).sum(axis=1) / 2
    table = Table("columns", "distance", title="expected negative mass from the full softmax")
    names = ("not corrected", "duplicates, Q", "duplicates, expected count", "distinct, Q")
    for name, distance in zip(names, distances, strict=True):
        table.add_row(name, f"{distance:.3f}")
    Console().print(table)


def show_simulation(plot: Path | None) -> None:
    """The third table, and its plot."""
    rates = (0.005, 0.02, 0.1)
    runs = {
        f"exact, α = {rate}": FrequencyEstimator.fresh(Exact(learning_rate=rate)) for rate in rates
    }
    runs |= {
        f"hashed, m = {arrays}, α = 0.02": FrequencyEstimator.fresh(_hashed(arrays, 1 << 10, 0.02))
        for arrays in (1, 2, 4)
    }
    table = Table("estimator", "before", "soon after", "in the end", title="error of the shares")
    figure, axes = plt.subplots(figsize=(9, 5))
    for name, estimator in runs.items():
        errors = simulated(estimator)
        parts = (errors[TURN - 50 : TURN], errors[TURN : TURN + 50], errors[-50:])
        table.add_row(name, *(f"{part.mean():.3f}" for part in parts))
        axes.plot(errors, label=name)
    axes.set(xlabel="batches of 256 clicks", ylabel="sum of absolute errors", ylim=(0, 2))
    axes.legend()
    if plot:
        figure.savefig(plot, dpi=120)
    Console().print(table)


def simulated(estimator: FrequencyEstimator, *, items: int = 1_000) -> Doubles:
    """[STEPS]: the distance after each batch."""
    every, errors = keys_of_range(items), list[float]()
    weights = np.arange(1, items + 1) ** 2.0
    shares: Doubles = weights / weights.sum()
    for half, now in enumerate((shares, shares[::-1])):
        for held, clicks in batches_of(now, [256] * TURN, seed=half):
            estimator.observe(every[held], clicks)
            told = np.exp(estimator.expected(every, 1).astype(np.float64))
            errors.append(float(np.abs(told - now).sum()))
    return np.array(errors)


def _hashed(arrays: int, slots: int, learning_rate: float = 0.05) -> Hashed:
    return Hashed(kind="hashed", arrays=arrays, slots=slots, learning_rate=learning_rate)


if __name__ == "__main__":
    main()

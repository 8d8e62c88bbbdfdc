"""The estimator of Q against exact frequencies."""

import numpy as np
import pyarrow as pa
import pytest

from trainer.frequency import FrequencyEstimator
from twintide.keys import Keys, keys_of


def keys(count: int) -> Keys:
    return keys_of(pa.array(range(count)))


def batches_of(probabilities: np.ndarray, *, batches: int, seed: int = 0) -> list[np.ndarray]:
    """Which items each batch holds: item i with probability probabilities[i]."""
    rng = np.random.default_rng(seed)
    return [np.flatnonzero(rng.random(len(probabilities)) < probabilities) for _ in range(batches)]


def test_q_comes_to_the_exact_probability_of_being_in_a_batch() -> None:
    """Over a stationary stream, the mean of Q over time is within 5 % of the truth, for rare and
    for frequent items alike.
    """
    probabilities = np.array([1.0, 0.5, 0.2, 0.1, 0.05])
    every, estimator = keys(5), FrequencyEstimator.fresh(learning_rate=0.01)
    gaps: list[list[float]] = [[] for _ in probabilities]
    for number, held in enumerate(batches_of(probabilities, batches=20_000)):
        log_q = estimator.observe(every[held])
        if number > 4_000:
            for item, value in zip(held, log_q, strict=True):
                gaps[item].append(float(np.exp(-value)))

    for item, probability in enumerate(probabilities):
        assert np.mean(gaps[item]) == pytest.approx(1 / probability, rel=0.05)


def test_it_follows_an_item_whose_popularity_changes() -> None:
    """Ten times as frequent from one moment on: Q follows within some hundred sightings."""
    every, estimator = keys(1), FrequencyEstimator.fresh(learning_rate=0.05)
    for held in batches_of(np.array([0.05]), batches=4_000):
        estimator.observe(every[held])
    log_q = [estimator.observe(every[held]) for held in batches_of(np.array([0.5]), batches=600)]

    assert float(np.exp(np.concatenate(log_q)[-100:]).mean()) == pytest.approx(0.5, rel=0.2)


def test_it_is_algorithm_2_of_the_paper_step_by_step() -> None:
    """B ← (1−α)·B + α·(t − A); A ← t; Q = 1/B, with α = 1/n at first: a plain loop.

    A first sighting counts as the mean of the batch's known items.
    """
    rate, every = 0.1, keys(20)
    estimator = FrequencyEstimator.fresh(learning_rate=rate)
    last: dict[int, int] = {}
    gaps = dict.fromkeys(range(20), 0)
    gap = dict.fromkeys(range(20), 0.0)
    for step, held in enumerate(batches_of(np.linspace(0.1, 0.9, 20), batches=200), start=1):
        found = dict(zip(held.tolist(), estimator.observe(every[held]).tolist(), strict=True))
        expected = {}
        for item in found:
            if item in last:
                gaps[item] += 1
                alpha = max(rate, 1 / gaps[item])
                gap[item] = (1 - alpha) * gap[item] + alpha * (step - last[item])
                expected[item] = -np.log(gap[item])
            last[item] = step
        mean = np.mean(list(expected.values())) if expected else 0.0
        for item, value in found.items():
            assert value == pytest.approx(expected.get(item, mean), rel=1e-4, abs=1e-6)


def test_a_first_sighting_is_no_gap() -> None:
    """However late an item is born, it is as frequent as it is from its second sighting on."""
    every, estimator = keys(2), FrequencyEstimator.fresh()
    for _ in range(1_000):
        estimator.observe(every[:1])
    born = [estimator.observe(every)[1] for _ in range(3)]

    assert np.exp(born) == pytest.approx([1.0, 1.0, 1.0])


def test_collisions_are_outvoted() -> None:
    """Few slots, two hashes, the largest gap of both: the error stays small for most items."""
    probability, items = 0.02, 200
    roomy, tight = FrequencyEstimator.fresh(), FrequencyEstimator.fresh(slots=1024)
    every = keys(items)
    errors = [
        np.abs(roomy.observe(every[held]) - tight.observe(every[held]))
        for held in batches_of(np.full(items, probability), batches=3_000)
    ]

    assert float(np.mean(np.concatenate(errors[-200:]) > 0.3)) < 0.15


def test_what_was_saved_goes_on_as_if_nothing_had_happened() -> None:
    """Same estimates, to the bit, with and without a save in between."""
    every, first = keys(50), FrequencyEstimator.fresh()
    stream = batches_of(np.full(50, 0.3), batches=40)
    for held in stream[:20]:
        first.observe(every[held])
    second = FrequencyEstimator.from_arrays({n: a.copy() for n, a in first.arrays().items()})

    for held in stream[20:]:
        np.testing.assert_array_equal(first.observe(every[held]), second.observe(every[held]))

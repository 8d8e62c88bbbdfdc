"""How sure a share is, against a bootstrap over users."""

import numpy as np
import pytest

from evaluation.intervals import SURE, difference, share

ROUNDS = 2_000


def clustered(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits of two policies on 3,000 clicks of 200 users, who differ in how well they are served."""
    rng = np.random.default_rng(seed)
    active = rng.gamma(1.0, size=200)
    users = rng.choice(200, 3_000, p=active / active.sum())
    taste = rng.beta(1, 3, 200)[users]
    one, other = rng.random(3_000) < taste, rng.random(3_000) < 0.8 * taste
    return users, one[None].astype(np.float32), other[None].astype(np.float32)


def bootstrapped(values: np.ndarray, users: np.ndarray) -> float:
    """Standard error of a mean over clicks, users drawn by lot with their clicks."""
    rng = np.random.default_rng(0)
    clicks, sums = np.bincount(users), np.bincount(users, values)
    drawn = rng.integers(0, len(clicks), (ROUNDS, len(clicks)))
    return float((sums[drawn].sum(axis=1) / clicks[drawn].sum(axis=1)).std())


def test_an_interval_is_that_of_a_bootstrap_over_users() -> None:
    """Of a share, and of the difference of two that were measured on the same clicks."""
    users, one, other = clustered(3)

    found, less = share(one, users), difference(one, other, users)

    assert found is not None
    assert less is not None
    half = (found.high - found.low) / 2 / SURE
    assert half == pytest.approx(bootstrapped(one[0], users), rel=0.15)
    half = (less.high - less.low) / 2 / SURE
    assert half == pytest.approx(bootstrapped(one[0] - other[0], users), rel=0.15)
    assert less.value == pytest.approx(float(one.mean() - other.mean()), abs=1e-6)


def test_users_with_many_clicks_make_it_less_sure() -> None:
    """Ten clicks of one user tell less than ten of ten."""
    hits = np.array([[1, 0] * 50], np.float32)
    alone, together = share(hits, np.arange(100)), share(hits, np.arange(100) // 2 % 5)
    many = share(np.repeat(hits, 10, axis=1), np.repeat(np.arange(100), 10))

    assert alone is not None
    assert together is not None
    assert many is not None
    assert many.rounded() == pytest.approx(alone.rounded(), abs=1e-6)


def test_nothing_found_is_not_surely_nothing() -> None:
    """None of 20 users' clicks were found: the share may well be a tenth."""
    found = share(np.zeros((1, 40), np.float32), np.arange(40) % 20)

    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.1 < found.high < 0.25
    assert share(np.zeros((1, 0), np.float32), np.zeros(0, np.int64)) is None


def test_seeds_that_disagree_make_it_less_sure() -> None:
    """What lies between them joins what lies between users."""
    users = np.arange(1_000)
    low, high = np.arange(1_000) % 10 < 2, np.arange(1_000) % 10 < 4
    same = share(np.stack([low, low]).astype(np.float32), users)
    apart = share(np.stack([low, high]).astype(np.float32), users)

    assert same is not None
    assert apart is not None
    assert apart.high - apart.low > 3 * (same.high - same.low)

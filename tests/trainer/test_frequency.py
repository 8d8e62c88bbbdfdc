"""The estimator of Q against exact frequencies."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from tests.trainer.clicks_of_shares import Doubles, batches_of, zipf
from trainer.frequency import FrequencyEstimator
from twintide.frequency import Estimated, Exact, Hashed
from twintide.keys import Keys, keys_of
from twintide.rowstore import Parts

BOTH = [Exact(), Hashed(kind="hashed", slots=1 << 16)]
IDS = ["exact", "hashed"]


def keys(count: int) -> Keys:
    return keys_of(pa.array(range(count)))


def q_of(shares: Doubles, rows: int) -> Doubles:
    """The truth: probability that a batch holds an item."""
    found: Doubles = 1.0 - (1.0 - shares) ** rows
    return found


def errors_by_part(
    estimator: FrequencyEstimator, shares: Doubles, sizes: list[int], *, after: int
) -> list[float]:
    """Mean error of log Q, in nats, of columns of batches from number `after` on: of the items that
    have the first, the second and the last third of all clicks.
    """
    every, part = keys(len(shares)), np.minimum(np.cumsum(shares) * 3, 2.9).astype(int)
    errors: list[list[Doubles]] = [[], [], []]
    for number, (held, clicks) in enumerate(batches_of(shares, sizes)):
        error = estimator.observe(every[held], clicks) - np.log(q_of(shares[held], sizes[number]))
        if number >= after:
            for each in range(3):
                errors[each].append(error[part[held] == each])
    return [float(np.concatenate(each).mean()) for each in errors]


@pytest.mark.parametrize("declared", BOTH, ids=IDS)
def test_q_comes_to_the_exact_probability_of_being_in_a_batch(declared: Estimated) -> None:
    """Over a stationary stream the mean of 1 / Q over time is within 5 % of the truth, for rare and
    for frequent items alike.
    """
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.03, 0.02])
    every, estimator = keys(6), FrequencyEstimator.fresh(declared)
    inverse: list[list[float]] = [[] for _ in shares]
    for number, (held, clicks) in enumerate(batches_of(shares, [8] * 3_000)):
        log_q = estimator.observe(every[held], clicks)
        if number > 300:
            for item, value in zip(held, log_q, strict=True):
                inverse[item].append(float(np.exp(-value)))

    for item, q in enumerate(q_of(shares, 8)):
        assert np.mean(inverse[item]) == pytest.approx(1 / q, rel=0.05)


@pytest.mark.parametrize("declared", BOTH, ids=IDS)
def test_batches_of_any_size_tell_the_same_rate(declared: Estimated) -> None:
    """Nights of 4,096 clicks a batch, then hours of 256 and of 31: no part of the items is off by
    as much as 0.1 nats from the first of them on. Counted in batches, head and tail were 1.2 apart.
    """
    sizes = [4096] * 40 + [256, 31] * 40
    errors = errors_by_part(FrequencyEstimator.fresh(declared), zipf(1000), sizes, after=40)

    assert np.abs(errors).max() < 0.1


@pytest.mark.parametrize(("items", "most"), [(1_000, 0.1), (100_000, 2.0)])
def test_the_tail_is_not_taken_for_the_middle(items: int, most: float) -> None:
    """Of a hundred thousand items a batch has some that were never there before, which count as the
    batch's others do, so that the tail as a whole seems more frequent than it is.
    """
    sizes = [4096] * 60 + [256] * 60
    head, middle, tail = errors_by_part(FrequencyEstimator.fresh(), zipf(items), sizes, after=60)

    assert max(abs(head), abs(middle)) < 0.1
    assert abs(tail) < most


def test_what_is_born_popular_is_not_taken_for_rare() -> None:
    """An item of which the batch that first holds it has several clicks is as frequent as these
    say; one that has a single click, as those before it turned out to be: items that come and stay
    frequent let the next be thought so, however long the stream has been.
    """
    rng, estimator = np.random.default_rng(2), FrequencyEstimator.fresh()
    every, said = keys(2_000), list[float]()
    for step in range(800):
        # Item 0 has half of the clicks; each item after it lives for ten batches, with 2 %.
        living = np.arange(max(1, step - 9), step + 1)
        shares = np.concatenate(([1 - 0.02 * len(living)], np.full(len(living), 0.02)))
        drawn = rng.choice(len(shares), 64, p=shares)
        place, clicks = np.unique(drawn, return_counts=True)
        held = np.concatenate(([0], living))[place]
        log_q = estimator.observe(every[held], clicks)
        if step > 300:
            said += log_q[(held == step)].tolist()

    assert len(said) > 300
    assert np.mean(said) == pytest.approx(np.log(q_of(np.array([0.02]), 64)[0]), abs=0.35)


def test_it_follows_an_item_whose_popularity_changes() -> None:
    """Ten times as frequent from one moment on: Q follows within some hundred clicks."""
    every, estimator = keys(2), FrequencyEstimator.fresh()
    for held, clicks in batches_of(np.array([0.01, 0.99]), [8] * 1_000):
        estimator.observe(every[held], clicks)
    said = [
        estimator.observe(every[held], clicks)[held == 0]
        for held, clicks in batches_of(np.array([0.1, 0.9]), [8] * 600)
    ]

    late = np.exp(-np.concatenate(said)[-200:])
    assert 1 / late.mean() == pytest.approx(1 - 0.9**8, rel=0.2)


def test_it_is_algorithm_2_of_the_paper_click_by_click() -> None:
    """B ← (1−α)·B + α·(t − A); A ← t; p = 1/B, with α = 1/n at first: a plain loop over the clicks,
    where those of one batch share the time since the last one evenly.
    """
    rate, rows = 0.1, 16
    shares, every = zipf(12), keys(12)
    estimator = FrequencyEstimator.fresh(Exact(learning_rate=rate))
    last: dict[int, int] = {}
    gaps: dict[int, int] = defaultdict(int)
    gap: dict[int, float] = {}
    for step, (held, clicks) in enumerate(batches_of(shares, [rows] * 120), start=1):
        found = estimator.observe(every[held], clicks)
        for item, count, value in zip(held.tolist(), clicks.tolist(), found.tolist(), strict=True):
            if item not in last:
                gap[item], gaps[item] = rows / count, count - 1
            else:
                own = (step * rows - last[item]) / count
                weight = 1.0
                for _ in range(count):
                    weight *= 1 - rate
                plain = count / (gaps[item] + count)
                gap[item] += max(plain, 1 - weight) * (own - gap[item])
                gaps[item] += count
            if item in last or count > 1:
                q = 1 - (1 - 1 / max(gap[item], 1)) ** rows
                assert value == pytest.approx(np.log(q), rel=1e-4, abs=1e-5)
            last[item] = step * rows


def simulated(declared: Estimated, *, items: int = 200, steps: int = 150) -> tuple[float, float]:
    """Section 6.1 of Yi et al. 2019: shares that turn round in the middle. The distance of the
    estimate from the truth soon after that, and its floor, before.
    """
    every, weights = keys(items), np.arange(1, items + 1) ** 2.0
    shares: Doubles = weights / weights.sum()
    estimator, distance = FrequencyEstimator.fresh(declared), [list[float](), list[float]()]
    for half, now in enumerate((shares, shares[::-1])):
        for step, (held, clicks) in enumerate(batches_of(now, [256] * steps, seed=half)):
            estimator.observe(every[held], clicks)
            if (step < steps // 5) if half else (step >= steps - steps // 5):
                told = np.exp(estimator.expected(every, 1).astype(np.float64))
                distance[half].append(np.abs(told - now).sum())
    before, after = map(np.mean, distance)
    return float(after), float(before)


def test_a_larger_learning_rate_adapts_faster_and_has_a_higher_floor() -> None:
    """As in figure 2 of the paper: after the shares turned round, and before."""
    slow, fast = (simulated(Exact(learning_rate=each)) for each in (0.01, 0.2))

    assert fast[0] < slow[0]
    assert fast[1] > slow[1]


def test_several_hashes_are_better_than_one_and_one_for_each_item_is_best() -> None:
    """As in figure 3 of the paper, with slots of which a third collide."""
    one, four = (
        simulated(Hashed(kind="hashed", arrays=each, slots=1024), items=600)[1] for each in (1, 4)
    )
    exact = simulated(Exact(), items=600)[1]

    assert exact < four < one


def test_the_distances_of_the_three_ways_to_correct_are_those_of_the_field() -> None:
    """Expected negative mass against the true full softmax, Zipf items, batches of 512, in total
    variation: nothing corrected; columns for all duplicates with the probability of being there,
    and with expected counts; one column for each distinct item, with Q.
    """
    shares, every = zipf(5_000), keys(5_000)
    estimator, mass = FrequencyEstimator.fresh(), np.zeros((4, 5_000))
    for number, (held, clicks) in enumerate(batches_of(shares, [512] * 500)):
        q = np.exp(estimator.observe(every[held], clicks).astype(np.float64))
        rate = -np.expm1(np.log1p(-np.minimum(q, 1 - 1e-12)) / 512)
        if number >= 200:
            for way, weights in enumerate((clicks, clicks / q, clicks / (512 * rate), 1 / q)):
                mass[way, held] += weights / weights.sum()
    distances = np.abs(mass / mass.sum(axis=1, keepdims=True) - 1 / 5_000).sum(axis=1) / 2

    plain, with_q, with_counts, distinct = distances
    assert max(with_counts, distinct) < with_q < plain
    assert max(with_counts, distinct) < 0.3 * plain


def test_items_that_were_not_clicked_for_longest_are_forgotten_first() -> None:
    """A catalogue without end takes no more than is declared; what stays is as it was."""
    bounded, free = (FrequencyEstimator.fresh(Exact(most_items=each)) for each in (1024, 5_000))
    every = keys(4_000)
    for begin in range(100, 4_000, 100):
        held = np.concatenate((np.arange(50), np.arange(begin, begin + 100)))
        for each in (bounded, free):
            each.observe(every[held], np.ones(150, np.int64))
    popular, newest, oldest = every[:50], every[3_950:], every[100:101]

    assert len(bounded.cells.store) <= 1024 < len(free.cells.store)
    for kept in (popular, newest):
        assert bounded.expected(kept, 64).tolist() == free.expected(kept, 64).tolist()
    assert bounded.cells.known(oldest).tolist() == [[0]]


@pytest.mark.parametrize("declared", BOTH, ids=IDS)
def test_what_was_saved_goes_on_as_if_nothing_had_happened(declared: Estimated) -> None:
    """Same estimates, to the bit, with and without a save in between; of another kind, or of what
    an older program saved, one begins anew.
    """
    every, first = keys(50), FrequencyEstimator.fresh(declared)
    stream = list(batches_of(zipf(50), [20] * 40))
    for held, clicks in stream[:20]:
        first.observe(every[held], clicks)
    saved = Parts({}, first.parts().whole())
    second = FrequencyEstimator.from_parts(declared, saved)
    other = BOTH[1 - BOTH.index(declared)]
    older = Parts({}, {"estimator.step": np.ones(1), "estimator.mean_gap": np.ones((2, 8))})

    assert FrequencyEstimator.from_parts(other, saved).clicks == 0
    assert FrequencyEstimator.from_parts(declared, older).clicks == 0
    for held, clicks in stream[20:]:
        one, two = (each.observe(every[held], clicks) for each in (first, second))
        np.testing.assert_array_equal(one, two)
    for name, array in first.parts().whole().items():
        np.testing.assert_array_equal(array, second.parts().whole()[name])


def test_newcomers_are_as_the_batch_or_as_they_were_counted() -> None:
    """A declaration says which of the two Q of a first click is. Nothing else differs, before or
    after: what is counted is the same, and so is Q of all other items.
    """
    shares, every = zipf(3_000), keys(3_000)
    as_batch = FrequencyEstimator.fresh(Exact(newcomers="as_batch"))
    counted = FrequencyEstimator.fresh(Exact(newcomers="counted"))
    seen = np.zeros(3_000, np.int64)
    for held, clicks in batches_of(shares, [256] * 40):
        mean, own = (each.observe(every[held], clicks) for each in (as_batch, counted))
        once = (seen[held] == 0) & (clicks == 1)
        seen[held] += clicks

        assert np.array_equal(mean[~once], own[~once])
        if 0 < once.sum() < len(once):
            assert mean[once] == pytest.approx(mean[~once].mean(), rel=1e-5)
            assert np.exp(own[once]) == pytest.approx(
                1.0 - (1.0 - counted.newcomers.rate(counted.clicks)) ** 256, rel=1e-4
            )

    stand = [each.parts().whole() for each in (as_batch, counted)]
    assert all(np.array_equal(stand[0][name], stand[1][name]) for name in stand[0])

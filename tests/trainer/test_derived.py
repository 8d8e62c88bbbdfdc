"""Histories and item statistics against plain loops; nothing ever sees the future."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from twintide.derived.clicks import (
    Events,
    ItemClicks,
    bucket_minutes,
    statistics_at,
)
from twintide.derived.histories import Histories
from twintide.features.item_statistics import ItemStatistics
from twintide.ragged import Ids

HOUR_MS = 3_600_000
SPEC = ItemStatistics(kind="item_statistics", name="statistics", windows_minutes=(60, 1440))


def random_clicks(count: int, seed: int, *, begin_ms: int = 0, span_ms: int = 2_000) -> Events:
    """Few users and coarse times, so that ties and repeated users abound; user 0 is anonymous."""
    rng = np.random.default_rng(seed)
    return Events(
        users=rng.integers(0, 12, count).astype(np.uint64),
        items=rng.integers(1, 40, count).astype(np.uint64),
        at_ms=np.sort(begin_ms + rng.integers(0, span_ms, count) // 10 * 10),
        unit_ms=np.full(count, begin_ms),
    )


def as_lists(ids: Ids) -> list[list[int]]:
    return [
        [int(key) for key in ids.keys[begin:end]]
        for begin, end in zip(ids.offsets[:-1], ids.offsets[1:], strict=True)
    ]


def plain_histories(
    batches: list[Events], counts: list[npt.NDArray[np.bool_]], length: int
) -> list[list[int]]:
    """For each event of the last batch: a loop over all before it that count, lists cut to
    `length`.
    """
    kept: dict[int, list[tuple[int, int]]] = {}
    for batch, count in zip(batches[:-1], counts[:-1], strict=True):
        _keep(kept, batch.where(count), length)
    last, clicked = batches[-1], batches[-1].where(counts[-1])
    found = []
    for user, at_ms in zip(last.users, last.at_ms, strict=True):
        own = kept.get(int(user), []) + [
            (int(t), int(i))
            for u, i, t in zip(clicked.users, clicked.items, clicked.at_ms, strict=True)
            if u == user
        ]
        before = [item for t, item in sorted(own, key=lambda entry: entry[0]) if t < at_ms]
        found.append(before[-length:] if user else [])
    return found


def _keep(kept: dict[int, list[tuple[int, int]]], batch: Events, length: int) -> None:
    for user, item, at_ms in zip(batch.users, batch.items, batch.at_ms, strict=True):
        if user:
            kept.setdefault(int(user), []).append((int(at_ms), int(item)))
    for user, entries in kept.items():
        kept[user] = sorted(entries, key=lambda entry: entry[0])[-length:]


def some_of(events: Events, seed: int) -> npt.NDArray[np.bool_]:
    """Which are clicks: all with an even seed, about half with an odd one."""
    drawn: npt.NDArray[np.bool_] = np.random.default_rng(seed).random(len(events)) < 0.5
    return drawn | (seed % 2 == 0)


@pytest.mark.parametrize("seed", range(20))
def test_histories_equal_a_plain_loop(seed: int) -> None:
    """Over several batches with ties, anonymous users and late clicks; what is no click is told of
    clicks, and tells nothing.
    """
    batches = [
        random_clicks(40, seed),
        random_clicks(25, seed + 100, begin_ms=1_500),  # some of it is late
        random_clicks(30, seed + 200, begin_ms=1_800),
    ]
    counts = [some_of(batch, seed) for batch in batches]
    state = Histories(5)
    for number, batch in enumerate(batches):
        found = as_lists(state.before(batch, counts[number]))
        assert found == plain_histories(batches[: number + 1], counts[: number + 1], 5)
        state.add(batch.where(counts[number]))
        users = state.arrays()["users"].tolist()
        assert users == sorted(users)


@pytest.mark.promise("T9")
def test_a_history_never_holds_a_click_of_the_same_or_a_later_moment() -> None:
    """Moved one millisecond later, a click leaves the history of the click it was before."""
    user = np.array([7, 7], np.uint64)
    items = np.array([1, 2], np.uint64)

    def second_history(first_ms: int) -> list[int]:
        order = np.argsort([first_ms, 1_000], kind="stable")
        clicks = Events(
            user, items[order], np.array([first_ms, 1_000])[order], np.zeros(2, np.int64)
        )
        found = as_lists(Histories(5).before(clicks, np.ones(2, np.bool_)))
        return found[int(np.flatnonzero(order == 1)[0])]

    assert second_history(999) == [1]
    assert second_history(1_000) == []
    assert second_history(1_001) == []


@pytest.mark.promise("T11")
@pytest.mark.parametrize("seed", range(20))
def test_histories_are_the_same_however_many_units_are_folded_in_at_once(seed: int) -> None:
    """One unit at a time, all at once, or some: with late clicks, ties, short histories, and events
    that are no clicks.
    """
    rng = np.random.default_rng(seed)
    units = [
        random_clicks(15, seed * 50 + number, begin_ms=number * 300 - int(rng.integers(0, 400)))
        for number in range(8)
    ]
    one_by_one, state = [], Histories(3)
    for unit in units:
        one_by_one += as_lists(state.before(unit, some_of(unit, seed)))
        state.add(unit.where(some_of(unit, seed)))

    for cuts in ([0, 8], [0, 3, 8], [0, 1, 2, 7, 8]):
        found, other = [], Histories(3)
        for begin, end in itertools.pairwise(cuts):
            several = together(units[begin:end], first=begin)
            counts = np.concatenate([some_of(unit, seed) for unit in units[begin:end]])
            found += as_lists(other.before(several, counts))
            other.add(several.where(counts))
        assert found == one_by_one
        for name, array in state.arrays().items():
            np.testing.assert_array_equal(other.arrays()[name], array)


def together(units: list[Events], *, first: int) -> Events:
    """Events of several units, numbered from `first`."""
    return Events(
        users=np.concatenate([unit.users for unit in units]),
        items=np.concatenate([unit.items for unit in units]),
        at_ms=np.concatenate([unit.at_ms for unit in units]),
        unit_ms=np.repeat(first + np.arange(len(units)), [len(unit) for unit in units]),
    )


def statistics_of(
    state: ItemClicks, first_seen_ms: list[int], now_ms: int
) -> npt.NDArray[np.float32]:
    """Of every item at one instant."""
    items = np.arange(len(first_seen_ms))
    return statistics_at(state, items, np.array(first_seen_ms), np.full(len(items), now_ms), SPEC)


def test_statistics_equal_a_plain_count() -> None:
    """Log share of each window before the instant, without its own bucket; trend, age, newness."""
    rng = np.random.default_rng(4)
    items, at_ms = rng.integers(0, 5, 300), np.sort(rng.integers(0, 30 * HOUR_MS, 300))
    first_seen = [int(at_ms[items == item].min()) for item in range(5)]
    state = ItemClicks()
    for begin in range(0, 300, 50):
        state.add(items[begin : begin + 50], at_ms[begin : begin + 50], SPEC)
    now_ms = 29 * HOUR_MS

    found = statistics_of(state, first_seen, now_ms)

    for item in range(5):
        shares = []
        for window in (1 * HOUR_MS, 24 * HOUR_MS):
            inside = (at_ms >= now_ms - window) & (at_ms < now_ms)
            share = (inside & (items == item)).sum() / inside.sum()
            shares.append(np.log1p(1000 * share) / 3)
        age = np.log1p((now_ms - first_seen[item]) / HOUR_MS) / 4
        np.testing.assert_allclose(found[item], [*shares, shares[0] - shares[1], age, 0], rtol=1e-5)


@pytest.mark.promise("T9")
def test_statistics_never_see_the_bucket_that_they_are_as_of() -> None:
    """A click one millisecond before the instant counts; at the instant it does not."""
    width_ms = bucket_minutes(SPEC) * 60_000

    def share(click_ms: int) -> float:
        state = ItemClicks()
        state.add(np.array([0]), np.array([click_ms]), SPEC)
        return float(statistics_of(state, [0], 10 * width_ms)[0, 0])

    assert share(10 * width_ms - 1) > 0
    assert share(10 * width_ms) == 0


def test_clicks_that_no_window_reaches_are_dropped() -> None:
    """The state stays as large as the longest window, not as long as the stream."""
    state = ItemClicks()
    for day in range(10):
        at_ms = np.arange(24) * HOUR_MS + day * 24 * HOUR_MS
        state.add(np.zeros(24, np.int64), at_ms, SPEC)
        state.drop_out_of_reach(int(at_ms[-1]), SPEC)

    assert len(state) <= 24 + 3

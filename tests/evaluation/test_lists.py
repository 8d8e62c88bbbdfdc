"""Baseline lists and metrics against plain counts."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from evaluation.decays import HALF_LIVES_MS, Decays
from evaluation.lists import HOUR_MS, LAST_ITEMS, SMOOTHING, ClickCounts, co_visited, neighbours
from evaluation.policies import beside_each_other, parse_policy
from twintide.errors import Refused
from twintide.keys import Keys
from twintide.ragged import Ids

NOW_MS = 100 * HOUR_MS


def keys(*values: int) -> Keys:
    return np.array(values, np.uint64)


def histories(lists: list[list[int]]) -> Ids:
    flat = [key for each in lists for key in each]
    return Ids(keys(*flat), np.cumsum([0, *map(len, lists)]))


@pytest.fixture
def stream() -> list[tuple[int, int, int]]:
    """(item, item before or 0, ms) of 2,000 clicks over 100 hours."""
    rng = np.random.default_rng(7)
    at_ms = np.sort(rng.integers(0, NOW_MS, 2_000))
    return [
        (int(i), int(b), int(t))
        for i, b, t in zip(
            rng.zipf(1.4, 2_000) % 40 + 1, rng.integers(0, 10, 2_000), at_ms, strict=True
        )
    ]


@pytest.fixture
def counts(stream: list[tuple[int, int, int]]) -> ClickCounts:
    found = ClickCounts()
    for begin in range(0, len(stream), 100):
        part = stream[begin : begin + 100]
        found.add(
            keys(*(item for item, _, _ in part)),
            histories([[before] if before else [] for _, before, _ in part]),
            np.array([at_ms for _, _, at_ms in part]),
        )
    found.tick(NOW_MS)
    return found


@pytest.mark.parametrize(
    ("name", "hours"),
    [("popular-all-time", 1000), ("popular-24h", 24), ("popular-3h", 3), ("popular-10min", 1 / 6)],
)
def test_popular_lists_are_the_most_clicked_of_their_window(
    counts: ClickCounts, stream: list[tuple[int, int, int]], name: str, hours: float
) -> None:
    """Ties go to the smaller key, so that a list is the same every time."""
    clicked = Counter(item for item, _, at_ms in stream if at_ms >= NOW_MS - hours * HOUR_MS)
    expected = sorted(clicked, key=lambda item: (-clicked[item], item))[:10]

    assert counts.popular(name, now_ms=NOW_MS, k=10).tolist() == expected


def test_clicks_decay_at_the_pace_that_has_found_most(
    counts: ClickCounts, stream: list[tuple[int, int, int]]
) -> None:
    """Against a plain loop over all half-lives; lists are judged by what came after them alone."""
    decays, weights, found = Decays(), dict[tuple[int, int], float](), Counter[int]()
    lists: dict[int, list[int]] = {}
    for begin in range(0, len(stream), 100):
        part, now = stream[begin : begin + 100], stream[begin][2]
        decays.tick(now)
        for half_life in HALF_LIVES_MS:
            weights = {
                (half_life, item): sum(
                    0.5 ** ((now - at) / half_life) for one, _, at in stream[:begin] if one == item
                )
                for item in {one for one, _, _ in stream[:begin]}
            }
            ranked = sorted(weights, key=lambda pair: (-weights[pair], pair[1]))
            lists[half_life] = [item for _, item in ranked[:10]]
            found[half_life] += sum(item in lists[half_life] for item, _, _ in part)
        decays.add(keys(*(item for item, _, _ in part)), np.array([at for _, _, at in part]))

    decays.tick(NOW_MS)
    best = max(HALF_LIVES_MS, key=lambda half_life: found[half_life])
    expected = defaultdict[int, float](float)
    for item, _, at in stream:
        expected[item] += 0.5 ** ((NOW_MS - at) / best)

    assert decays.half_life_ms == best
    ranked_items = sorted(expected, key=lambda item: -expected[item])
    assert decays.popular.best(10).tolist() == ranked_items[:10]


def followers(stream: list[tuple[int, int, int]], since_ms: int) -> Counter[tuple[int, int]]:
    """How often the second item was clicked after the first."""
    return Counter(
        (before, item) for item, before, at in stream if at >= since_ms and 0 != before != item
    )


def test_co_visitation_is_the_smoothed_share_of_what_followed(
    counts: ClickCounts, stream: list[tuple[int, int, int]]
) -> None:
    """Against a plain loop; who has no history, or one that nothing followed, gets the popular."""
    pairs = followers(stream, NOW_MS - counts.pairs_ms)
    popular = counts.decays.popular
    of_all = dict(zip(popular.items.tolist(), popular.weights.tolist(), strict=True))

    def score(item: int) -> float:
        share: float = of_all.get(item, 0.0) / sum(of_all.values())
        return pairs[3, item] + SMOOTHING * share

    expected = sorted({*of_all, *(item for _, item in pairs)}, key=lambda one: (-score(one), one))
    together = counts.together(1, now_ms=NOW_MS)
    lists = co_visited(histories([[5, 3], [], [777]]), together, popular, k=8)

    assert lists[0].tolist() == expected[:8]
    assert lists[1].tolist() == lists[2].tolist() == popular.best(8).tolist()


def test_neighbours_are_by_the_cosine_of_what_was_clicked_together(
    counts: ClickCounts, stream: list[tuple[int, int, int]]
) -> None:
    """Against a plain loop over pairs; half as much for the item before the last."""
    pairs = followers(stream, NOW_MS - counts.pairs_ms)
    out, into = Counter[int](), Counter[int]()
    for (before, item), count in pairs.items():
        out[before] += count
        into[item] += count

    def near(item: int) -> float:
        return sum(
            share * pairs[last, item] / math.sqrt(out[last] * into[item])
            for last, share in ((3, 1.0), (5, 0.5))
            if pairs[last, item]
        )

    expected = sorted({item for _, item in pairs if near(item)}, key=lambda one: (-near(one), one))
    together = counts.together(LAST_ITEMS, now_ms=NOW_MS)
    lists = neighbours(histories([[5, 3], []]), together, counts.decays.popular, k=6)

    popular = counts.decays.popular.best(6).tolist()
    filled = expected + [item for item in popular if item not in expected]
    assert lists[0].tolist() == filled[:6]
    assert lists[1].tolist() == popular


def test_baselines_are_made_anew_as_often_as_the_quickest_model() -> None:
    """Or every hour, where there is none."""
    named = [parse_policy(name) for name in ("popular-1h", "nightly+hourly", "10min")]

    assert [each.cadence_minutes for each in beside_each_other(named)] == [10, 60, 10]
    assert beside_each_other(named[:1])[0].refresh_minutes == 60


def test_an_unknown_policy_is_refused_with_those_that_there_are() -> None:
    """A cadence must divide an hour."""
    for name in ("weekly", "7min", "0min"):
        with pytest.raises(Refused, match=name) as refusal:
            parse_policy(name)
        assert "nightly+hourly" in refusal.value.hint
    assert parse_policy("10min").cadence_minutes == 10

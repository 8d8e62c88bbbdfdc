"""Baseline lists and metrics against plain counts."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from evaluation.clicked import Clicked
from evaluation.decays import HALF_LIVES_MS, Decays
from evaluation.diversity import ItemSpace
from evaluation.lists import HOUR_MS, LAST_ITEMS, SMOOTHING, ClickCounts, co_visited, neighbours
from evaluation.metrics import MISSED, Groups, Tally, positions_of
from evaluation.policies import beside_each_other, parse_policy
from evaluation.seen import Seen
from trainer.epoch import Rows
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


def test_recall_precision_and_position_are_what_their_names_say() -> None:
    """Four positives: first, tenth, eleventh, missed."""
    lists = np.arange(1, 101, dtype=np.uint64)[None, :].repeat(4, axis=0)
    positions = positions_of(keys(1, 10, 11, 999), lists)
    tally = Tally()
    tally.add(positions)

    assert positions.tolist() == [0, 9, 10, MISSED]
    assert tally.summary() == {
        "positives": 4,
        "recall@10": 0.5,
        "recall@50": 0.75,
        "recall@100": 0.75,
        "precision@10": 0.05,
        "precision@50": 0.015,
        "precision@100": 0.0075,
        "mean_position": pytest.approx((1 + 10 + 11) / 3, abs=1e-6),
    }


def test_head_and_tail_part_the_positives() -> None:
    """Whatever is not head is tail."""
    head = np.array([True, False, False])
    groups = Groups(new_user=head, anonymous=~head, new_item=head, head=head).named()

    assert (groups["head"] ^ groups["tail"]).all()


def test_an_anonymous_click_is_of_no_known_user() -> None:
    """Nor of a new one, however many came before: each click is of just one of the three."""
    rows = Rows("a slice", np.arange(4), np.zeros(4, np.int64), keys(1, 2, 3, 4), {}, {})
    seen = Seen()
    clicked = Clicked(rows, keys(0, 7, 0, 8))
    seen.learn(clicked, None)

    groups = seen.groups(Clicked(rows, keys(0, 7, 9, 0))).named()

    assert groups["anonymous_users"].tolist() == [True, False, False, True]
    assert groups["known_users"].tolist() == [False, True, False, False]
    assert groups["new_users"].tolist() == [False, False, True, False]


def test_the_distance_within_a_list_is_the_mean_over_its_pairs() -> None:
    """Against a loop over pairs; unknown items and missing places are left out."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(20, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    space = ItemSpace("v000001", np.arange(1, 21, dtype=np.uint64), vectors.astype(np.float32))
    lists = np.array([[3, 7, 9, 0], [1, 1000, 2, 4], [5, 0, 0, 0]], np.uint64)

    expected = []
    for row in lists[:2]:
        known = [vectors[int(key) - 1] for key in row if 1 <= key <= 20]
        pairs = [1 - a @ b for i, a in enumerate(known) for b in known[:i]]
        expected.append(np.mean(pairs))
    found = space.distances(lists)

    np.testing.assert_allclose(found[:2], expected, rtol=1e-5)
    assert np.isnan(found[2])


def test_an_unknown_policy_is_refused_with_those_that_there_are() -> None:
    """A cadence must divide an hour."""
    for name in ("weekly", "7min", "0min"):
        with pytest.raises(Refused, match=name) as refusal:
            parse_policy(name)
        assert "nightly+hourly" in refusal.value.hint
    assert parse_policy("10min").cadence_minutes == 10

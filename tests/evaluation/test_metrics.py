"""How good lists are, against plain loops."""

import numpy as np
import pytest

from evaluation.clicked import Clicked
from evaluation.diversity import WIDTH, ItemSpace, directions
from evaluation.metrics import MISSED, Groups, Tally, positions_of
from evaluation.seen import Seen
from trainer.epoch import Rows
from twintide.keys import Keys


def keys(*values: int) -> Keys:
    return np.array(values, np.uint64)


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


def test_head_middle_and_tail_part_the_positives() -> None:
    """What is neither head nor middle is tail; what is not long is short."""
    head, middle = np.array([True, False, False]), np.array([False, True, False])
    groups = Groups(
        new_user=head, anonymous=~head, new_item=head, head=head, middle=middle, long_history=head
    ).named()

    parts = [groups[name].astype(int) for name in ("head", "middle", "tail")]
    assert np.sum(parts, axis=0).tolist() == [1, 1, 1]
    assert (groups["long_histories"] ^ groups["short_histories"]).all()


def test_an_anonymous_click_is_of_no_known_user() -> None:
    """Nor of a new one, however many came before: each click is of just one of the three."""
    rows = Rows("a slice", np.arange(4), np.zeros(4, np.int64), keys(1, 2, 3, 4), {}, {})
    seen = Seen()
    clicked = Clicked(rows, keys(0, 7, 0, 8))
    seen.learn(clicked, None)

    groups = seen.groups(Clicked(rows, keys(0, 7, 9, 0)), None).named()

    assert groups["anonymous_users"].tolist() == [True, False, False, True]
    assert groups["known_users"].tolist() == [False, True, False, False]
    assert groups["new_users"].tolist() == [False, False, True, False]


def test_the_distance_within_a_list_is_the_mean_over_its_pairs() -> None:
    """Against a loop over pairs; unknown items and missing places are left out. It is learnt in
    whatever pieces.
    """
    rng = np.random.default_rng(1)
    items, users = rng.integers(1, 21, 400).astype(np.uint64), rng.integers(0, 30, 400)
    space, by_hand = ItemSpace(), np.zeros((21, WIDTH))
    for part in np.array_split(np.arange(400), 7):
        space.learn(items[part], users[part].astype(np.uint64))
    for item, user in zip(items.tolist(), users.tolist(), strict=True):
        by_hand[item] += directions(np.array([user], np.uint64))[0]
    vectors = by_hand / np.maximum(np.linalg.norm(by_hand, axis=1, keepdims=True), 1)
    lists = np.array([[3, 7, 9, 0], [1, 1000, 2, 4], [5, 0, 0, 0]], np.uint64)

    expected = []
    for row in lists[:2]:
        known = [vectors[int(key)] for key in row if 1 <= key <= 20]
        pairs = [1 - a @ b for i, a in enumerate(known) for b in known[:i]]
        expected.append(np.mean(pairs))
    found = space.distances(lists)

    np.testing.assert_allclose(found[:2], expected, rtol=1e-5)
    assert np.isnan(found[2])


def test_items_of_the_same_users_are_near() -> None:
    """And those of others are as far as can be, but for chance."""
    users = np.arange(1, 901, dtype=np.uint64)
    space = ItemSpace()
    for item, who in ((1, users[:300]), (2, users[:300]), (3, users[300:600])):
        space.learn(np.full(300, item, np.uint64), who)

    near, far = space.distances(np.array([[1, 2], [1, 3]], np.uint64)).tolist()

    assert near == pytest.approx(0, abs=1e-5)
    assert far == pytest.approx(1, abs=0.5)

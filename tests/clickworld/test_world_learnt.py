"""What the line learns of a world, against what the world knows to be right."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clickworld.learnt import HARD, SMALL, TAGS, Learnt, World, some_users

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]  # each learns the world twice

Learn = Callable[..., Learnt]
ITEM = {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"}


@pytest.fixture(scope="module")
def world() -> World:
    return World.of()


@pytest.fixture
def learn(world: World, tmp_path: Path) -> Learn:
    """The world as it is learnt by the quickstart with these keys of its model."""
    made = 0

    def learn(**model: Any) -> Learnt:
        nonlocal made
        made += 1
        folder = tmp_path / str(made)
        folder.mkdir()
        return Learnt.by(world, folder, {"model": model})

    return learn


def test_with_logq_the_true_order_of_items_is_found_better(world: World, learn: Learn) -> None:
    """Without it an item that is popular is a negative more often and sinks. Of each user's 100
    truly best of some 1,000 living items, and in the order of all of them.
    """
    users = some_users(world, 100)

    corrected, not_corrected = learn(), learn(logq=False)

    assert corrected.of_the_best(users) > 1.05 * not_corrected.of_the_best(users)
    assert corrected.agreement(users) > 1.05 * not_corrected.agreement(users)


def test_a_list_with_weights_says_more_where_some_of_it_is_wrong(
    world: World, learn: Learn
) -> None:
    """Each item has four tags that are wrong and of little confidence. Items that nobody has
    clicked are known by their tags alone.
    """
    users, unclicked = some_users(world), world.unclicked()
    own = [ITEM, {"kind": "item_statistics", "name": "statistics"}]

    plain = learn(candidate=[*own, TAGS["varlen"]])
    weighted = learn(candidate=[*own, TAGS["weighted_varlen"]])

    found = weighted.of_the_best(users, among=unclicked)
    assert found > 1.1 * plain.of_the_best(users, among=unclicked)


def test_hard_negatives_find_new_items_where_they_count_little(world: World, learn: Learn) -> None:
    """What pre-ranking and ranking dropped of a request was nearly right in this world, so at a
    share of 0.2 they cost a tenth of all clicks at most, and tell new items apart by content.
    """
    users, unclicked = some_users(world), world.unclicked()

    easy, hard = learn(), learn(negatives=[{"kind": "in_batch"}, HARD | {"share": 0.2}])

    found = hard.of_the_best(users, among=unclicked)
    assert found > 1.1 * easy.of_the_best(users, among=unclicked)
    assert hard.finds()[1].mean() > 0.9 * easy.finds()[1].mean()


def test_weights_of_a_request_move_retrieval_from_clicked_to_liked_items(tmp_path: Path) -> None:
    """In a world of clickbait one version finds more of what is truly clicked, or more of what is
    truly liked for one that is, as a request asks; what lies between them lies between.
    """
    world = World.of(replace(SMALL, bait_strength=1.0))
    users = some_users(world, 100)
    objectives = {"click": {}, "like": {"positive": {"column": "liked"}, "weight": 3.0}}

    learnt = Learnt.by(world, tmp_path, {"model": {"objectives": objectives}})

    def found(*, liked: bool, **weights: float) -> float:
        return learnt.of_the_best(users, liked=liked, objectives=weights)

    def bait(**weights: float) -> float:
        shown = [learnt.answers(user, objectives=weights) for user in users.tolist()]
        return float((world.truth.items.bait(np.concatenate(shown)) > 0).mean())

    def liked_for_one_clicked(**weights: float) -> float:
        return found(liked=True, **weights) / found(liked=False, **weights)

    assert found(liked=False, click=1) > 1.1 * found(liked=False, like=1)
    assert liked_for_one_clicked(like=1) > 1.1 * liked_for_one_clicked(click=1)
    assert bait(click=1) > 0.8 > bait(click=1, like=3) > bait(like=1)

"""What a dual augmented tower learns beside the loss, against plain loops in float64."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from trainer.epoch import Rows
from trainer.labels import Labels
from trainer.learner import Learner
from trainer.rates import Rates
from twintide.features.kind import SIDES
from twintide.keys import NO_KEY, Keys
from twintide.model.towers.dat import alignment, auxiliary, mimic
from twintide.model.towers.seen import Seen
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded, one_id_each
from twintide.towers import Dat, Place, Shape

Doubles = npt.NDArray[np.float64]
WIDTH = 5
ITEMS = 12
CLICKS = np.array([3, 0, 3, 7, 11, 1, 3])
CATEGORIES = np.array([4, 4, 9, 4, 9, 2, 4, NO_KEY, 9, 7, 2, NO_KEY], np.uint64)
"""Four of 4, three of 9, two of 2, one of 7, two of none."""


def drawn(rows: int, width: int = WIDTH, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64)


def test_the_mimic_loss_draws_augmented_vectors_to_what_the_other_side_made_of_their_clicks() -> (
    None
):
    """Mean over the clicks; a row clicked three times is drawn three times, one never clicked is
    not, and the other side's vectors learn nothing by it.
    """
    augmented, other = drawn(ITEMS).requires_grad_(), drawn(len(CLICKS), seed=2).requires_grad_()

    value = mimic(augmented, torch.from_numpy(CLICKS), other)
    value.backward()

    rows, vectors = augmented.detach().numpy(), other.detach().numpy()
    expected, slopes = 0.0, np.zeros_like(rows)
    for click, item in enumerate(CLICKS):
        expected += float(((rows[item] - vectors[click]) ** 2).sum()) / len(CLICKS)
        slopes[item] += 2 * (rows[item] - vectors[click]) / len(CLICKS)
    assert augmented.grad is not None
    assert float(value.detach()) == pytest.approx(expected, abs=1e-12)
    assert np.allclose(augmented.grad.numpy(), slopes, atol=1e-12)
    assert not augmented.grad[2].any()
    assert other.grad is None


def plain_alignment(vectors: Doubles) -> float:
    """Item by item: the covariances of 4, the largest, and of 9 and 2; no others."""
    found = {}
    for category in (4, 9, 2):
        own = [vectors[item] for item in range(ITEMS) if CATEGORIES[item] == category]
        mean = sum(own) / len(own)
        found[category] = sum(np.outer(each - mean, each - mean) for each in own) / (len(own) - 1)
    return float(np.mean([np.square(found[4] - found[small]).sum() for small in (9, 2)]))


def test_the_alignment_is_how_far_covariances_are_from_that_of_the_largest_category() -> None:
    """Value against a plain loop, gradient against its small steps; items without a category, or
    alone in theirs, are left where they are.
    """
    vectors = drawn(ITEMS).requires_grad_()

    value = alignment(vectors, CATEGORIES)
    value.backward()

    plain = vectors.detach().numpy().copy()
    slopes = np.zeros_like(plain)
    for at in np.ndindex(plain.shape):
        up, down = plain.copy(), plain.copy()
        up[at] += 1e-5
        down[at] -= 1e-5
        slopes[at] = (plain_alignment(up) - plain_alignment(down)) / 2e-5
    assert vectors.grad is not None
    assert float(value.detach()) == pytest.approx(plain_alignment(plain), abs=1e-12)
    assert np.allclose(vectors.grad.numpy(), slopes, atol=1e-6)
    assert not vectors.grad[[7, 9, 11]].any()


def test_however_large_categories_are_the_alignment_is_that_of_their_covariances() -> None:
    """Of one to forty items each, against autograd through torch's own covariances."""
    sizes = [1, 2, 3, 5, 8, 21, 40]
    categories = np.random.default_rng(4).permutation(np.repeat(np.arange(1, 8), sizes))
    vectors = drawn(len(categories)).requires_grad_()
    again = vectors.detach().clone().requires_grad_()

    alignment(vectors, categories.astype(np.uint64)).backward()
    each = [torch.cov(again[categories == number].T) for number in range(2, 8)]
    torch.stack([(one - each[-1]).square().sum() for one in each[:-1]]).mean().backward()

    assert vectors.grad is not None
    assert again.grad is not None
    assert torch.allclose(vectors.grad, again.grad, atol=1e-12)


@pytest.mark.parametrize("categories", [[5] * ITEMS, [NO_KEY] * ITEMS, range(1, ITEMS + 1)])
def test_without_two_categories_of_two_items_there_is_nothing_to_align(categories: Any) -> None:
    """Of one category, of none, or each item of its own."""
    value = alignment(drawn(ITEMS).requires_grad_(), np.array(categories, np.uint64))

    assert float(value.detach()) == 0.0


def seen_by(side: Any, inputs: torch.Tensor) -> Seen:
    """The augmented vector is what the tower gives: only the two losses matter here."""
    rows = None if side == "query" else torch.from_numpy(CLICKS)
    vectors = inputs if side == "candidate" else inputs[: len(CLICKS)]
    return Seen(
        vectors,
        {"augmented": Place(0, WIDTH)},
        {"category": one_id_each(CATEGORIES)},
        vectors,
        row_P=rows,
        other_PD=drawn(len(CLICKS), seed=2),
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("learns_dense", [True, False])
def test_by_the_hour_the_mimic_loss_goes_on_and_the_alignment_does_not(
    side: Any, *, learns_dense: bool
) -> None:
    """The alignment is of the candidate's vectors, and where towers are frozen it would move items
    for what else is in their batch.
    """
    shape = Shape(side, {"augmented": Place(0, WIDTH), "category": Place(WIDTH, 1)}, WIDTH)
    declared = Dat(mimic_weight=0.5, category="category", alignment_weight=3.0)
    seen = seen_by(side, drawn(ITEMS))

    value = float(auxiliary(declared, shape, seen, learns_dense=learns_dense))

    expected = 0.5 * float(mimic(seen.vectors_RD, seen.row_P, seen.other_PD))
    if side == "candidate" and learns_dense:
        expected += 3.0 * plain_alignment(seen.vectors_RD.numpy())
    assert value == pytest.approx(expected, abs=1e-12)


def spec_of(objectives: dict[str, Any] | None = None, **tower: Any) -> ModelSpec:
    declared = {
        "objectives": objectives or {},
        "embedding_width": 8,
        "output_width": 8,
        "tower": {"kind": "dat", "hidden": [16], **tower},
        "query": [
            {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
            {"kind": "sparse", "name": "augmented", "column": "user_id", "table": "user_augmented"},
        ],
        "candidate": [
            {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
            {"kind": "sparse", "name": "augmented", "column": "item_id", "table": "item_augmented"},
            {"kind": "sparse", "name": "category", "column": "category", "table": "category"},
        ],
    }
    return ModelSpec.model_validate_json(json.dumps(declared))


def ids(*numbers: int) -> Keys:
    return np.array(numbers, np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def some_rows() -> Rows:
    """Forty clicks of eight users on ten items of two categories."""
    numbers = np.arange(40)
    users, items = ids(*(1 + numbers % 8)), ids(*(1 + numbers * 7 % 10))
    query: Encoded = {"user": one_id_each(users), "augmented": one_id_each(users)}
    candidate: Encoded = {
        "item": one_id_each(items),
        "augmented": one_id_each(items),
        "category": one_id_each(ids(*(1 + (numbers * 7 % 10) // 5))),
    }
    nothing = np.zeros(40, np.int64)
    return Rows("clicks", nothing, nothing, items, query, candidate)


def learnt(spec: ModelSpec, *, rounds: int, dense: float | None) -> Learner:
    """Every click so many times, in one batch."""
    learner, rows = Learner.untrained(spec, seed=2), some_rows()
    rates = Rates(spec.learning_tables(), 0.1, dense, batch_rows=40)
    learner.grow(rows, rates)
    list(learner.learn(rows, [np.arange(40)] * rounds, rates, seed=1))
    return learner


@pytest.mark.long
def test_augmented_rows_become_what_the_other_tower_makes_of_their_clicks() -> None:
    """With towers that are frozen, too: a user's row comes to the mean of the vectors of the items
    that the user clicked, an item's to that of its users.
    """
    learner = learnt(spec_of(mimic_weight=20.0), rounds=400, dense=None)
    model, rows = learner.model, some_rows()

    vectors = {"query": model.query_vectors(rows.query)[:, :8]}
    vectors["candidate"] = model.candidate_vectors(rows.candidate)[:, :8]
    for name, other, own in (
        ("user_augmented", "candidate", rows.query["user"]),
        ("item_augmented", "query", rows.candidate["item"]),
    ):
        keys = own.keys  # type: ignore[union-attr]
        table = model.tables[name]
        for key in np.unique(keys):
            mean = vectors[other][keys == key].mean(axis=0)
            row = table.weights[table.rows_of(np.array([key]))].cpu()
            assert np.allclose(row, mean, atol=0.05)


def test_what_is_no_positive_is_not_mimicked() -> None:
    """The rows of users who have none stay as they began, though they are in the batch."""
    rows = some_rows()
    positive = np.arange(40) % 8 < 4  # of the users 1 to 4
    learner = learnt(spec_of(), rounds=0, dense=None)
    before = learner.arrays()["table.user_augmented.weights"].copy()
    rates = Rates(learner.model.spec.learning_tables(), 0.1, None, batch_rows=40)

    labelled = replace(rows, labels={"click": Labels(positive)})
    list(learner.learn(labelled, [np.arange(40)], rates, seed=1))

    table = learner.model.tables["user_augmented"]
    moved = (table.weights.cpu().numpy() != before).any(axis=1)
    assert moved[table.rows_of(ids(1, 2, 3, 4))].all()
    assert not moved[table.rows_of(ids(5, 6, 7, 8))].any()


def test_what_learns_a_number_is_not_mimicked() -> None:
    """Who left after a second is not to become alike what was left."""
    objectives = {"stayed": {"loss": {"kind": "log_mse", "column": "watch_seconds"}}}
    rows = replace(some_rows(), labels={"stayed": Labels(targets=np.ones(40, np.float32))})
    made = []
    for weight in (0.0, 20.0):
        learner = learnt(spec_of(objectives, mimic_weight=weight), rounds=0, dense=None)
        rates = Rates(learner.model.spec.learning_tables(), 0.1, 1e-3, batch_rows=40)
        list(learner.learn(rows, [np.arange(40)], rates, seed=1))
        made.append(learner.arrays())

    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.parametrize(("dense", "moves"), [(None, False), (1e-3, True)])
def test_what_the_alignment_weighs_matters_where_towers_learn(
    dense: float | None, *, moves: bool
) -> None:
    """Of an hour's result no bit depends on it."""
    plain, aligned = (
        learnt(spec_of(category=each), rounds=3, dense=dense).arrays()
        for each in (None, "category")
    )

    differing = [name for name in plain if not np.array_equal(plain[name], aligned[name])]
    assert bool(differing) == moves


def test_an_unknown_id_has_the_default_row_for_an_augmented_vector() -> None:
    """A new user is served from it and from what else is known."""
    model = learnt(spec_of(), rounds=3, dense=1e-3).model
    encoded: Encoded = {"user": one_id_each(ids(1, 99)), "augmented": one_id_each(ids(1, 99))}

    inputs = model.pooled(encoded, model.rows_of(encoded, "query"), "query")

    place = model.spec.shape("query").places["augmented"]
    assert inputs[0, place.columns].any()
    assert torch.equal(inputs[1, place.columns], model.tables["user_augmented"].weights[0])


def test_a_version_carries_the_augmented_table_of_the_query_side() -> None:
    """And that of the items no more than any table of theirs: their vectors are in the index."""
    arrays = learnt(spec_of(), rounds=1, dense=None).model.arrays(("query",))

    assert "table.user_augmented.weights" in arrays
    assert "table.item_augmented.weights" not in arrays

"""Each loss through the kernel, against a plain double loop over rows and columns in float64."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer import kernel
from trainer.choices import Choices, Lists, draw
from trainer.kernel import chunked_loss
from trainer.losses import function_of
from twintide.losses import AnyLoss, Bce, Bpr, Hinge, Logistic, LogMse, Loss, Mse, Softmax

ROWS, COLUMNS, WIDTH = 7, 5, 3
LEAVES = ("query", "candidate", "bias", "log_scale")

Plain = Callable[[Tensor, Tensor], Tensor]
"""The value of one row, from the logit of its positive and those [N] of its negatives."""


def softmax(positive: Tensor, negatives: Tensor) -> Tensor:
    return (positive.exp() + negatives.exp().sum()).log() - positive


def bce(positive: Tensor, negatives: Tensor) -> Tensor:
    return -1.7 * positive.sigmoid().log() - (1 - negatives.sigmoid()).log().sum()


def hinge(positive: Tensor, negatives: Tensor) -> Tensor:
    return (0.6 + negatives - positive).clamp(min=0).mean()


def logistic(positive: Tensor, negatives: Tensor) -> Tensor:
    return (1 + (negatives - positive).exp()).log().mean()


def bpr(positive: Tensor, negatives: Tensor) -> Tensor:
    return -(positive - negatives).sigmoid().log().mean()


PLAIN: dict[str, tuple[Loss, Plain]] = {
    "softmax": (Softmax(), softmax),
    "bce": (Bce(kind="bce", gamma=1.2, positive_weight=1.7), bce),
    "hinge": (Hinge(kind="hinge", margin=0.6), hinge),
    "logistic": (Logistic(kind="logistic", sigma=0.7), logistic),
    "bpr": (Bpr(kind="bpr"), bpr),
}
of_every_loss = pytest.mark.parametrize(("loss", "plain"), PLAIN.values(), ids=PLAIN)


@dataclass(frozen=True)
class Case:
    """A batch of random vectors."""

    choices: Choices
    leaves: dict[str, Tensor]
    chunk_elements: int

    def value(self, loss: Loss) -> Tensor:
        """Ours."""
        return chunked_loss(
            self.leaves["query"],
            self.leaves["candidate"],
            bias_U=self.leaves["bias"],
            log_scale=self.leaves["log_scale"],
            choices=self.choices,
            loss=function_of(loss),
            sharpness=loss.sharpness(),
        )

    def plain_value(self, loss: Loss, plain: Plain) -> Tensor:
        """Term by term; autograd gives its gradients."""
        total = torch.zeros((), dtype=torch.float64)
        for row, target in enumerate(self.choices.target.tolist()):
            scores = self._scores(row, loss)
            log_q = [0.0] * len(scores)
            if self.choices.log_q is not None:
                log_q = self.choices.log_q.tolist()
            weight = 1.0 if self.choices.weights is None else float(self.choices.weights[row])
            positive = scores[target] - log_q[target]
            negatives = [scores[each] - log_q[each] for each in self._negatives(row, target)]
            hard = [scores[each] - log_q[target] for each in self._hard(row)]
            share = self.choices.hard_share if hard else 0.0
            if negatives:
                total = total + weight * (1 - share) * plain(positive, torch.stack(negatives))
            if hard:
                total = total + weight * share * plain(positive, torch.stack(hard))
        return total / len(self.choices.target)

    def _scores(self, row: int, loss: Loss) -> list[Tensor]:
        scores = []
        for column in range(len(self.leaves["candidate"])):
            cosine = self.leaves["query"][row] @ self.leaves["candidate"][column]
            score = self.leaves["log_scale"].exp() * cosine + self.leaves["bias"][column]
            scores.append(loss.sharpness() * score)
        return scores

    def _hard(self, row: int) -> list[int]:
        hard = self.choices.hard
        columns: list[int] = [] if hard is None else hard.between(row, row + 1)[1].tolist()
        return columns

    def _negatives(self, row: int, target: int) -> list[int]:
        forbidden, is_open = self.choices.forbidden, self.choices.open
        lists = () if forbidden is None else forbidden.between(row, row + 1)[1]
        columns = range(len(self.leaves["candidate"]))
        allowed = [
            each
            for each in columns
            if each != target and each not in lists and (is_open is None or is_open[each])
        ]
        if not allowed or self.choices.drawn is None:
            return allowed
        drawn: list[int] = self.choices.drawn[row].tolist()
        assert set(drawn) <= set(allowed)
        return drawn

    def gradients(self, value: Tensor) -> dict[str, Tensor]:
        """Three times those of the value."""
        for leaf in self.leaves.values():
            leaf.grad = None
        (3 * value).backward()
        return {
            name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            for name, leaf in self.leaves.items()
        }


def case(
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
    opens: list[int] | None = None,
    forbids: dict[int, list[int]] | None = None,
    hard: dict[int, list[int]] | None = None,
    weighted: bool = False,
    drawn: int | None = None,
    logq: bool = True,
    chunk_elements: int = 1 << 21,
) -> Case:
    """`opens`: columns for all; `forbids`, `hard`: row -> columns that it may not have as
    negatives, or has as hard ones.
    """
    rng = np.random.default_rng(3)
    choices = Choices(
        np.arange(rows) % columns,
        log_q=-np.abs(rng.standard_normal(columns)) if logq else None,
        open=np.isin(np.arange(columns), opens) if opens is not None else None,
        forbidden=lists(rows, forbids) if forbids is not None else None,
        hard=lists(rows, hard) if hard is not None else None,
        hard_share=0.3,
        weights=2 * rng.random(rows) if weighted else None,
    )
    if drawn is not None:
        keys = np.arange(columns).astype(np.uint64)
        choices = replace(choices, drawn=draw(choices, keys, drawn))

    def leaf(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape))

    leaves = {
        "query": F.normalize(leaf(rows, WIDTH), dim=1),
        "candidate": F.normalize(leaf(columns, WIDTH), dim=1),
        "bias": leaf(columns),
        "log_scale": torch.tensor(math.log(1 / 0.2), dtype=torch.float64),
    }
    leaves = {name: tensor.requires_grad_() for name, tensor in leaves.items()}
    return Case(choices, leaves, chunk_elements)


def lists(rows: int, forbids: dict[int, list[int]]) -> Lists:
    each = [forbids.get(row, []) for row in range(rows)]
    columns = np.array([column for some in each for column in some], np.int64)
    return Lists(columns, np.cumsum([0, *map(len, each)]))


SOME = {1: [0, 4], 4: [2], 6: [4, 0, 3]}
ALL = {row: [each for each in range(COLUMNS) if each != row % COLUMNS] for row in range(ROWS)}
HARD = {0: [3, 1], 3: [4], 5: [1, 2, 3, 4]}
NONE_FOR_TWO = {2: ALL[2], 5: ALL[5], 6: [3]}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "without log Q": {"logq": False},
    "weights": {"weighted": True},
    "one row": {"rows": 1},
    "two columns": {"columns": 2},
    "a mask": {"forbids": SOME},
    "a mask and weights": {"forbids": SOME, "weighted": True},
    "two rows without a negative": {"forbids": NONE_FOR_TWO, "weighted": True},
    "drawn": {"drawn": 3},
    "one drawn": {"drawn": 1, "weighted": True},
    "more drawn than there are": {"drawn": 9, "forbids": SOME},
    "drawn, two rows without a negative": {"drawn": 3, "forbids": NONE_FOR_TWO},
    "chunks of one row": {"chunk_elements": 1, "forbids": NONE_FOR_TWO, "weighted": True},
    "chunks of two rows": {"chunk_elements": 2 * COLUMNS, "forbids": SOME, "weighted": True},
    "chunks of two rows, drawn": {"chunk_elements": 2 * COLUMNS, "drawn": 2, "weighted": True},
    "some columns open": {"opens": [1, 3, 4], "weighted": True},
    "some columns open, of them drawn": {"opens": [1, 3, 4], "forbids": {1: [4]}, "drawn": 3},
    "a mask that is not open": {"opens": [1, 3], "forbids": SOME},
    "hard": {"hard": HARD},
    "hard, without log Q": {"hard": HARD, "logq": False},
    "hard and nothing open": {"hard": HARD, "opens": [], "weighted": True},
    "hard, some columns open, drawn": {"hard": HARD, "opens": [1, 3, 4], "drawn": 2},
    "hard and a mask": {"hard": HARD, "forbids": SOME, "weighted": True},
    "hard in chunks of two rows": {"hard": HARD, "opens": [2], "chunk_elements": 2 * COLUMNS},
}


def test_every_declared_loss_is_tested_here() -> None:
    """A kind that joins the declaration joins this file."""
    tested = {type(loss) for loss, _ in PLAIN.values()} | {Mse, LogMse}
    assert tested == set(get_args(get_args(AnyLoss)[0]))


@pytest.mark.parametrize("said", [{}, {"weighted": True}], ids=["plain", "weights"])
@pytest.mark.parametrize("loss", [Mse(kind="mse", column="s"), LogMse(kind="log_mse", column="s")])
def test_a_number_is_learnt_by_each_rows_own_score_alone(loss: Loss, said: dict[str, Any]) -> None:
    """Value and gradients against a plain loop: no other column, no log Q, nothing forbidden, and
    a batch of one item teaches as well.
    """
    for columns in (COLUMNS, 1):
        batch = case(columns=columns, **said)
        numbers = loss.scaled(np.linspace(0, 90, ROWS).astype(np.float32)).astype(np.float64)
        batch = replace(batch, choices=replace(batch.choices, numbers=numbers))
        leaves, choices = batch.leaves, batch.choices

        expected = torch.zeros((), dtype=torch.float64)
        for row, target in enumerate(choices.target.tolist()):
            product = leaves["query"][row] @ leaves["candidate"][target]
            score = leaves["log_scale"].exp() * product + leaves["bias"][target]
            weight = 1.0 if choices.weights is None else float(choices.weights[row])
            expected = expected + weight * (score - float(numbers[row])) ** 2 / ROWS

        value = batch.value(loss)
        assert value.item() == pytest.approx(expected.item(), rel=1e-9)
        found, right = batch.gradients(value), batch.gradients(expected)
        for name in LEAVES:
            torch.testing.assert_close(found[name], right[name], rtol=1e-6, atol=1e-9)


def test_a_duration_is_learnt_as_its_logarithm() -> None:
    """log(1 + x), of nothing less than 0."""
    logs = LogMse(kind="log_mse", column="s").scaled(np.array([-3.0, 0.0, np.e - 1], np.float32))
    assert logs == pytest.approx([0, 0, 1])


@pytest.mark.parametrize("said", CASES.values(), ids=CASES)
@of_every_loss
def test_value_and_gradients_equal_a_plain_double_loop(
    loss: Loss, plain: Plain, said: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is forbidden, drawn or weighted, and however large a chunk is; mean over rows."""
    batch = case(**said)
    monkeypatch.setattr(kernel, "CHUNK_ELEMENTS", batch.chunk_elements)

    value, expected = batch.value(loss), batch.plain_value(loss, plain)

    assert value.item() == pytest.approx(expected.item(), rel=1e-9)
    found, right = batch.gradients(value), batch.gradients(expected)
    for name in LEAVES:
        torch.testing.assert_close(found[name], right[name], rtol=1e-6, atol=1e-9)


NOTHING: dict[str, dict[str, Any]] = {
    "one column": {"columns": 1},
    "one row and column": {"columns": 1, "rows": 1},
    "drawn of one column": {"columns": 1, "drawn": 2},
    "all forbidden": {"forbids": ALL},
    "drawn where all are forbidden": {"forbids": ALL, "drawn": 2, "weighted": True},
}


@pytest.mark.parametrize("said", NOTHING.values(), ids=NOTHING)
@of_every_loss
def test_without_a_negative_nothing_is_learnt(
    loss: Loss, plain: Plain, said: dict[str, Any]
) -> None:
    """A positive that stands against nothing says nothing: value and gradients are 0."""
    del plain
    batch = case(**said)
    value = batch.value(loss)

    assert value.item() == 0.0
    for gradient in batch.gradients(value).values():
        assert not gradient.any()


@pytest.mark.parametrize("size", [1e3, 1e30])
@pytest.mark.parametrize("drawn", [None, 2])
@of_every_loss
def test_huge_scores_stay_finite(loss: Loss, plain: Plain, size: float, drawn: int | None) -> None:
    """In float32, as training has it, where exp of a score would be infinite."""
    del plain
    batch = case(drawn=drawn, logq=False)
    leaves = {name: leaf.detach().float() for name, leaf in batch.leaves.items()}
    leaves["bias"] = torch.tensor([-1.0, 1.0, -1.0, 1.0, 0.0]) * size
    batch = replace(batch, leaves={name: each.requires_grad_() for name, each in leaves.items()})

    value = batch.value(loss)

    assert math.isfinite(value.item())
    assert value.item() >= size / ROWS  # three of seven rows are 2 · size behind
    for gradient in batch.gradients(value).values():
        assert gradient.isfinite().all()


def test_what_is_drawn_is_even_among_what_is_allowed() -> None:
    """Never a row's own column or a forbidden one, and every other equally often."""
    choices = Choices(np.array([0, 3, 2]), forbidden=lists(3, {1: [0, 4], 2: [4]}))
    drawn = draw(choices, np.arange(5).astype(np.uint64), 60_000)

    some_open = replace(choices, open=np.array([True, True, False, False, True]))
    of_open = draw(some_open, np.arange(5).astype(np.uint64), 60_000)

    for found, right in (
        (drawn, ([1, 2, 3, 4], [1, 2], [0, 1, 3])),
        (of_open, ([1, 4], [1], [0, 1])),
    ):
        for row, allowed in enumerate(right):
            columns, counts = np.unique(found[row], return_counts=True)
            assert columns.tolist() == allowed
            expected = 60_000 / len(allowed)
            assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


def test_what_is_drawn_is_a_function_of_the_batch() -> None:
    """The same for whoever learns it again, and another for another batch."""
    keys = np.arange(50).astype(np.uint64)
    one, other = Choices(np.arange(20)), Choices(np.arange(1, 21))

    assert np.array_equal(draw(one, keys, 3), draw(one, keys, 3))
    assert not np.array_equal(draw(one, keys, 3), draw(other, keys, 3))
    assert not np.array_equal(draw(one, keys, 3), draw(one, keys + np.uint64(1), 3))


ITEMS = 4
P = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
Q = torch.tensor([4, 2, 1, 1], dtype=torch.float64) / 8


def pull(loss: Loss, logits: Tensor, *, logq: bool, p: Tensor = P) -> Tensor:
    """[ITEMS]: the gradient of the expected loss where item i is clicked with probability p[i] and
    is a negative with probability Q[i], at the scores that sharpness makes these of. The losses are
    convex in them, so where nothing pulls they are the best.
    """
    drawn = np.tile([0, 0, 0, 0, 1, 1, 2, 3], (ITEMS, 1))  # as often as Q says
    scores = (logits / loss.sharpness()).requires_grad_()
    chunked_loss(
        torch.zeros(ITEMS, 1, dtype=torch.float64),
        torch.zeros(ITEMS, 1, dtype=torch.float64),
        bias_U=scores,
        log_scale=torch.zeros((), dtype=torch.float64),
        choices=Choices(
            np.arange(ITEMS),
            log_q=Q.log().numpy() if logq else None,
            drawn=drawn,
            weights=ITEMS * p.numpy(),
        ),
        loss=function_of(loss),
        sharpness=loss.sharpness(),
    ).backward()
    assert scores.grad is not None
    return scores.grad


@pytest.mark.parametrize("kind", ["bce", "logistic", "bpr"])
def test_with_logq_scores_come_out_at_how_probable_a_click_is(kind: str) -> None:
    """At log p, whatever the items' popularity as negatives; without it at log(p / Q). So minus log
    Q is right for point- and pair-wise losses as it is for the softmax, and is not scaled by gamma
    or sigma.
    """
    loss = PLAIN[kind][0]
    level = math.log(1.7 / 8) if kind == "bce" else 0.3  # weight of a click over 8 negatives; any

    assert pull(loss, P.log() + level, logq=True).abs().max() < 1e-12
    assert pull(loss, (P / Q).log() + level, logq=False).abs().max() < 1e-12
    assert pull(loss, P.log() + level, logq=False).abs().max() > 1e-2


def test_with_logq_a_hinge_tells_popular_from_rare() -> None:
    """Where items are negatives as often as they are clicked it is otherwise blind to how often:
    minus log Q lets the margin grow with how much more often the clicked one is.
    """
    loss = PLAIN["hinge"][0]

    assert pull(loss, Q.log(), logq=True, p=Q).abs().max() < 1e-12
    assert pull(loss, torch.zeros_like(Q), logq=False, p=Q).abs().max() < 1e-12
    assert pull(loss, Q.log(), logq=False, p=Q).abs().max() > 1e-2


def _sampled(corrected: str, *, batches: int = 3000) -> float:
    """Mean distance (total variation) of the negative mass that sampled batches put on each item
    from that of the full softmax; items are Zipf, a batch holds 64 draws, the scores are those of
    the full model.
    """
    items, draws = 300, 64
    generator = torch.Generator().manual_seed(11)
    popularity = 1.0 / torch.arange(1, items + 1, dtype=torch.float64)
    popularity /= popularity.sum()
    scores = torch.randn(items, generator=generator, dtype=torch.float64)
    inclusion = 1 - (1 - popularity) ** draws
    log_q = {
        "no correction": torch.zeros(items, dtype=torch.float64),
        "right": inclusion.log(),
        "wrong sign": -inclusion.log(),
        "divided by the temperature": inclusion.log() / 0.2,
    }[corrected]
    mass = torch.zeros(items, dtype=torch.float64)
    for _ in range(batches):
        drawn = torch.multinomial(popularity, draws, replacement=True, generator=generator).unique()
        # The gradient of the loss with respect to the bias is what each column gets as a negative.
        bias = scores[drawn].clone().requires_grad_()
        loss = chunked_loss(
            torch.zeros(1, 2, dtype=torch.float64),
            torch.zeros(len(drawn), 2, dtype=torch.float64),
            bias_U=bias,
            log_scale=torch.zeros((), dtype=torch.float64),
            choices=Choices(np.zeros(1, np.int64), log_q=log_q[drawn].numpy()),
            loss=function_of(Softmax()),
        )
        loss.backward()
        assert bias.grad is not None
        mass[drawn] += bias.grad
        mass[drawn[0]] += 1.0  # the target's own minus one
    return float((mass / batches - scores.softmax(0)).abs().sum() / 2)


@pytest.mark.long
def test_logq_brings_the_sampled_softmax_to_the_full_one() -> None:
    """Right: minus log Q, after the temperature. The usual mistakes are far worse: it can fail."""
    right = _sampled("right")

    assert right < 0.08
    assert _sampled("no correction") > 3 * right
    assert _sampled("wrong sign") > 3 * right
    assert _sampled("divided by the temperature") > 3 * right

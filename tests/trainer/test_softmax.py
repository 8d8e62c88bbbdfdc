"""The loss against a plain double loop, and the logQ correction against the full softmax."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from trainer import softmax
from trainer.softmax import sampled_softmax_loss

ROWS, COLUMNS, WIDTH = 7, 5, 3


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return {
        "query_BD": F.normalize(random(ROWS, WIDTH), dim=1),
        "candidate_UD": F.normalize(random(COLUMNS, WIDTH), dim=1),
        "bias_U": random(COLUMNS),
        "log_scale": torch.tensor(math.log(1 / 0.2), dtype=torch.float64),
        "target_B": torch.tensor([0, 1, 2, 3, 4, 0, 1]),
        "log_q_U": -random(COLUMNS).abs(),
    }


def plain_loss(inputs: dict[str, Tensor]) -> float:
    """Term by term: the mean over rows of log Σ exp(logit) − logit of the target."""
    scale = math.exp(inputs["log_scale"].item())
    total = 0.0
    for row, target in enumerate(inputs["target_B"].tolist()):
        logits = [
            scale * float(inputs["query_BD"][row] @ inputs["candidate_UD"][column])
            + float(inputs["bias_U"][column])
            - float(inputs["log_q_U"][column])
            for column in range(COLUMNS)
        ]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[target]
    return total / ROWS


def test_the_loss_equals_a_plain_double_loop(inputs: dict[str, Tensor]) -> None:
    """Temperature first, then bias, then minus log Q; mean over rows."""
    assert float(sampled_softmax_loss(**inputs)) == pytest.approx(plain_loss(inputs), rel=1e-12)


@pytest.mark.parametrize("chunk_elements", [1, 2 * COLUMNS, 1 << 21])
def test_the_gradients_equal_those_of_autograd(
    inputs: dict[str, Tensor], chunk_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In closed form, whatever the size of a chunk."""
    monkeypatch.setattr(softmax, "CHUNK_ELEMENTS", chunk_elements)
    leaves = ("query_BD", "candidate_UD", "bias_U", "log_scale")
    ours = {name: inputs[name].clone().requires_grad_() for name in leaves}
    theirs = {name: inputs[name].clone().requires_grad_() for name in leaves}

    (3 * sampled_softmax_loss(**(inputs | ours))).backward()
    logits = theirs["log_scale"].exp() * theirs["query_BD"] @ theirs["candidate_UD"].T
    logits = logits + theirs["bias_U"] - inputs["log_q_U"]
    (3 * F.cross_entropy(logits, inputs["target_B"])).backward()

    for name in leaves:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-10, atol=1e-12)


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
        loss = sampled_softmax_loss(
            torch.zeros(1, 2, dtype=torch.float64),
            torch.zeros(len(drawn), 2, dtype=torch.float64),
            bias_U=bias,
            log_scale=torch.zeros((), dtype=torch.float64),
            target_B=torch.zeros(1, dtype=torch.int64),
            log_q_U=log_q[drawn],
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

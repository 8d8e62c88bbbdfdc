"""Losses: one small function for each kind that twintide.losses declares.

A function takes the logits [C, K] of C clicks against K columns, returns each click's value [C],
and leaves in the logits the gradient of that value. Forbidden columns stand at -inf.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trainer.kernel import Chunk, LossFunction
from twintide.losses import Bce, Bpr, Hinge, Logistic, LogMse, Loss, Mse, OfNumbers, Softmax


def softmax(_: Softmax, logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """Cross-entropy against all that the row sees: log Σ exp(logit) − logit of the target."""
    target_logit = logits_CK.gather(1, chunk.target_C1)
    largest = logits_CK.amax(dim=1, keepdim=True)
    total = logits_CK.sub_(largest).exp_().sum(dim=1, keepdim=True)
    logits_CK.div_(total)  # probabilities; minus one at the target they are the gradient
    logits_CK.scatter_add_(1, chunk.target_C1, logits_CK.new_full(chunk.target_C1.shape, -1.0))
    return (total.log() + largest - target_logit).squeeze(1)


def bce(declared: Bce, logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """Weighted cross-entropy of the target with 1 and of every other column with 0."""
    target_logit = logits_CK.gather(1, chunk.target_C1)
    logits_CK.scatter_(1, chunk.target_C1, -torch.inf)  # no negative
    values_C = _softplus(logits_CK).sum(dim=1)
    values_C += declared.positive_weight * _softplus(-target_logit).squeeze(1)
    logits_CK.sigmoid_()
    logits_CK.scatter_(1, chunk.target_C1, -declared.positive_weight * (-target_logit).sigmoid())
    return values_C


def hinge(declared: Hinge, logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """Mean over the negatives of max(0, logit + margin − target's)."""
    lacking_CK = _ahead_of_target(logits_CK, chunk).add_(declared.margin).clamp_(min=0)
    values_C = lacking_CK.sum(dim=1) / chunk.negatives_C1.squeeze(1)
    _share_with_target(lacking_CK.sign_(), chunk)
    return values_C


def logistic(_: Logistic | Bpr, logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """Mean over the negatives of log(1 + exp(logit − target's))."""
    ahead_CK = _ahead_of_target(logits_CK, chunk)
    values_C = _softplus(ahead_CK).sum(dim=1) / chunk.negatives_C1.squeeze(1)
    _share_with_target(ahead_CK.sigmoid_(), chunk)
    return values_C


def squared_distance(_: OfNumbers, logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """(score of the target − number)²; no other column matters."""
    if chunk.number_C1 is None:
        raise RuntimeError("a loss of numbers was given none")
    distance_C1 = logits_CK.gather(1, chunk.target_C1) - chunk.number_C1
    logits_CK.zero_().scatter_(1, chunk.target_C1, 2 * distance_C1)
    return distance_C1.square().squeeze(1)


def _ahead_of_target(logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """In place: by how much each column is ahead of the target, which itself is not at all."""
    ahead_CK = logits_CK.sub_(logits_CK.gather(1, chunk.target_C1))
    return ahead_CK.scatter_(1, chunk.target_C1, -torch.inf)


def _share_with_target(slope_CK: Tensor, chunk: Chunk) -> None:
    """In place: each negative's slope, as part of a mean, pulls the target the other way."""
    slope_CK.div_(chunk.negatives_C1)
    slope_CK.scatter_(1, chunk.target_C1, -slope_CK.sum(dim=1, keepdim=True))


def _softplus(values: Tensor) -> Tensor:
    """log(1 + exp(x)), exact for small and finite for large x; four times as fast as logsigmoid."""
    return torch.logaddexp(values, values.new_zeros(()))


_FUNCTIONS: Mapping[type[Loss], Callable[[Any, Tensor, Chunk], Tensor]] = {
    Softmax: softmax,
    Bce: bce,
    Hinge: hinge,
    Logistic: logistic,
    Bpr: logistic,
    Mse: squared_distance,
    LogMse: squared_distance,
}


def function_of(declared: Loss) -> LossFunction:
    """What judges a chunk as declared."""
    return partial(_FUNCTIONS[type(declared)], declared)

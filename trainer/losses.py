"""Losses: one small function for each kind that twintide.losses declares.

A function takes the logits [C, K] of C clicks against K columns, returns each click's value [C],
and leaves in the logits the gradient of that value. Forbidden columns stand at -inf.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from trainer.kernel import Chunk, LossFunction
from twintide.losses import Loss, Softmax


def softmax(_: Softmax, logits_CK: Tensor, chunk: Chunk) -> Tensor:
    """Cross-entropy against all that the row sees: log Σ exp(logit) − logit of the target."""
    target_logit = logits_CK.gather(1, chunk.target_C1)
    largest = logits_CK.amax(dim=1, keepdim=True)
    total = logits_CK.sub_(largest).exp_().sum(dim=1, keepdim=True)
    logits_CK.div_(total)  # probabilities; minus one at the target they are the gradient
    logits_CK.scatter_add_(1, chunk.target_C1, logits_CK.new_full(chunk.target_C1.shape, -1.0))
    return (total.log() + largest - target_logit).squeeze(1)


_FUNCTIONS: Mapping[type[Loss], Callable[[Any, Tensor, Chunk], Tensor]] = {Softmax: softmax}


def function_of(declared: Loss) -> LossFunction:
    """What judges a chunk as declared."""
    return partial(_FUNCTIONS[type(declared)], declared)

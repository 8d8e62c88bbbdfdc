"""The sampled softmax over the distinct items of a batch, with its gradient in closed form.

Shapes: B clicks, U distinct candidates, D width. No [B, U] graph is kept: logits are made, turned
into probabilities and into gradients in chunks of rows, in place.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 21
"""Logits in one chunk: 8 MB, which stays in the cache."""


def sampled_softmax_loss(
    query_BD: Tensor,
    candidate_UD: Tensor,
    *,
    bias_U: Tensor,
    log_scale: Tensor,
    target_B: Tensor,
    log_q_U: Tensor | None,
) -> Tensor:
    """Mean cross-entropy of each click's item against all candidates of the batch.

    logit = exp(log_scale) · q·v + bias − log Q: the correction comes after the temperature, and
    only in training (Yi et al., RecSys 2019, section 3). There are no accidental hits, since each
    distinct item has one column.
    """
    offset_U = torch.zeros_like(bias_U) if log_q_U is None else log_q_U
    loss: Tensor = _SampledSoftmax.apply(
        query_BD, candidate_UD, bias_U, log_scale, target_B, offset_U
    )
    return loss


class _SampledSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_BD: Tensor,
        candidate_UD: Tensor,
        bias_U: Tensor,
        log_scale: Tensor,
        target_B: Tensor,
        log_q_U: Tensor,
    ) -> Tensor:
        rows = len(query_BD)
        scale = torch.exp(log_scale)
        offset_U = bias_U - log_q_U
        grad_query = torch.empty_like(query_BD)
        grad_candidate = torch.zeros_like(candidate_UD)
        grad_bias = torch.zeros_like(bias_U)
        loss = query_BD.new_zeros(())
        chunk = max(1, CHUNK_ELEMENTS // max(len(candidate_UD), 1))
        for begin in range(0, rows, chunk):
            query, target = query_BD[begin : begin + chunk], target_B[begin : begin + chunk]
            error = torch.addmm(offset_U, query * scale, candidate_UD.T)
            at_target = target[:, None]
            target_logit = error.gather(1, at_target)
            largest = error.amax(dim=1, keepdim=True)
            total = error.sub_(largest).exp_().sum(dim=1, keepdim=True)
            loss += (total.log() + largest - target_logit).sum()
            error.div_(total)  # probabilities; minus one at the target they are the gradient
            error.scatter_add_(1, at_target, error.new_full(at_target.shape, -1.0))
            grad_query[begin : begin + chunk] = error @ candidate_UD
            grad_candidate.addmm_(error.T, query)
            grad_bias += error.sum(dim=0)
        # d loss / d log_scale = Σ error · (scale q·v) = scale · Σ query · grad_query, unscaled
        grad_log_scale = (query_BD * grad_query).sum() * scale
        ctx.save_for_backward(
            grad_query * (scale / rows),
            grad_candidate * (scale / rows),
            grad_bias / rows,
            grad_log_scale / rows,
        )
        return loss / rows

    @staticmethod
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        grads = tuple(saved * grad_loss for saved in ctx.saved_tensors)
        return (*grads, None, None)

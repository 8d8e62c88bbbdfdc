"""The chunked kernel that every loss runs through, with its gradient in closed form.

Shapes: B clicks, U candidate columns, D width; C clicks of one chunk, K columns that its loss sees.
No [B, U] graph is kept: logits are made, judged and turned into gradients in chunks of rows, in
place.

    logit = sharpness · (exp(log_scale) · q·v + bias) − log Q

The correction comes last and unscaled, and only in training (Yi et al., RecSys 2019, section 3).
What a loss learns for itself, the intercept of cross-entropy, is part of the bias.

Hard negatives are a click's own for certain: no chance brought them, so nothing corrects them. A
click that has some is judged twice, against all others and against these, and its loss is the
weighted mean of both; there, target and negatives alike have minus log Q of the target, which no
difference sees and which leaves the target's score the same in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.choices import Choices, Lists

CHUNK_ELEMENTS = 1 << 21
"""Logits in one chunk: 8 MB, which stays in the cache."""


@dataclass(frozen=True)
class Chunk:
    """Rows of a batch, as a loss sees them beside their logits."""

    target_C1: Tensor
    """The column of each row's positive; the others are its negatives, at -inf where forbidden."""

    negatives_C1: Tensor
    """How many columns each row has as negatives. A row without any counts nothing."""

    number_C1: Tensor | None = None
    """The number that each row's score is to be, for a loss that learns one."""


LossFunction = Callable[[Tensor, Chunk], Tensor]
"""Takes logits [C, K]; returns each row's value [C], and leaves their gradient in the logits."""


def chunked_loss(
    query_BD: Tensor,
    candidate_UD: Tensor,
    *,
    bias_U: Tensor,
    log_scale: Tensor,
    choices: Choices,
    loss: LossFunction,
    sharpness: float = 1.0,
) -> Tensor:
    """Mean over the rows of their values, each times its weight. Where the choices have numbers,
    each row's own column alone is judged, without log Q.
    """
    if choices.numbers is not None:
        return _loss_of_numbers(query_BD, candidate_UD, bias_U, log_scale, choices, loss)
    value: Tensor = _Chunked.apply(
        query_BD, candidate_UD, bias_U, log_scale, choices, loss, sharpness
    )
    return value


def _loss_of_numbers(
    query_BD: Tensor,
    candidate_UD: Tensor,
    bias_U: Tensor,
    log_scale: Tensor,
    choices: Choices,
    loss: LossFunction,
) -> Tensor:
    """As above, where each row's own column alone is judged: nothing is made of the others."""
    target_B = torch.from_numpy(choices.target).to(query_BD.device)
    products_B = (query_BD * candidate_UD[target_B]).sum(dim=1)
    scores_B = torch.exp(log_scale) * products_B + bias_U[target_B]
    value: Tensor = _OwnColumns.apply(scores_B[:, None], choices, loss)
    return value


class _OwnColumns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_B1: Tensor, choices: Choices, loss: LossFunction) -> Tensor:
        error_B1 = scores_B1.clone()
        numbers_B1 = torch.from_numpy(choices.numbers).to(scores_B1)[:, None]
        own_B1 = torch.zeros_like(error_B1, dtype=torch.int64)
        values_B = loss(error_B1, Chunk(own_B1, torch.zeros_like(error_B1), numbers_B1))
        if choices.weights is not None:
            weights_B = torch.from_numpy(choices.weights).to(scores_B1)
            values_B = values_B * weights_B
            error_B1.mul_(weights_B[:, None])
        ctx.save_for_backward(error_B1 / len(scores_B1))
        return values_B.sum() / len(scores_B1)

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor) -> tuple[Tensor | None, ...]:
        (grad_B1,) = ctx.saved_tensors
        return grad_B1 * grad_value, None, None


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_BD: Tensor,
        candidate_UD: Tensor,
        bias_U: Tensor,
        log_scale: Tensor,
        choices: Choices,
        loss: LossFunction,
        sharpness: float,
    ) -> Tensor:
        rows = len(query_BD)
        scale = torch.exp(log_scale) * sharpness
        judge = _Judge(choices, loss, columns=len(candidate_UD), like=query_BD)
        offset_U = bias_U * sharpness - judge.log_q_U
        grad_query = torch.empty_like(query_BD)
        grad_candidate = torch.zeros_like(candidate_UD)
        grad_bias = torch.zeros_like(bias_U)
        value = query_BD.new_zeros(())
        chunk = max(1, CHUNK_ELEMENTS // max(len(candidate_UD), 1))
        for begin in range(0, rows, chunk):
            query = query_BD[begin : begin + chunk]
            error = torch.addmm(offset_U, query * scale, candidate_UD.T)
            value += judge.judged(error, begin)
            grad_query[begin : begin + chunk] = error @ candidate_UD
            grad_candidate.addmm_(error.T, query)
            grad_bias += error.sum(dim=0)
        # d value / d log_scale = Σ error · (scale q·v) = scale · Σ query · grad_query, unscaled
        grad_log_scale = (query_BD * grad_query).sum() * scale
        ctx.save_for_backward(
            grad_query * (scale / rows),
            grad_candidate * (scale / rows),
            grad_bias / rows * sharpness,
            grad_log_scale / rows,
        )
        return value / rows

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor) -> tuple[Tensor | None, ...]:
        grads = tuple(saved * grad_value for saved in ctx.saved_tensors)
        return (*grads, None, None, None)


class _Judge:
    """The choices of a batch on its device, and the loss that judges each chunk by them."""

    def __init__(self, choices: Choices, loss: LossFunction, *, columns: int, like: Tensor) -> None:
        self._forbidden = choices.forbidden
        self._loss = loss
        self._device = like.device
        self._target_B1 = torch.from_numpy(choices.target).to(like.device)[:, None]
        self.log_q_U = like.new_zeros(columns)
        if choices.log_q is not None:
            self.log_q_U = torch.from_numpy(choices.log_q).to(like)
        self._closed_U: Tensor | None = None
        if choices.open is not None and not choices.open.all():
            self._closed_U = torch.from_numpy(~choices.open).to(like.device)
        self._seen_BK: Tensor | None = None
        negatives = choices.negatives(columns)
        weights = choices.weights
        self._hard: _Hard | None = None
        if choices.hard is not None and len(choices.hard.columns):
            self._hard = _Hard.of(choices, choices.hard, self.log_q_U)
            share = choices.hard_share * (choices.hard.lengths() > 0)
            weights = (1.0 if weights is None else weights) * (1.0 - share)
        if (negatives < 1).any():  # such a row says nothing: its positive stands against nothing
            weights = (1.0 if weights is None else weights) * (negatives > 0)
        self._weights_B = None if weights is None else torch.from_numpy(weights).to(like)
        self._negatives_B1 = torch.from_numpy(negatives).to(like).clamp_(min=1)[:, None]
        if choices.drawn is not None:
            drawn_BN = torch.from_numpy(choices.drawn).to(like.device)
            self._seen_BK = torch.cat((self._target_B1, drawn_BN), dim=1)
            self._negatives_B1.fill_(drawn_BN.shape[1])

    def judged(self, logits_CU: Tensor, begin: int) -> Tensor:
        """The summed value of the rows from `begin` on; their logits become their gradient."""
        rows = slice(begin, begin + len(logits_CU))
        if self._hard is None:
            return self._judged_by_open(logits_CU, rows)
        hard = self._hard.of_rows(rows)
        seen_CH = torch.cat((self._target_B1[rows], hard.columns_BH), dim=1)
        logits_CH = logits_CU.gather(1, seen_CH)
        logits_CH[:, 1:] += hard.offset_BH
        first_C1 = torch.zeros_like(seen_CH[:, :1])
        values_C = self._loss(logits_CH, Chunk(first_C1, hard.count_B1))
        value = self._judged_by_open(logits_CU, rows) + (values_C * hard.weights_B).sum()
        logits_CU.scatter_add_(1, seen_CH, logits_CH.mul_(hard.weights_B[:, None]))
        return value

    def _judged_by_open(self, logits_CU: Tensor, rows: slice) -> Tensor:
        if self._closed_U is not None:
            target_logit = logits_CU.gather(1, self._target_B1[rows])
            logits_CU.masked_fill_(self._closed_U, -torch.inf)
            logits_CU.scatter_(1, self._target_B1[rows], target_logit)
        if self._forbidden is not None:
            forbidden = self._forbidden.between(rows.start, rows.stop)
            row, column = (torch.from_numpy(each).to(self._device) for each in forbidden)
            logits_CU[row, column] = -torch.inf
        if self._seen_BK is None:
            return self._valued(logits_CU, rows, self._target_B1[rows])
        seen_CK = self._seen_BK[rows]
        logits_CK = logits_CU.gather(1, seen_CK)
        value = self._valued(logits_CK, rows, torch.zeros_like(seen_CK[:, :1]))
        logits_CU.zero_().scatter_add_(1, seen_CK, logits_CK)
        return value

    def _valued(self, logits_CK: Tensor, rows: slice, target_C1: Tensor) -> Tensor:
        values_C = self._loss(logits_CK, Chunk(target_C1, self._negatives_B1[rows]))
        if self._weights_B is not None:
            values_C = values_C * self._weights_B[rows]
            logits_CK.mul_(self._weights_B[rows, None])
        return values_C.sum()


@dataclass(frozen=True)
class _Hard:
    """The hard negatives of B clicks, H at most of each; what is missing stands at -inf."""

    columns_BH: Tensor
    offset_BH: Tensor
    """What makes of a column's logit one without log Q of its own, and with the target's."""

    count_B1: Tensor
    weights_B: Tensor

    @classmethod
    def of(cls, choices: Choices, hard: Lists, log_q_U: Tensor) -> "_Hard":
        lengths = hard.lengths()
        there = np.arange(lengths.max()) < lengths[:, None]
        columns = np.zeros(there.shape, np.int64)
        columns[there] = hard.columns
        weights = choices.hard_share * (lengths > 0)
        if choices.weights is not None:
            weights = weights * choices.weights
        columns_BH = torch.from_numpy(columns).to(log_q_U.device)
        target_B1 = torch.from_numpy(choices.target).to(log_q_U.device)[:, None]
        offset_BH = log_q_U[columns_BH] - log_q_U[target_B1]
        missing_BH = torch.from_numpy(~there).to(log_q_U.device)
        return cls(
            columns_BH,
            offset_BH.masked_fill_(missing_BH, -torch.inf),
            torch.from_numpy(lengths).to(log_q_U).clamp_(min=1)[:, None],
            torch.from_numpy(weights).to(log_q_U),
        )

    def of_rows(self, rows: slice) -> "_Hard":
        return _Hard(
            self.columns_BH[rows], self.offset_BH[rows], self.count_B1[rows], self.weights_B[rows]
        )

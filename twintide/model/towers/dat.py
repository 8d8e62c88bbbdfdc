"""Dual augmented two-tower model (Yu et al., DLP-KDD 2021).

The tower is layers over its features, the augmented vector among them. What makes it one are two
losses beside the loss: the mimic loss, and the alignment of categories.

Shapes: R rows of this side, P positives, D width of a vector, N items of G
categories.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twintide.keys import NO_KEY, Keys
from twintide.model.towers import dnn
from twintide.model.towers.axes import Axes
from twintide.model.towers.seen import Seen
from twintide.ragged import Ids
from twintide.towers import Dat, Shape

FEWEST = 2
"""Items of which there is a covariance."""


def body(declared: Dat, shape: Shape) -> nn.Module:
    """[B, X] to [B, O · D]."""
    return dnn.body(declared, shape)


def axes(declared: Dat, shape: Shape) -> Axes:
    """Of a weight, by dimension."""
    return dnn.axes(declared, shape)


def auxiliary(declared: Dat, shape: Shape, seen: Seen, *, learns_dense: bool) -> Tensor:
    """What is learnt beside the loss.

    The augmented rows go on to learn by the hour, from the clicks alone, as other rows of ids do.
    The alignment is the towers' affair: by the hour, where they are frozen, it would move items for
    what else is in their batch.
    """
    total = declared.mimic_weight * mimic(seen.of(declared.augmented), seen.row_P, seen.other_PD)
    if shape.side == "query" or declared.category is None or not learns_dense:
        return total
    categories = seen.encoded[declared.category]
    if not isinstance(categories, Ids):
        raise TypeError("a category is an id")
    return total + declared.alignment_weight * alignment(seen.vectors_RD, categories.keys)


def mimic(augmented_RD: Tensor, row_P: Tensor | None, other_PD: Tensor) -> Tensor:
    """Mean over the positives, and nothing else, of the squared distance between the augmented
    vector and what the other side made of the positive (section 3.3). Only the former learns by it.
    """
    augmented_PD = augmented_RD if row_P is None else F.embedding(row_P, augmented_RD)
    return (augmented_PD - other_PD.detach()).square().sum(dim=1).mean()


def alignment(vectors_RD: Tensor, categories: Keys) -> Tensor:
    """Mean over the other categories of ‖covariance − that of the largest category‖², Frobenius
    (section 3.4, which has their sum: there the weight would depend on how many a batch has).

    Items without a category and categories of one item in the batch are left out. The largest is
    the one with most items in the batch, of equal ones that with the smallest key.
    """
    keys, group, counts = np.unique(categories, return_inverse=True, return_counts=True)
    counts[(counts < FEWEST) | (keys == NO_KEY)] = 0
    rows = np.argsort(np.where(counts[group] > 0, group, len(keys)), kind="stable")
    sizes = counts[counts > 0]
    if len(sizes) <= 1:
        return vectors_RD.new_zeros(())
    value: Tensor = _Alignment.apply(vectors_RD, rows[: sizes.sum()], sizes)
    return value


class _Alignment(torch.autograd.Function):
    """In closed form, and with no covariance but that of the largest category, C: of the others,
    centred items Y, ‖YᵀY‖ = ‖YYᵀ‖ and tr(C YᵀY) do. Fifty matrices [D, D] and their nodes of
    autograd took as long as all else of a step.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors_RD: Tensor, rows: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
    ) -> Tensor:
        """`rows` are those of the first category, then of the next, `sizes` how many of each."""
        row_N, size_G = (torch.from_numpy(each).to(vectors_RD.device) for each in (rows, sizes))
        mean_GD = F.embedding_bag(row_N, vectors_RD, size_G.cumsum(0) - size_G, mode="mean")
        centred_ND = vectors_RD[row_N] - mean_GD.repeat_interleave(size_G, dim=0)
        share_N1 = (1 / (size_G - 1).to(vectors_RD)).repeat_interleave(size_G)[:, None]
        others, own = len(sizes) - 1, _slice_of_largest(sizes)
        largest_DD = (centred_ND[own] * share_N1[own]).T @ centred_ND[own]
        rest_DD = (centred_ND * share_N1).T @ centred_ND - largest_DD
        turned_ND, squares = _by_category(centred_ND, share_N1, sizes, leave_out=own)
        grad_ND = turned_ND - centred_ND @ largest_DD
        grad_ND[own] = centred_ND[own] @ (others * largest_DD - rest_DD)
        grad_ND *= share_N1 * (4 / others)
        ctx.save_for_backward(torch.zeros_like(vectors_RD).index_copy_(0, row_N, grad_ND))
        crossed = (largest_DD * rest_DD).sum()
        return largest_DD.square().sum() + (squares - 2 * crossed) / others

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor) -> tuple[Tensor | None, ...]:
        (grad_RD,) = ctx.saved_tensors
        return grad_RD * grad_value, None, None


def _slice_of_largest(sizes: npt.NDArray[np.int64]) -> slice:
    largest = int(np.argmax(sizes))
    begin = int(sizes[:largest].sum())
    return slice(begin, begin + int(sizes[largest]))


def _by_category(
    centred_ND: Tensor, share_N1: Tensor, sizes: npt.NDArray[np.int64], *, leave_out: slice
) -> tuple[Tensor, Tensor]:
    """[N, D]: Y times its own covariance, category by category, and the sum of these covariances'
    ‖…‖². Those whose sizes lie between two powers of two go together, filled up with zeros.
    """
    filled_ND = torch.cat((centred_ND, centred_ND.new_zeros(1, centred_ND.shape[1])))
    filled_N1 = torch.cat((share_N1, share_N1.new_zeros(1, 1)))
    begins, powers = np.cumsum(sizes) - sizes, np.frexp(sizes)[1]
    powers[begins == leave_out.start] = 0
    turned_ND, squares = torch.zeros_like(filled_ND), centred_ND.new_zeros(())
    for power in np.unique(powers[powers > 0]):
        own = powers == power
        number = np.arange(sizes[own].max())
        places = begins[own, None] + number
        places[number >= sizes[own, None]] = len(centred_ND)
        place_GM = torch.from_numpy(places).to(centred_ND.device)
        items_GMD = filled_ND[place_GM]
        gram_GMM = items_GMD @ items_GMD.mT * filled_N1[place_GM]
        turned_ND[place_GM] = gram_GMM @ items_GMD
        squares += gram_GMM.square().sum()
    return turned_ND[:-1], squares

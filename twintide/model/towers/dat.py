"""Dual augmented two-tower model (Yu et al., DLP-KDD 2021).

The tower is layers over its features, the augmented vector among them. What makes it one are two
losses beside the loss: the mimic loss, and the alignment of categories.

Shapes: R rows of this side, P positives, N items of a category, D width of a vector.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twintide.keys import NO_KEY, Keys
from twintide.model.towers import dnn
from twintide.model.towers.seen import Seen
from twintide.ragged import Ids
from twintide.towers import Dat, Shape

FEWEST = 2
"""Items of which there is a covariance."""


def body(declared: Dat, shape: Shape) -> nn.Module:
    """[B, X] to [B, D]."""
    return dnn.body(declared, shape)


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
    order = np.argsort(group[counts[group] > 0], kind="stable")
    rows = np.flatnonzero(counts[group] > 0)[order]
    sizes = counts[counts > 0].tolist()
    if len(sizes) <= 1:
        return vectors_RD.new_zeros(())
    sorted_RD = F.embedding(torch.from_numpy(rows).to(vectors_RD.device), vectors_RD)
    covariances = [covariance(each) for each in sorted_RD.split(sizes)]
    largest_DD = covariances.pop(int(np.argmax(sizes)))
    return (torch.stack(covariances) - largest_DD).square().sum(dim=(1, 2)).mean()


def covariance(vectors_ND: Tensor) -> Tensor:
    """[D, D], of N items."""
    centred_ND = vectors_ND - vectors_ND.mean(dim=0)
    return centred_ND.T @ centred_ND / (len(vectors_ND) - 1)

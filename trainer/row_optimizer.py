"""How a table row learns: one gradient per distinct row, one row-wise Adagrad step in place.

Cost follows the rows of the batch, never the size of the table. The gradient of a pooled input goes
back to rows by a second embedding_bag, over the transposed incidence: for each row, the bags that
it is in.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from twintide.model.table import Table
from twintide.model.two_tower import PooledRows

EPSILON = 1e-10


@dataclass(frozen=True)
class Incidence:
    """Which bags each distinct row of one table is in. R distinct rows, N entries."""

    rows: npt.NDArray[np.int64]
    """[R], distinct."""

    starts: npt.NDArray[np.int64]
    """[R]: where each row's entries begin."""

    bags: npt.NDArray[np.int64]
    """[N]: bag of each entry; bags of several features are numbered one after the other."""

    weights: npt.NDArray[np.float32]
    """[N]: what the row counts in that bag: as the ids say, else 1, or 1 / length in a mean."""


def incidence_of(features: list[PooledRows]) -> Incidence:
    """All features that read one table together: a row in several of them gets one gradient."""
    rows, bags, weights, first_bag = [], [], [], 0
    for feature in features:
        lengths = np.diff(feature.offsets)
        rows.append(feature.rows)
        bags.append(np.repeat(np.arange(first_bag, first_bag + len(lengths)), lengths))
        weights.append(_counts(feature, lengths))
        first_bag += len(lengths)
    return _grouped(np.concatenate(rows), np.concatenate(bags), np.concatenate(weights))


def _counts(feature: PooledRows, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """[N]: what each entry counts in its bag."""
    if feature.weights is not None:
        return feature.weights
    share = 1.0 / np.maximum(lengths, 1) if feature.pooling == "mean" else np.ones(len(lengths))
    return np.repeat(share, lengths).astype(np.float32)


def _grouped(
    rows: npt.NDArray[np.int64], bags: npt.NDArray[np.int64], weights: npt.NDArray[np.float32]
) -> Incidence:
    """Group entries by row: row and entry number packed into one integer sort fastest."""
    bits = max(len(rows).bit_length(), 1)
    packed = (rows << bits) | np.arange(len(rows))
    packed.sort()
    order = packed & ((1 << bits) - 1)
    sorted_rows = packed >> bits
    starts = np.flatnonzero(np.concatenate(([True], sorted_rows[1:] != sorted_rows[:-1])))
    starts = starts[: len(sorted_rows)]
    return Incidence(sorted_rows[starts], starts, bags[order], weights[order])


@dataclass(frozen=True)
class RowGradients:
    """One gradient for each of R distinct rows."""

    rows: npt.NDArray[np.int64]
    """[R]"""

    grad_RD: Tensor
    squares_R: Tensor
    """Mean squares."""


def gradients_of(incidence: Incidence, grad_bags: Tensor) -> RowGradients:
    """`grad_bags` [bags, width]: each pooled input's gradient, numbered as in the incidence."""
    device = grad_bags.device
    grad_RD = F.embedding_bag(
        torch.from_numpy(incidence.bags).to(device),
        grad_bags,
        torch.from_numpy(incidence.starts).to(device),
        mode="sum",
        per_sample_weights=torch.from_numpy(incidence.weights).to(device),
    )
    return RowGradients(incidence.rows, grad_RD, grad_RD.square().mean(dim=1))


def clipped(gradients: RowGradients, *, at: float) -> RowGradients:
    """With none whose root mean square is more than `at`: those are scaled down to it."""
    shares_R = (at / gradients.squares_R.sqrt().clamp_(min=EPSILON)).clamp_(max=1.0)
    return RowGradients(
        gradients.rows,
        gradients.grad_RD * shares_R[:, None],
        gradients.squares_R * shares_R.square(),
    )


def step(table: Table, gradients: RowGradients, *, learning_rate: float | Tensor) -> None:
    """Row-wise Adagrad: one sum per row, as FBGEMM's EXACT_ROWWISE_ADAGRAD. A learning rate for
    all, or [R] for each.
    """
    rows = torch.from_numpy(gradients.rows).to(gradients.grad_RD.device)
    weights, sums = table.touch(gradients.rows)
    own_R = sums.index_select(0, rows) + gradients.squares_R
    sums[rows] = own_R
    rates_R1 = (-learning_rate / (own_R.sqrt() + EPSILON))[:, None]
    weights.index_add_(0, rows, gradients.grad_RD * rates_R1)

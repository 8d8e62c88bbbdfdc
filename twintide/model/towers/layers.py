"""What towers are built of: hidden layers, activations, batch norm.

Shapes: B rows, W width of a layer.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twintide.towers import Layered

MOMENTUM = 0.1
"""Share of a batch in the running statistics: they are those of the last few dozen batches."""

EPSILON = 1e-5

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""By the name that a declaration gives them."""


def hidden_layers(declared: Layered, input_width: int) -> tuple[list[nn.Module], int]:
    """The hidden layers, bottom first, and the width of the last."""
    layers: list[nn.Module] = []
    width = input_width
    for hidden in declared.hidden:
        layers.append(nn.Linear(width, hidden))
        if declared.batch_norm:
            layers.append(BatchNorm(hidden))
        layers.append(ACTIVATIONS[declared.activation]())
        if declared.dropout:
            layers.append(nn.Dropout(declared.dropout))
        width = hidden
    return layers, width


class BatchNorm(nn.Module):
    """Each unit to mean 0 and variance 1, then times a learnt weight and plus a learnt bias.

    In train mode by the statistics of the batch, which move the running ones; in eval mode by the
    running ones (Ioffe and Szegedy, 2015). A single row has no variance, so it goes by the running
    ones always. Not torch's own: that stops at a single row, and counts batches in a buffer.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, inputs_BW: Tensor) -> Tensor:
        """[B, W]"""
        return F.batch_norm(
            inputs_BW,
            self.mean,
            self.variance,
            self.weight,
            self.bias,
            training=self.training and len(inputs_BW) > 1,
            momentum=MOMENTUM,
            eps=EPSILON,
        )

"""Deep and cross network, version 2 (Wang et al., WWW 2021).

Shapes: B rows, X inputs, H width of the last hidden layer, O vectors of width D.
"""

import torch
from torch import Tensor, nn

from twintide.model.towers.layers import hidden_layers
from twintide.towers import Dcn, Shape


class Cross(nn.Module):
    """x(l+1) = x(0) · (W x(l) + b) + x(l), so many times over."""

    def __init__(self, width: int, layers: int, rank: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_matrix(width, rank) for _ in range(layers))

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, X]"""
        crossed = inputs_BX
        for layer in self.layers:
            crossed = torch.addcmul(crossed, inputs_BX, layer(crossed))
        return crossed


def _matrix(width: int, rank: int | None) -> nn.Module:
    """W x + b; W is U V where it has a rank."""
    if rank is None:
        return nn.Linear(width, width)
    return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))


class Parallel(nn.Module):
    """Cross layers and hidden layers beside each other, both on the inputs."""

    def __init__(self, cross: Cross, deep: nn.Module) -> None:
        super().__init__()
        self.cross = cross
        self.deep = deep

    def forward(self, inputs_BX: Tensor) -> Tensor:
        """[B, X + H]"""
        return torch.cat((self.cross(inputs_BX), self.deep(inputs_BX)), dim=1)


def body(declared: Dcn, shape: Shape) -> nn.Module:
    """[B, X] to [B, O · D]. Without hidden layers the cross layers stand alone."""
    inputs = shape.input_width
    cross = Cross(inputs, declared.cross_layers, declared.rank)
    layers, width = hidden_layers(declared, inputs)
    if not layers or declared.structure == "stacked":
        return nn.Sequential(cross, *layers, nn.Linear(width, shape.owed_width))
    both = Parallel(cross, nn.Sequential(*layers))
    return nn.Sequential(both, nn.Linear(inputs + width, shape.owed_width))

"""Deep and cross network, version 2 (Wang et al., WWW 2021).

Shapes: B rows, X inputs, H width of the last hidden layer, O vectors of width D.
"""

import torch
from torch import Tensor, nn

from twintide.model.towers.axes import Axes, Axis, inputs, outputs, stack
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


def axes(declared: Dcn, shape: Shape) -> Axes:
    """Of a weight, by dimension."""
    given, owed = inputs(shape), outputs(shape)
    layers, width = hidden_layers(declared, shape.input_width)
    if not layers or declared.structure == "stacked":
        return _of_cross("0.", declared, given) | stack(given, owed, len(layers), begin=1)
    deep = {"0.deep.0.weight": {1: given}}
    last = {"1.weight": {0: owed, 1: given.and_then(width)}, "1.bias": {0: owed}}
    return _of_cross("0.cross.", declared, given) | deep | last


def _of_cross(before: str, declared: Dcn, given: Axis) -> dict[str, dict[int, Axis]]:
    found: dict[str, dict[int, Axis]] = {}
    for number in range(declared.cross_layers):
        name = f"{before}layers.{number}."
        if declared.rank is None:
            found |= {f"{name}weight": {0: given, 1: given}, f"{name}bias": {0: given}}
        else:
            found |= {f"{name}0.weight": {1: given}, f"{name}1.weight": {0: given}}
            found |= {f"{name}1.bias": {0: given}}
    return found
